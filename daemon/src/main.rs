//! The miaofs daemon and its commands.

mod store;

fn main() {}
