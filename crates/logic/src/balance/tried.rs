//! The members that one request has already tried: a short list on the stack.
//!
//! Not here: whether it may try another (see `retry`).

use super::Balancer;
use crate::limits::REQUEST_TRIES_MAX;
use wire::view::View;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    indices: [u16; REQUEST_TRIES_MAX],
    count: u16,
}

impl Tried {
    /// Adds a member. In a full list it is not remembered: `retry` refuses a request that has tried so many.
    pub fn add(&mut self, index: u16) {
        if !self.contains(index) && (self.count as usize) < REQUEST_TRIES_MAX {
            self.indices[self.count as usize] = index;
            self.count += 1;
        }
    }

    pub fn contains(&self, index: u16) -> bool {
        self.indices[..self.count as usize].contains(&index)
    }

    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The same members as the balancer counts them now, for a request that began under the view `old`.
    pub fn moved(&self, old: &View, balancer: &Balancer) -> Tried {
        let mut moved = Tried::default();
        for index in &self.indices[..self.count as usize] {
            let name = old.members.get(*index as usize).map(|member| &member.name);
            if let Some(index) = name.and_then(|name| balancer.index_of(name)) {
                moved.add(index);
            }
        }
        moved
    }
}
