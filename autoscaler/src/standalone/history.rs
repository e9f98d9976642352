//! What the page draws: one point a model and moment, and what happened, both bounded.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use super::days::{DayLook, DayPicture, Days};
use super::quantiles::QuantileWindow;
use crate::observe::read::RouterModel;

/// An hour at one point a second; with the demo's quarter second, a quarter of an hour.
const MOST_POINTS: usize = 3600;
/// What fits into a list that anybody reads.
const MOST_EVENTS: usize = 300;

/// The picture of one model at one moment. Latencies are engine time: wall time × time scale.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Requests that arrived at the router, per second of wall time.
    pub arrivals_per_second: Option<f64>,
    /// Engines wanted.
    pub wanted: u32,
    /// Engines that take requests.
    pub ready: u32,
    /// Engines that start.
    pub starting: u32,
    /// Requests being served.
    pub running: f64,
    /// Requests that wait, in router and engines.
    pub queue: f64,
    /// Quantiles of time to first token, seconds: 0.5, 0.95, 0.99. `None` without traffic.
    pub ttft_seconds: [Option<f64>; 3],
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Grows by one with each event, so that a reader asks for what is new.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// `scale`, `engine` or `program`.
    pub kind: &'static str,
    /// The model or program.
    pub about: String,
    /// What happened, in words.
    pub message: String,
    /// Whether somebody should look at it.
    pub warning: bool,
}

/// Points of one model.
#[derive(Debug, Default)]
pub struct Series {
    points: VecDeque<Point>,
    ttft: QuantileWindow,
    arrivals: VecDeque<(Timestamp, f64)>,
    answered: BTreeMap<String, f64>,
    days: Days,
}

/// Everything that happened lately.
#[derive(Debug, Default)]
pub struct Events {
    events: VecDeque<Event>,
    next_number: u64,
}

/// Share of the window over which the arrival rate is taken: short, since a jump is what one looks for.
const RATE_WINDOW_SHARE: f64 = 0.2;

impl Series {
    /// Takes in what the router says; `window_seconds` is what quantiles look back over.
    pub fn observe(&mut self, metrics: &RouterModel, now: Timestamp, window_seconds: f64) {
        self.ttft.add(&metrics.ttft_buckets, now, window_seconds);
        if self.arrivals.back().is_some_and(|(_, total)| *total > metrics.received_total) {
            self.arrivals.clear();
        }
        self.arrivals.push_back((now, metrics.received_total));
        let window = window_seconds * RATE_WINDOW_SHARE;
        while self.arrivals.len() > 2
            && self.arrivals.get(1).is_some_and(|(at, _)| now.duration_since(*at).as_secs_f64() >= window)
        {
            self.arrivals.pop_front();
        }
        self.answered.clone_from(&metrics.answered_total);
    }

    /// Requests per second over the last seconds; `None` until two readings.
    pub fn arrivals_per_second(&self) -> Option<f64> {
        let ((from, old), (to, new)) = (self.arrivals.front()?, self.arrivals.back()?);
        let seconds = to.duration_since(*from).as_secs_f64();
        (seconds > 0.0).then(|| (new - old) / seconds)
    }

    /// Quantile `q` of the time to first token over the last seconds, engine time.
    pub fn ttft_seconds(&self, q: f64, time_scale: f64) -> Option<f64> {
        self.ttft.quantile(q).map(|seconds| seconds * time_scale)
    }

    /// Takes a look into the day; after [`Series::observe`].
    pub fn take_day(&mut self, look: DayLook) {
        self.days.take(look, &self.answered, &self.ttft);
    }

    /// The last days, oldest first.
    pub fn days(&self, season_seconds: f64, time_scale: f64) -> Vec<DayPicture> {
        self.days.pictures(season_seconds, time_scale, &self.ttft)
    }

    /// Answers since the router started, by status code.
    pub fn answered_total(&self) -> &BTreeMap<String, f64> {
        &self.answered
    }

    /// Adds a point, forgetting the oldest beyond an hour of seconds.
    pub fn push(&mut self, point: Point) {
        if self.points.len() >= MOST_POINTS {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// Points after a moment.
    pub fn since(&self, after_ms: i64) -> impl Iterator<Item = &Point> {
        let first = self.points.partition_point(|point| point.at_ms <= after_ms);
        self.points.range(first..)
    }
}

impl Events {
    /// Adds an event.
    pub fn push(&mut self, now: Timestamp, kind: &'static str, about: &str, message: String, warning: bool) {
        if self.events.len() >= MOST_EVENTS {
            self.events.pop_front();
        }
        let number = self.next_number;
        self.next_number += 1;
        self.events.push_back(Event {
            number,
            at_ms: now.as_millisecond(),
            kind,
            about: about.to_owned(),
            message,
            warning,
        });
    }

    /// Events from a number on.
    pub fn from(&self, number: u64) -> impl Iterator<Item = &Event> {
        let first = self.events.partition_point(|event| event.number < number);
        self.events.range(first..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn arrivals_are_a_rate_over_the_last_seconds_and_start_over_with_the_router() {
        let mut series = Series::default();
        let mut see = |milliseconds, received_total| {
            series.observe(&RouterModel { received_total, ..RouterModel::default() }, at(milliseconds), 5.0);
            series.arrivals_per_second()
        };
        assert_eq!(see(0, 100.0), None);
        assert_eq!(see(1000, 110.0), Some(10.0));
        assert_eq!(see(2000, 150.0), Some(40.0));
        assert_eq!(see(3000, 4.0), None);
        assert_eq!(see(4000, 6.0), Some(2.0));
    }

    #[test]
    fn a_reader_gets_only_what_is_new() {
        let mut events = Events::default();
        for number in 0..400 {
            events.push(at(0), "scale", "m", format!("{number}"), false);
        }
        assert_eq!(events.from(0).count(), 300);
        let new: Vec<u64> = events.from(398).map(|event| event.number).collect();
        assert_eq!(new, [398, 399]);
    }
}
