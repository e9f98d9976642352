//! The router's queue: who goes first, and who has waited too long.

use std::collections::VecDeque;

use super::engine::Job;
use crate::score::Discipline;

/// Requests that no engine can take now. The order among equals is that of arrival.
#[derive(Debug)]
pub(super) struct Queue {
    discipline: Discipline,
    deadline_seconds: f64,
    /// Those that can still make it, as far as known.
    timely: VecDeque<Job>,
    /// Those that can not; always empty under `Fifo`.
    late: VecDeque<Job>,
    prompt_tokens: u64,
}

impl Queue {
    pub(super) fn new(discipline: Discipline, deadline_seconds: f64) -> Self {
        Self { discipline, deadline_seconds, timely: VecDeque::new(), late: VecDeque::new(), prompt_tokens: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.timely.is_empty() && self.late.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.timely.len() + self.late.len()
    }

    /// Prompt tokens of those that wait.
    pub(super) fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens
    }

    pub(super) fn push(&mut self, job: Job) {
        self.prompt_tokens += u64::from(job.prompt_tokens);
        self.timely.push_back(job);
    }

    /// The next to be served at `now`: under `Deadline` the oldest of those for which `can_make_it`, and one of the
    /// others only when there is none.
    pub(super) fn pop(&mut self, can_make_it: impl Fn(&Job) -> bool) -> Option<Job> {
        if self.discipline == Discipline::Deadline {
            while let Some(job) = self.timely.pop_front_if(|job| !can_make_it(job)) {
                self.late.push_back(job);
            }
        }
        let job = self.timely.pop_front().or_else(|| self.late.pop_front())?;
        self.prompt_tokens -= u64::from(job.prompt_tokens);
        Some(job)
    }

    /// When the next request will have waited too long; infinite when empty.
    pub(super) fn next_expiry_seconds(&self) -> f64 {
        let first = |jobs: &VecDeque<Job>| jobs.front().map_or(f64::INFINITY, |job| job.arrival_seconds);
        first(&self.timely).min(first(&self.late)) + self.deadline_seconds
    }

    /// A request that has waited too long at `now`.
    pub(super) fn pop_expired(&mut self, now: f64) -> Option<Job> {
        let deadline = self.deadline_seconds;
        let is_expired = |job: &mut Job| job.arrival_seconds + deadline <= now;
        let job = self.late.pop_front_if(is_expired).or_else(|| self.timely.pop_front_if(is_expired))?;
        self.prompt_tokens -= u64::from(job.prompt_tokens);
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: u64, arrival_seconds: f64) -> Job {
        Job { id, arrival_seconds, prompt_tokens: 10, output_tokens: 1, prefix_group: 0, shared_tokens: 0, retries: 0 }
    }

    fn served(discipline: Discipline, now: f64) -> Vec<u64> {
        let mut queue = Queue::new(discipline, 30.0);
        (0..4).for_each(|id| queue.push(job(id, id as f64)));
        std::iter::from_fn(|| queue.pop(|job| now - job.arrival_seconds <= 3.0)).map(|job| job.id).collect()
    }

    #[test]
    fn fifo_serves_in_order_of_arrival_however_late() {
        assert_eq!(served(Discipline::Fifo, 5.0), [0, 1, 2, 3]);
    }

    #[test]
    fn by_deadline_the_late_yield_to_those_that_can_make_it_and_are_served_all_the_same() {
        assert_eq!(served(Discipline::Deadline, 5.0), [2, 3, 0, 1]);
        assert_eq!(served(Discipline::Deadline, 3.0), [0, 1, 2, 3]);
    }

    #[test]
    fn a_request_leaves_the_queue_when_its_wait_reaches_the_deadline() {
        for discipline in [Discipline::Fifo, Discipline::Deadline] {
            let mut queue = Queue::new(discipline, 30.0);
            (0..3).for_each(|id| queue.push(job(id, id as f64)));
            assert_eq!(
                queue.pop(|job| job.id > 0).map(|job| job.id),
                Some(u64::from(discipline == Discipline::Deadline))
            );
            assert_eq!(queue.pop_expired(29.9), None);
            while queue.pop_expired(32.0).is_some() {}
            assert!(queue.is_empty(), "{discipline:?}");
            assert_eq!((queue.prompt_tokens(), queue.next_expiry_seconds()), (0, f64::INFINITY));
        }
    }
}
