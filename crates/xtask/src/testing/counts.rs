//! Reads what `cargo test` printed: how many tests passed and failed, and what the failed ones said.

/// Longest part of the failed tests' output that is shown. 400 lines: a dozen failures; the log has the rest.
const FAILURE_LINES_MAX: usize = 400;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
}

impl Counts {
    pub fn one(is_passed: bool) -> Self {
        Self { passed: u64::from(is_passed), failed: u64::from(!is_passed) }
    }

    pub fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Sums the lines `test result: ok. 3 passed; 0 failed; 0 ignored; ...`. Ignored tests count as failed.
pub fn of_cargo_test(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let behind_verdict = line.split_once(". ").map_or("", |(_, rest)| rest);
        for part in behind_verdict.split("; ") {
            let mut words = part.split_whitespace();
            let number: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => counts.passed += number,
                Some("failed" | "ignored") => counts.failed += number,
                _ => {}
            }
        }
    }
    counts
}

/// What stands between `failures:` and the result, for each test program.
pub fn failures_of_cargo_test(output: &str) -> String {
    let mut lines = Vec::new();
    let mut is_inside = false;
    for line in output.lines() {
        is_inside = (is_inside || line == "failures:") && !line.starts_with("test result: ");
        if is_inside && lines.len() < FAILURE_LINES_MAX {
            lines.push(line);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 3 tests\n\nfailures:\n\n---- a stdout ----\npanicked\n\nfailures:\n    a\n\n\
        test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.10s\n\n\
        running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.0s\n";

    #[test]
    fn counts_are_summed_and_ignored_tests_count_as_failed() {
        assert_eq!(of_cargo_test(OUTPUT), Counts { passed: 3, failed: 2 });
        assert_eq!(of_cargo_test("error: could not compile\n"), Counts::default());
    }

    #[test]
    fn only_the_failures_are_shown() {
        let shown = failures_of_cargo_test(OUTPUT);
        assert!(shown.starts_with("failures:") && shown.contains("panicked"), "{shown}");
        assert!(!shown.contains("running") && !shown.contains("test result"), "{shown}");
    }
}
