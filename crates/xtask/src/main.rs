//! The project's own tool: test, tidy, bench. Never shipped.

fn main() {}
