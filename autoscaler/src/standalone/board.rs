//! What the page and the terminal look at: the picture of this moment, and the last hour.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use autoscaler_plan::{Decision, Reason, Term};
use jiff::Timestamp;
use serde::Serialize;

use super::days::DayPicture;
use super::history::{Event, Events, Point, Series};

/// Shared between the loop, which writes, and the page, which reads.
#[derive(Debug, Default)]
pub struct Board {
    // Held to copy a picture in or to write one answer out, never across an await.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    picture: Picture,
    series: BTreeMap<String, Series>,
    events: Events,
}

/// This moment. Latencies are engine time: wall time × time scale.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Picture {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// When the autoscaler started, milliseconds since 1970: another one means that events count anew.
    pub started_ms: i64,
    /// Version of the program.
    pub version: &'static str,
    /// How many times faster than life the engines run.
    pub time_scale: f64,
    /// Seconds of wall time that quantiles look back over.
    pub window_seconds: f64,
    /// Generation of the list handed to the router.
    pub generation: u64,
    /// Generation that the router has applied, if it answers.
    pub applied_generation: Option<u64>,
    /// Everything is being ended.
    pub is_stopping: bool,
    /// Router and adapter.
    pub programs: Vec<ProgramPicture>,
    /// The models.
    pub models: Vec<ModelPicture>,
}

/// Router or adapter.
#[derive(Debug, Clone, Serialize)]
pub struct ProgramPicture {
    /// Its name.
    pub name: &'static str,
    /// Its base URL.
    pub url: String,
    /// `running`, `stopping` or `down`.
    pub state: &'static str,
    /// Process number.
    pub pid: Option<i32>,
    /// Restarts since the autoscaler started.
    pub restarts: u32,
}

/// One model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelPicture {
    /// Short name.
    pub name: String,
    /// The name clients use.
    pub served_model_name: String,
    /// Fewest and most engines.
    pub min_replicas: u32,
    /// See `min_replicas`.
    pub max_replicas: u32,
    /// Objective: seconds to the first token.
    pub objective_ttft_seconds: f64,
    /// Objective: seconds between tokens.
    pub objective_inter_token_latency_seconds: f64,
    /// Objective: share of requests that meet both.
    pub objective_attainment: f64,
    /// Answers since the router started, by status code.
    pub answered_total: BTreeMap<String, f64>,
    /// Requests at once that an engine carries, and how that is known.
    pub capacity_requests: Option<f64>,
    /// See `capacity_requests`.
    pub capacity_source: Option<&'static str>,
    /// Learned start-up time, upper quantile, seconds of wall time.
    pub startup_seconds: Option<f64>,
    /// Why the number of engines is what it is, the binding reason first.
    pub because: Vec<Reason>,
    /// What that rests on, term by term, in words.
    pub terms: Vec<Term>,
    /// The last seasons, oldest first.
    pub days: Vec<DayPicture>,
    /// The numbers of this moment.
    pub now: Option<Point>,
    /// Engines that sleep.
    pub asleep: u32,
    /// Its engines.
    pub engines: Vec<EnginePicture>,
}

/// One engine.
#[derive(Debug, Clone, Serialize)]
pub struct EnginePicture {
    /// Its id.
    pub id: String,
    /// `starting`, `ready`, `draining`, `stopping`, `dozing` (goes to sleep), `asleep`, `waking` or `crashed`.
    pub state: &'static str,
    /// Seconds in this state.
    pub state_seconds: f64,
    /// Its port.
    pub port: u16,
    /// Its process number.
    pub pid: Option<i32>,
    /// Its GPUs.
    pub gpus: Vec<String>,
    /// Restarts after a crash.
    pub restarts: u32,
    /// Requests the router has there.
    pub in_flight: Option<u64>,
    /// Requests it runs.
    pub running: Option<f64>,
    /// Requests that wait in it.
    pub waiting: Option<f64>,
    /// Share of its KV cache in use.
    pub kv_cache_usage: Option<f64>,
    /// `vllm`, `none` (scaled by what the router sees) or why there are no metrics.
    pub metrics: String,
}

/// The answer of `/api/state`.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    picture: &'a Picture,
    series: BTreeMap<&'a str, Vec<Row>>,
    events: Vec<&'a Event>,
}

/// A point as an array, for size: time in ms, arrivals per second, wanted, ready, starting, running, queue, TTFT p50,
/// p95, p99 in seconds.
#[derive(Debug, Serialize)]
struct Row(i64, Option<f64>, u32, u32, u32, f64, f64, Option<f64>, Option<f64>, Option<f64>);

impl Board {
    /// Puts a new picture up and adds its points.
    pub fn show(&self, picture: Picture) {
        let mut inner = self.lock();
        for model in &picture.models {
            if let Some(point) = &model.now {
                inner.series.entry(model.name.clone()).or_default().push(point.clone());
            }
        }
        inner.picture = picture;
    }

    /// Lets the caller read and advance the series of one model.
    pub fn with_series<T>(&self, model: &str, work: impl FnOnce(&mut Series) -> T) -> T {
        let mut inner = self.lock();
        match inner.series.get_mut(model) {
            Some(series) => work(series),
            None => work(inner.series.entry(model.to_owned()).or_default()),
        }
    }

    /// Tells and logs that the number of engines wanted has changed.
    pub fn tell_scaling(&self, now: Timestamp, model: &str, before: u32, decision: &Decision) {
        let because = decision.because.iter().map(|reason| reason.message.as_str()).collect::<Vec<_>>().join("; ");
        let reason = decision.headline().map_or("", |reason| reason.reason);
        tracing::info!(model, before, wanted = decision.replicas, reason, because, "engines wanted");
        let message = format!("{before} → {} engines: {because}", decision.replicas);
        self.lock().events.push(now, "scale", model, message, false);
    }

    /// Tells and logs what happened to an engine.
    pub fn tell_engine(&self, now: Timestamp, id: &str, what: &str, warning: bool) {
        if warning {
            tracing::warn!(engine = id, what, "engine");
        } else {
            tracing::info!(engine = id, what, "engine");
        }
        self.lock().events.push(now, "engine", id, what.to_owned(), warning);
    }

    /// The answer of `/api/state`: this moment, points after `after_ms`, events from number `events_from` on.
    pub fn answer(&self, after_ms: i64, events_from: u64) -> serde_json::Result<Vec<u8>> {
        let inner = self.lock();
        let series =
            inner.series.iter().map(|(model, series)| (model.as_str(), series.since(after_ms).map(row).collect()));
        let answer = Answer {
            picture: &inner.picture,
            series: series.collect(),
            events: inner.events.from(events_from).collect(),
        };
        serde_json::to_vec(&answer)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row(point: &Point) -> Row {
    let [p50, p95, p99] = point.ttft_seconds.map(|value| value.map(rounded));
    Row(
        point.at_ms,
        point.arrivals_per_second.map(rounded),
        point.wanted,
        point.ready,
        point.starting,
        rounded(point.running),
        rounded(point.queue),
        p50,
        p95,
        p99,
    )
}

/// Four digits after the point are finer than any pixel.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_holds_what_is_new() {
        let board = Board::default();
        let point = |at_ms| Point {
            at_ms,
            arrivals_per_second: None,
            wanted: 2,
            ready: 1,
            starting: 1,
            running: 1.23456,
            queue: 0.0,
            ttft_seconds: [Some(0.5), None, None],
        };
        board.with_series("m", |series| {
            series.push(point(1000));
            series.push(point(2000));
        });
        board.tell_engine(Timestamp::UNIX_EPOCH, "m-0", "is ready after 3.0 s", false);
        let answer = |after_ms, events_from| {
            let bytes = board.answer(after_ms, events_from).unwrap();
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
        };
        let all = answer(0, 0);
        assert_eq!(all["series"]["m"].as_array().unwrap().len(), 2);
        assert_eq!(all["events"][0]["message"], "is ready after 3.0 s");
        let new = answer(1000, 1);
        assert_eq!(new["series"]["m"], serde_json::json!([[2000, null, 2, 1, 1, 1.2346, 0.0, 0.5, null, null]]));
        assert_eq!(new["events"], serde_json::json!([]));
    }
}
