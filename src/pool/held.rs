//! Which statements a server holds, and when each was used last.
//!
//! To look one up touches two lines of memory. Between two short statements the kernel and PostgreSQL have emptied the caches, and the links
//! of a list in the order of use cost a prepared query as much as a tenth of what the gateway does for it. To find the one
//! that was used the longest ago all are looked at: that comes with a Parse, which costs PostgreSQL far more.

use std::collections::HashMap;

use super::expect::StatementId;

/// Statements that a server holds.
#[derive(Debug)]
pub struct Held {
    used: HashMap<StatementId, u64, foldhash::fast::RandomState>,
    max: usize,
}

impl Held {
    /// At most `max`, and at least one.
    pub fn new(max: usize) -> Held {
        Held { used: HashMap::default(), max: max.max(1) }
    }

    /// Whether it is held; if so, it is used `now`.
    pub fn touch(&mut self, statement: StatementId, now: u64) -> bool {
        let used = self.used.get_mut(&statement);
        let held = used.is_some();
        if let Some(used) = used {
            *used = now;
        }
        held
    }

    /// The one that was used the longest ago, and when, if there is no room for one more.
    pub fn in_the_way(&self) -> Option<(StatementId, u64)> {
        if self.used.len() < self.max {
            return None;
        }
        self.used.iter().min_by_key(|(_, used)| **used).map(|(statement, used)| (*statement, *used))
    }

    /// It is held from now on. Who wants no more than fit removes what is in the way first.
    pub fn add(&mut self, statement: StatementId, now: u64) {
        self.used.insert(statement, now);
    }

    /// It is not held any more; whether it was.
    pub fn remove(&mut self, statement: StatementId) -> bool {
        self.used.remove(&statement).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_the_longest_ago_is_in_the_way_once_there_is_no_room() {
        let [first, second, third] = [1, 2, 3].map(StatementId);
        let mut held = Held::new(2);
        assert!(!held.touch(first, 1));
        held.add(first, 1);
        assert_eq!(held.in_the_way(), None);
        held.add(second, 2);
        assert_eq!(held.in_the_way(), Some((first, 1)));
        assert!(held.touch(first, 3));
        assert_eq!(held.in_the_way(), Some((second, 2)));
        assert!(held.remove(second) && !held.remove(second));
        held.add(third, 4);
        assert_eq!(held.in_the_way(), Some((first, 3)));
    }

    #[test]
    fn there_is_always_room_for_one() {
        let mut held = Held::new(0);
        assert_eq!(held.in_the_way(), None);
        held.add(StatementId(7), 1);
        assert_eq!(held.in_the_way(), Some((StatementId(7), 1)));
    }
}
