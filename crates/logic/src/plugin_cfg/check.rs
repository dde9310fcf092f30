//! Judges a plugin-cfg.xml: what is wrong, what will surprise, and what to do about it.
//!
//! The rules are what people got wrong in files that were published, and what the vendor's notes warn of. A finding of
//! severity `Error` means that some request will not get where somebody meant it to. Promise: findings stand in the
//! order of the file and their number is bounded. Not here: whether servers can be reached.

mod names;
mod routes;
mod servers;

use super::model::Document;
use super::xml::Place;
use crate::limits::PLUGIN_CFG_FINDINGS_MAX;
use std::fmt;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Requests do not get where they should.
    Error,
    /// Something will not do what it seems to.
    Warning,
    /// Worth knowing.
    Hint,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// Stable name of the rule, for scripts.
    pub rule: &'static str,
    pub place: Place,
    pub what: String,
    /// What to do.
    pub advice: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    pub list: Vec<Finding>,
    /// Findings beyond the bound.
    pub left_out: usize,
}

impl Findings {
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|finding| finding.severity == severity).count()
    }

    fn add(&mut self, severity: Severity, rule: &'static str, place: Place, what: String, advice: &str) {
        self.list.push(Finding { severity, rule, place, what, advice: advice.to_owned() });
    }
}

pub fn check(document: &Document) -> Findings {
    let mut findings = Findings::default();
    for problem in &document.problems {
        let advice = "Write a value that is allowed; what stands there now is not used.";
        findings.add(Severity::Error, "value", problem.place, problem.what.clone(), advice);
    }
    names::check(&document.file.root, &mut findings);
    routes::check(&document.config, &mut findings);
    servers::check(&document.config, &mut findings);
    // Errors first where there are too many, so that none is lost behind hints.
    findings.list.sort_by_key(|finding| (finding.severity, finding.place.line, finding.place.column));
    findings.left_out = findings.list.len().saturating_sub(PLUGIN_CFG_FINDINGS_MAX);
    findings.list.truncate(PLUGIN_CFG_FINDINGS_MAX);
    findings.list.sort_by_key(|finding| (finding.place.line, finding.place.column));
    findings
}
