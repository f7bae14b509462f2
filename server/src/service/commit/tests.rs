//! Commits decided and held against rules written a second time.
