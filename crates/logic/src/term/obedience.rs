//! Which leader a node obeys, so that an old one, or two of one term, never both have their way.

use wire::id::TermNumber;

/// What a node obeys: the newest term, and within it the one manager from whom it first heard of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Obedience {
    newest: Option<(TermNumber, u64)>,
}

impl Obedience {
    /// Whether orders of that term and run are obeyed. An older term is refused, and so is another run of the same.
    pub fn obeys(&mut self, term: TermNumber, run: u64) -> bool {
        match self.newest {
            Some((known, _)) if term < known => false,
            Some((known, known_run)) if term == known => run == known_run,
            Some(_) | None => {
                self.newest = Some((term, run));
                true
            }
        }
    }

    /// To be told to managers, so that no term is given again.
    pub fn newest(&self) -> TermNumber {
        self.newest.map_or(TermNumber(0), |(term, _)| term)
    }
}
