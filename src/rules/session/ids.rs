//! User ids of a session: a returning name gets its former id, others the least recently used one.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::rules::username::skeleton;

/// User ids that members can have; 0 is the server, 255 is reserved.
pub const USER_IDS: std::ops::RangeInclusive<u8> = 1..=254;
/// Maximum number of remembered names. Names whose id is free are forgotten first, oldest first.
pub const MAX_NAMES: usize = 1000;

/// Assigns user ids.
#[derive(Debug)]
pub struct IdQueue {
    queue: VecDeque<u8>,
    /// Id of a name and when it was last used, by the name's skeleton.
    names: HashMap<String, (u8, u64)>,
    /// Names in the order of their last use, with their skeletons.
    order: BTreeMap<u64, (String, String)>,
    came: u64,
}

impl Default for IdQueue {
    fn default() -> Self {
        Self { queue: USER_IDS.collect(), names: HashMap::new(), order: BTreeMap::new(), came: 0 }
    }
}

impl IdQueue {
    /// The id for a new member: the former one of this name if it is free, else the least recently used. `None` when
    /// all are taken.
    pub fn assign(&mut self, name: &str, taken: impl Fn(u8) -> bool) -> Option<u8> {
        if let Some((id, _)) = self.names.get(&skeleton(name)).filter(|(id, _)| !taken(*id)) {
            return Some(*id);
        }
        let id = *self.queue.iter().find(|id| !taken(**id))?;
        self.touch(id);
        Some(id)
    }

    /// Remembers the id of a name. Returns whether this is new.
    pub fn remember(&mut self, name: &str, id: u8, taken: impl Fn(u8) -> bool) -> bool {
        self.touch(id);
        self.came += 1;
        let key = skeleton(name);
        let before = self.names.insert(key.clone(), (id, self.came));
        let known = before.and_then(|(id, came)| Some((id, self.order.remove(&came)?.1)));
        self.order.insert(self.came, (key, name.to_owned()));
        if self.names.len() > MAX_NAMES {
            self.forget_oldest(taken);
        }
        known != Some((id, name.to_owned()))
    }

    fn forget_oldest(&mut self, taken: impl Fn(u8) -> bool) {
        let is_free = |key: &String| self.names.get(key).is_none_or(|(id, _)| !taken(*id));
        let free = self.order.iter().find(|(_, (key, _))| is_free(key)).map(|(came, _)| *came);
        // There are fewer ids than names, but several names can have had the same id.
        let oldest = free.or_else(|| self.order.keys().next().copied());
        if let Some((key, _)) = oldest.and_then(|came| self.order.remove(&came)) {
            self.names.remove(&key);
        }
    }

    /// Ids and names in the order of their last use.
    pub fn remembered(&self) -> impl Iterator<Item = (u8, &str)> {
        self.order.values().filter_map(|(key, name)| Some((self.names.get(key)?.0, name.as_str())))
    }

    /// Marks an id as the most recently used.
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
        assert!(ids.remember("A", 1, |_| false));
        assert!(!ids.remember("A", 1, |_| false), "that is no news");
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

    #[test]
    fn the_oldest_names_are_forgotten_but_those_whose_id_somebody_has() {
        let mut ids = IdQueue::default();
        for n in 0..3 * MAX_NAMES {
            ids.remember(&format!("n{n}"), (n % 254 + 1) as u8, |id| id == 1);
        }
        assert_eq!(ids.remembered().count(), MAX_NAMES);
        assert_eq!((ids.names.len(), ids.order.len()), (MAX_NAMES, MAX_NAMES));
        assert_eq!(ids.remembered().next(), Some((1, "n0")));
        assert_eq!(ids.remembered().last().map(|(_, name)| name.to_owned()), Some("n2999".to_owned()));
    }
}
