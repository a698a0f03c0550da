//! User ids of a session: remembered by name, else the one that was unused for the longest time.

use std::collections::{HashMap, VecDeque};

use crate::username::skeleton;

/// Valid user ids.
pub const USER_IDS: std::ops::RangeInclusive<u8> = 1..=254;

/// Hands out user ids.
#[derive(Debug)]
pub struct IdQueue {
    queue: VecDeque<u8>,
    /// By what names have in common with those that people cannot tell from them.
    names: HashMap<String, u8>,
}

impl Default for IdQueue {
    fn default() -> Self {
        Self { queue: USER_IDS.collect(), names: HashMap::new() }
    }
}

impl IdQueue {
    /// The id for a newcomer: the one that the name had, if nobody has it now, else the least recently used.
    /// `None` when all are taken.
    pub fn assign(&mut self, name: &str, taken: impl Fn(u8) -> bool) -> Option<u8> {
        if let Some(id) = self.names.get(&skeleton(name)).copied().filter(|id| !taken(*id)) {
            return Some(id);
        }
        let id = *self.queue.iter().find(|id| !taken(**id))?;
        self.touch(id);
        Some(id)
    }

    /// Remembers which id a name has.
    pub fn remember(&mut self, name: &str, id: u8) {
        self.names.insert(skeleton(name), id);
        self.touch(id);
    }

    /// Puts an id at the end of the queue.
    pub fn touch(&mut self, id: u8) {
        if let Some(at) = self.queue.iter().position(|q| *q == id) {
            self.queue.remove(at);
            self.queue.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gets_its_id_back_unless_it_is_taken() {
        let mut ids = IdQueue::default();
        ids.remember("A", 1);
        assert_eq!(ids.assign("A", |_| false), Some(1));
        assert_eq!(ids.assign("a\u{200b}", |_| false), Some(1), "a name that looks the same");
        assert_eq!(ids.assign("A", |id| id == 1), Some(2));
    }

    #[test]
    fn others_get_the_id_that_was_unused_for_the_longest_time() {
        let mut ids = IdQueue::default();
        assert_eq!(ids.assign("A", |_| false), Some(1));
        assert_eq!(ids.assign("B", |id| id == 1), Some(2));
        ids.touch(3);
        assert_eq!(ids.assign("C", |_| false), Some(4));
        assert_eq!(ids.assign("D", |id| id != 254), Some(254));
        assert_eq!(ids.assign("E", |_| true), None);
    }
}
