//! The wire: types, routes and error codes that client and server share, one file a feature.
//!
//! All bodies are JSON but those of chunks, batches and downloads. Sizes are bytes, times of nodes
//! are nanoseconds since 1970 (UTC), lifetimes are seconds. Unknown fields of a request are refused, of an
//! answer ignored, so that a newer server can tell an older client more.

pub mod accounts;
pub mod batch;
pub mod changes;
pub mod downloads;
pub mod files;
pub mod host;
pub mod ids;
pub mod name;
pub mod problem;
pub mod proof;
pub mod routes;
pub mod scoped_tokens;
mod shown;
pub mod uploads;
