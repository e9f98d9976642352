//! A small cache with a time to live, for decisions that are asked again and again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// As in Kubernetes' delegated authorization; beyond it everything that has expired is dropped, then everything.
const MAX_ENTRIES: usize = 8192;

/// Values by key, each for a while.
#[derive(Debug)]
pub struct Cache<K, V> {
    time_to_live: Duration,
    // Held for one look-up or insertion, never across an await.
    entries: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// An empty cache.
    pub fn new(time_to_live: Duration) -> Self {
        Self { time_to_live, entries: Mutex::default() }
    }

    /// The value, if it is young enough at `now`.
    pub fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.get_within(key, self.time_to_live, now)
    }

    /// The value, if it is at most `age` old: for when the better answer cannot be had.
    pub fn get_within(&self, key: &K, age: Duration, now: Instant) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(at, _)| now.duration_since(*at) <= age).map(|(_, value)| value.clone())
    }

    /// Remembers a value from `now` on.
    pub fn insert(&self, key: K, value: V, now: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, (at, _)| now.duration_since(*at) <= self.time_to_live);
        }
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(key, (now, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lives_for_its_time_and_longer_only_on_request() {
        let cache = Cache::new(Duration::from_secs(10));
        let start = Instant::now();
        cache.insert("a", 1, start);
        assert_eq!(cache.get(&"a", start + Duration::from_secs(9)), Some(1));
        let later = start + Duration::from_secs(11);
        assert_eq!(cache.get(&"a", later), None);
        assert_eq!(cache.get_within(&"a", Duration::from_secs(60), later), Some(1));
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let cache = Cache::new(Duration::from_secs(10));
        for key in 0..3 * MAX_ENTRIES {
            cache.insert(key, (), Instant::now());
        }
        assert!(cache.entries.lock().unwrap().len() <= MAX_ENTRIES);
    }
}
