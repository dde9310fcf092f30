//! Stories of it.
