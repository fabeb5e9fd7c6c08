//! The `pgbraid` command.
fn main() {}
