//! The event loop: arrivals, steps of engines, start-ups, scrapes and decisions, in order of time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::arrivals::Arrivals;
use super::engine::{BLOCK_TOKENS, Engine, Job, Progress, kv_blocks};
use super::fleet::{Fleet, FleetTotals};
use super::leaping::LeapingEngine;
use super::monitor::{Monitor, View};
use super::outcome::{EventRun, Tally};
use super::queue::Queue;
use super::settings::{EngineKind, EngineSettings, Settings};
use super::stepping::SteppingEngine;
use crate::policy::{Policy, Task};
use crate::request::RequestSource;
use crate::startup::{SettingError, Starter};

/// Runs `policy` against every single request of `source` in the stretch that `settings` names. The same arguments give
/// the same run.
///
/// # Errors
/// A setting out of its range, or a period of the policy that is not above 0.
pub fn simulate(
    source: &dyn RequestSource,
    policy: &mut dyn Policy,
    task: &Task,
    settings: &Settings,
) -> Result<EventRun, SettingError> {
    settings.validate(task)?;
    let period = policy.period_seconds();
    SettingError::check(period.is_finite() && period > 0.0, "policy.period_seconds", period, "above 0")?;
    let starter = Starter::new(settings.startup, settings.seed)?;
    Ok(match settings.engine {
        EngineKind::Leaping => Run::<LeapingEngine>::new(task, settings, starter, period, false).go(source, policy),
        EngineKind::Stepping { prefix_cache } => {
            Run::<SteppingEngine>::new(task, settings, starter, period, prefix_cache).go(source, policy)
        }
    })
}

/// A retry that is due, the first on top of the heap.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Return {
    /// Bits of the time, which is positive, so that they order as it does.
    at: u64,
    id: u64,
}

struct Run<'a, E> {
    task: &'a Task,
    settings: &'a Settings,
    fleet: Fleet<'a, E>,
    fleet_before_score: Option<FleetTotals>,
    queue: Queue,
    monitor: Monitor<'a>,
    tally: Tally,
    progress: Progress,
    returns: BinaryHeap<Reverse<Return>>,
    returning: HashMap<u64, Job>,
    retries: u64,
    /// Time from one decision to the next; asked once, so that no answer can stop the clock.
    period_seconds: f64,
    most_blocks: u64,
    next_id: u64,
    next_decision_seconds: f64,
    next_record_seconds: f64,
    /// One stream a purpose: a draw more in one changes nothing in the others.
    routing_rng: Pcg64Mcg,
    scrape_rng: Pcg64Mcg,
    retry_rng: Pcg64Mcg,
}

impl<'a, E: Engine> Run<'a, E> {
    fn new(task: &'a Task, settings: &'a Settings, starter: Starter, period_seconds: f64, prefix_cache: bool) -> Self {
        let engine_settings = EngineSettings {
            step: task.step,
            limits: task.limits,
            block_tokens: BLOCK_TOKENS,
            warm_up: settings.friction.warm_up,
            prefix_cache,
        };
        let stream = |number: u64| Pcg64Mcg::seed_from_u64(settings.seed.wrapping_mul(8).wrapping_add(number));
        Self {
            task,
            settings,
            fleet: Fleet::new(settings, engine_settings, starter),
            fleet_before_score: None,
            queue: Queue::new(settings.discipline, settings.router_deadline_seconds),
            monitor: Monitor::new(settings, task.objective),
            tally: Tally::new(task.objective, settings),
            progress: Progress::default(),
            returns: BinaryHeap::new(),
            returning: HashMap::new(),
            retries: 0,
            period_seconds,
            most_blocks: kv_blocks(&engine_settings),
            next_id: 0,
            next_decision_seconds: settings.from_seconds,
            next_record_seconds: settings.from_seconds,
            routing_rng: stream(1),
            scrape_rng: stream(2),
            retry_rng: stream(3),
        }
    }

    fn go(mut self, source: &dyn RequestSource, policy: &mut dyn Policy) -> EventRun {
        let mut arrivals = Arrivals::new(source, self.settings);
        let mut next_timer = self.next_timer_seconds();
        loop {
            let (place, engine_seconds) = self.fleet.next_event();
            let arrival_seconds = arrivals.next_seconds();
            let timer_seconds = next_timer.min(self.queue.next_expiry_seconds());
            let now = engine_seconds.min(arrival_seconds).min(timer_seconds);
            // Past the end, so that what is due at the end itself, the last sample, is done.
            if now > self.settings.to_seconds && self.is_idle() && arrival_seconds.is_infinite() {
                break;
            }
            if engine_seconds <= now {
                self.advance(place, now);
            } else if timer_seconds <= now {
                self.tick(now, policy);
                next_timer = self.next_timer_seconds();
            } else if let Some(request) = arrivals.pop() {
                let job = Job::new(self.next_id, now, &request);
                self.next_id += 1;
                self.arrive(now, job);
            }
        }
        self.fleet.close(self.settings.to_seconds);
        let before = self.fleet_before_score.unwrap_or_default();
        let counters = self.fleet.counters(self.settings.to_seconds);
        self.tally.outcome(self.fleet.totals(), before, counters, self.retries)
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.fleet.in_flight() == 0 && self.returns.is_empty()
    }

    fn next_timer_seconds(&self) -> f64 {
        let next_return = self.returns.peek().map_or(f64::INFINITY, |Reverse(next)| f64::from_bits(next.at));
        let scheduled = self.next_decision_seconds.min(self.next_record_seconds).min(self.monitor.next_tick_seconds());
        scheduled.min(self.fleet.next_startup_seconds()).min(next_return)
    }

    fn arrive(&mut self, now: f64, job: Job) {
        self.tally.count_arrival();
        self.monitor.count_arrival(&job);
        if job.most_blocks(BLOCK_TOKENS) > self.most_blocks {
            self.tally.count_error(&job);
            self.monitor.count_error();
            return;
        }
        let place = if self.queue.is_empty() { self.fleet.route(&mut self.routing_rng) } else { None };
        match place {
            Some(place) => self.fleet.submit(place, now, job),
            None => self.queue.push(job),
        }
    }

    /// Sends queued requests to engines while those take some.
    fn dispatch(&mut self, now: f64) {
        while !self.queue.is_empty() {
            let Some(place) = self.fleet.route(&mut self.routing_rng) else { return };
            let job = self.queue.pop(|job| can_make_it(self.task, self.settings, now, job));
            let Some(job) = job else { return };
            self.fleet.submit(place, now, job);
        }
    }

    fn advance(&mut self, place: usize, now: f64) {
        self.fleet.advance(place, now, &mut self.progress);
        for ttft in self.progress.ttft_seconds.drain(..) {
            self.monitor.count_first_token(ttft);
        }
        for answer in self.progress.finished.drain(..) {
            self.monitor.count_answer(&answer);
            self.tally.count_answer(&answer);
        }
        self.dispatch(now);
    }

    fn tick(&mut self, now: f64, policy: &mut dyn Policy) {
        while let Some(job) = self.queue.pop_expired(now) {
            self.fail(now, &job);
        }
        while let Some(Reverse(next)) = self.returns.peek()
            && f64::from_bits(next.at) <= now
        {
            let id = next.id;
            self.returns.pop();
            if let Some(job) = self.returning.remove(&id) {
                self.retries += 1;
                self.arrive(now, Job { arrival_seconds: now, retries: job.retries + 1, ..job });
            }
        }
        if self.fleet.next_startup_seconds() <= now {
            self.fleet.start_up(now);
            self.dispatch(now);
        }
        if self.monitor.next_tick_seconds() <= now {
            let (fleet, queue) = (&self.fleet, &self.queue);
            self.monitor.tick(now, || view(fleet, queue, now), &mut self.scrape_rng);
        }
        if self.next_decision_seconds <= now {
            self.decide(now, policy);
        }
        if self.next_record_seconds <= now {
            let queued = self.queue.len() as u32;
            self.tally.record(self.fleet.replicas().len() as u32, self.fleet.ready(), self.fleet.in_flight(), queued);
            self.next_record_seconds += EventRun::RECORD_SECONDS;
        }
        // Nothing is recorded or decided after the end; what is under way is only seen to its end.
        if self.next_record_seconds > self.settings.to_seconds {
            self.next_record_seconds = f64::INFINITY;
        }
        if self.next_decision_seconds >= self.settings.to_seconds {
            self.next_decision_seconds = f64::INFINITY;
        }
    }

    fn decide(&mut self, now: f64, policy: &mut dyn Policy) {
        if now >= self.settings.score_from_seconds && self.fleet_before_score.is_none() {
            self.fleet_before_score = Some(self.fleet.totals());
        }
        let before = self.fleet.replicas().len() as u32;
        self.fleet.look(now);
        let (fleet, queue) = (&self.fleet, &self.queue);
        let signals = self.monitor.signals(now, self.period_seconds, fleet.replicas(), || view(fleet, queue, now));
        let wanted = policy.decide(&signals).clamp(self.task.min_replicas, self.task.max_replicas);
        self.tally.count_change(now, before, wanted);
        self.fleet.scale(now, wanted);
        self.next_decision_seconds += self.period_seconds;
    }

    /// A request that waited too long is answered with an error, and perhaps comes back.
    fn fail(&mut self, now: f64, job: &Job) {
        self.tally.count_error(job);
        self.monitor.count_error();
        let Some(retries) = self.settings.friction.retries else { return };
        let (luck, jitter) = (self.retry_rng.random::<f64>(), self.retry_rng.random::<f64>());
        if job.retries >= retries.most || luck >= retries.share {
            return;
        }
        let wait = retries.backoff_seconds * 2.0_f64.powi(job.retries as i32) * (0.5 + jitter);
        self.returns.push(Reverse(Return { at: (now + wait).to_bits(), id: job.id }));
        self.returning.insert(job.id, *job);
    }
}

/// Whether a request that is sent to an engine now gets its first token in time: beside as many others as the router
/// lets into an engine it waits for the step in progress and then for its prompt. That is a mean; others' prompts may
/// share its steps, which is what the reserve is for.
fn can_make_it(task: &Task, settings: &Settings, now: f64, job: &Job) -> bool {
    let others = f64::from(settings.engine_concurrency.min(task.limits.max_sequences).saturating_sub(1));
    let chunk = f64::from(task.limits.max_batched_tokens) - others;
    let in_progress = task.step.steady_step_seconds(others, &task.workload);
    let once = in_progress + task.step.prefill_seconds(f64::from(job.prompt_tokens), chunk, others, &task.workload);
    let objective = task.objective.ttft_seconds;
    let reserve = (settings.ttft_reserve * once).min(once.max(objective / 2.0));
    now + reserve <= job.arrival_seconds + objective
}

fn view<E: Engine>(fleet: &Fleet<'_, E>, queue: &Queue, now: f64) -> View {
    View {
        ready: fleet.ready(),
        gauges: fleet.gauges(now),
        output_tokens: fleet.counters(now).output_tokens,
        queued: queue.len(),
        queued_prompt_tokens: queue.prompt_tokens(),
    }
}
