//! The command line of rowmill.
fn main() {}
