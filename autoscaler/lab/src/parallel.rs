//! Jobs on a few threads, answers in the order of the jobs.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs jobs `0..count` on `threads` threads; the answers are in the order of the jobs, whichever ended first.
pub(crate) fn map<T: Send>(threads: NonZeroUsize, count: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..threads.get().min(count) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    let answer = job(index);
                    // A panic of another thread ends the scope anyway.
                    answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, answer));
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_in_the_order_of_the_jobs() {
        let threads = NonZeroUsize::new(3).unwrap();
        let squares = map(threads, 50, |n| {
            std::thread::sleep(std::time::Duration::from_micros((n as u64 * 37) % 100));
            n * n
        });
        assert_eq!(squares, (0..50).map(|n| n * n).collect::<Vec<_>>());
        assert!(map(threads, 0, |n| n).is_empty());
    }
}
