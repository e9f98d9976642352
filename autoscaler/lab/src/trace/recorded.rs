//! Traces that record every request: replayed, thinned or multiplied.

use autoscaler_sim::Request;
use rand::RngExt;

use super::random::stream;

/// Stretches are made in cells of this length.
const CELL_SECONDS: f64 = 60.0;
/// A copy that multiplies the load arrives within this time of its original: near enough to keep the load's course of
/// minutes, far enough that copies are not bursts.
const SPREAD_SECONDS: f64 = 30.0;

/// Every request of a trace, in order of arrival.
///
/// At a factor below 1 each request is kept with that probability. Above 1 each has copies: the first stays where it is, the
/// others arrive within 30 s of it, and each copy of a prefix group is a group of its own whose requests keep their
/// distances, so that neither bursts nor the share of the prefix cache grow with the factor.
#[derive(Debug)]
pub(crate) struct Recorded {
    requests: Vec<Request>,
    duration_seconds: f64,
    /// Times in the trace are rounded to this; 0 when they are exact. Requests are spread over it.
    resolution_seconds: f64,
}

impl Recorded {
    /// From requests in any order, not empty, with arrivals of at least 0.
    pub(crate) fn new(mut requests: Vec<Request>) -> Self {
        requests.sort_by(|a, b| a.arrival_seconds.total_cmp(&b.arrival_seconds));
        let last = requests.last().map_or(0.0, |request| request.arrival_seconds);
        let resolution_seconds = resolution_seconds(&requests);
        let duration_seconds = ((last + resolution_seconds) / 10.0).floor().mul_add(10.0, 10.0);
        Self { requests, duration_seconds, resolution_seconds }
    }

    pub(crate) fn duration_seconds(&self) -> f64 {
        self.duration_seconds
    }

    pub(crate) fn requests(&self) -> f64 {
        self.requests.len() as f64
    }

    /// Requests in each step.
    pub(crate) fn counts(&self, step_seconds: f64) -> Vec<f64> {
        let mut counts = vec![0.0; (self.duration_seconds / step_seconds).ceil() as usize];
        for request in &self.requests {
            if let Some(count) = counts.get_mut((request.arrival_seconds / step_seconds) as usize) {
                *count += 1.0;
            }
        }
        counts
    }

    pub(crate) fn visit(&self, factor: f64, from: f64, to: f64, seed: u64, each: &mut dyn FnMut(&Request)) {
        let mut cell = Vec::new();
        let mut start = (from.max(0.0) / CELL_SECONDS).floor() * CELL_SECONDS;
        let end = to.min(self.duration_seconds);
        while start < end {
            let (low, high) = (start.max(from), (start + CELL_SECONDS).min(end));
            self.fill(factor, low, high, seed, &mut cell);
            cell.iter().for_each(&mut *each);
            start += CELL_SECONDS;
        }
    }

    /// The requests that arrive in `[low, high)`, in order.
    fn fill(&self, factor: f64, low: f64, high: f64, seed: u64, cell: &mut Vec<Request>) {
        cell.clear();
        // At an end of the trace displaced requests are reflected, so the reach is the same there.
        let reach = SPREAD_SECONDS + self.resolution_seconds;
        let first = self.requests.partition_point(|request| request.arrival_seconds < low - reach);
        for (index, request) in self.requests.iter().enumerate().skip(first) {
            if request.arrival_seconds >= high + reach {
                break;
            }
            let mut random = stream(&[seed, index as u64]);
            let exact = request.arrival_seconds + random.random::<f64>() * self.resolution_seconds;
            let copies = (factor + random.random::<f64>()).floor() as u64;
            for copy in 0..copies {
                let arrival_seconds = self.displaced(exact, copy, seed, request.prefix_group, index);
                if (low..high).contains(&arrival_seconds) {
                    let prefix_group = group_of_copy(request.prefix_group, copy);
                    cell.push(Request { arrival_seconds, prefix_group, ..*request });
                }
            }
        }
        cell.sort_by(|a, b| a.arrival_seconds.total_cmp(&b.arrival_seconds));
    }

    fn displaced(&self, exact: f64, copy: u64, seed: u64, group: u64, index: usize) -> f64 {
        if copy == 0 {
            return exact;
        }
        let own = if group == 0 { index as u64 } else { group | 1 << 63 };
        let moved = exact + (stream(&[seed, own, copy]).random::<f64>() * 2.0 - 1.0) * SPREAD_SECONDS;
        let reflected = if moved >= self.duration_seconds { 2.0 * self.duration_seconds - moved } else { moved.abs() };
        // The reflection of exactly the end is the end, which is outside.
        reflected.clamp(0.0, self.duration_seconds.next_down())
    }
}

fn group_of_copy(group: u64, copy: u64) -> u64 {
    if group == 0 { 0 } else { group + (copy << 40) }
}

/// What the times are rounded to: the median distance of different times, when many requests share a time.
fn resolution_seconds(requests: &[Request]) -> f64 {
    let mut gaps: Vec<f64> = requests
        .windows(2)
        .map(|pair| pair[1].arrival_seconds - pair[0].arrival_seconds)
        .filter(|gap| *gap > 0.0)
        .collect();
    if gaps.len() * 2 >= requests.len() || gaps.is_empty() {
        return 0.0;
    }
    let middle = gaps.len() / 2;
    let (_, median, _) = gaps.select_nth_unstable_by(middle, f64::total_cmp);
    // Longer shared times are not rounding but batches of the client, which are to be kept.
    if *median <= 10.0 { *median } else { 0.0 }
}

/// Borders of stretches are multiples of this.
pub(crate) const GRAIN_SECONDS: f64 = CELL_SECONDS;

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(count: u32, gap: f64) -> Recorded {
        Recorded::new(
            (0..count)
                .map(|i| Request {
                    arrival_seconds: f64::from(i) * gap,
                    prompt_tokens: i + 1,
                    output_tokens: 1,
                    prefix_group: u64::from(i % 5),
                    shared_tokens: 0,
                })
                .collect(),
        )
    }

    fn visited(trace: &Recorded, factor: f64, from: f64, to: f64) -> Vec<Request> {
        let mut all = Vec::new();
        trace.visit(factor, from, to, 1, &mut |request| all.push(*request));
        all
    }

    #[test]
    fn at_factor_one_the_trace_is_replayed_as_recorded() {
        let trace = trace(100, 3.7);
        assert_eq!(visited(&trace, 1.0, 0.0, 1e9), trace.requests);
    }

    #[test]
    fn stretches_fit_together_and_are_in_order() {
        let trace = trace(2000, 0.9);
        for factor in [0.3, 1.0, 2.6] {
            let whole = visited(&trace, factor, 0.0, trace.duration_seconds());
            let mut parts = visited(&trace, factor, 0.0, 600.0);
            parts.extend(visited(&trace, factor, 600.0, 660.0));
            parts.extend(visited(&trace, factor, 660.0, trace.duration_seconds()));
            assert_eq!(whole, parts);
            assert!(whole.windows(2).all(|pair| pair[0].arrival_seconds <= pair[1].arrival_seconds));
            let ratio = whole.len() as f64 / (2000.0 * factor);
            assert!((ratio - 1.0).abs() < 0.1, "{factor}: {ratio}");
        }
    }

    #[test]
    fn a_copy_of_a_group_is_another_group_and_keeps_its_distances() {
        let trace = trace(40, 20.0);
        let copies: Vec<Request> =
            visited(&trace, 2.0, 0.0, 1e9).into_iter().filter(|r| r.prefix_group == group_of_copy(3, 1)).collect();
        assert_eq!(copies.len(), 8);
        let inner = &copies[1..7];
        assert!(inner.windows(2).all(|p| (p[1].arrival_seconds - p[0].arrival_seconds - 100.0).abs() < 1e-6));
    }

    #[test]
    fn rounded_times_are_spread() {
        let requests = (0..300).map(|i| Request {
            arrival_seconds: f64::from(i / 10) * 3.0,
            prompt_tokens: 1,
            output_tokens: 1,
            prefix_group: 0,
            shared_tokens: 0,
        });
        let trace = Recorded::new(requests.collect());
        assert!((trace.resolution_seconds - 3.0).abs() < 1e-9);
        let times = visited(&trace, 1.0, 0.0, 1e9);
        assert_eq!(times.len(), 300);
        assert!(times.windows(2).all(|pair| pair[0].arrival_seconds < pair[1].arrival_seconds));
    }
}
