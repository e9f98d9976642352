//! Which GPUs an engine gets: a fixed pool, handed out whole, lowest first.

use std::collections::BTreeSet;

/// The first `count` GPUs of `pool` that nobody holds; `None` when there are too few.
///
/// A count of 0 (no GPUs configured) always succeeds with none.
pub fn assign(pool: &[String], held: &BTreeSet<String>, count: usize) -> Option<Vec<String>> {
    let free: Vec<String> = pool.iter().filter(|gpu| !held.contains(*gpu)).take(count).cloned().collect();
    (free.len() == count).then_some(free)
}

/// How many engines of `per_engine` GPUs a model can have while others hold `held_by_others` GPUs of `pool_size`.
///
/// `None` when GPUs do not bound it.
pub fn replica_bound(pool_size: usize, held_by_others: usize, per_engine: usize) -> Option<u32> {
    if per_engine == 0 {
        return None;
    }
    let engines = pool_size.saturating_sub(held_by_others) / per_engine;
    Some(u32::try_from(engines).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Vec<String> {
        ["0", "1", "2", "3"].map(String::from).to_vec()
    }

    #[test]
    fn the_lowest_free_gpus_are_given_whole() {
        let held = BTreeSet::from(["1".to_owned()]);
        assert_eq!(assign(&pool(), &held, 2), Some(vec!["0".into(), "2".into()]));
        assert_eq!(assign(&pool(), &held, 4), None);
        assert_eq!(assign(&[], &BTreeSet::new(), 0), Some(vec![]));
    }

    #[test]
    fn gpus_bound_the_replicas_of_a_model() {
        assert_eq!(replica_bound(4, 0, 2), Some(2));
        assert_eq!(replica_bound(4, 1, 2), Some(1));
        assert_eq!(replica_bound(4, 9, 2), Some(0));
        assert_eq!(replica_bound(0, 0, 0), None);
    }
}
