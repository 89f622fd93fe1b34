//! The `bursar` command: wiring only.
fn main() {}
