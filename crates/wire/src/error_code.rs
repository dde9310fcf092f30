//! The stable code of each error that a user can see. Each has a page `docs/errors/<code>.md`; tidy holds that.
//!
//! Ranges: M1xxx configuration, M2xxx command line and cell, M3xxx members, M4xxx requests through the router,
//! M5xxx store and disk.

/// An error's code, e.g. `M1001`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub &'static str);

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.0)
    }
}
