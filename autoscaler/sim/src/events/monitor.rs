//! What the policy is shown: counters and recent latencies, as of the last scrape that came through.

use std::collections::VecDeque;

use engine_model::Objective;
use rand::{Rng, RngExt};

use super::engine::{Finished, Gauges, Job};
use super::histogram::RecentHistogram;
use super::settings::Settings;
use crate::policy::{Replica, Signals};

/// Metrics at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    ready: u32,
    arrived: f64,
    arrived_prompt_tokens: f64,
    late: f64,
    finished: f64,
    output_tokens: f64,
    running: f64,
    waiting: f64,
    waiting_prompt_tokens: f64,
    kv_cache_usage: f64,
    ttft_p90_seconds: f64,
    ttft_mean_seconds: f64,
    inter_token_p90_seconds: f64,
    inter_token_mean_seconds: f64,
}

/// The fleet and the queue at the moment of a scrape.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) ready: u32,
    /// Of the Ready engines.
    pub(super) gauges: Gauges,
    /// Answer tokens of all engines, those that are gone included.
    pub(super) output_tokens: f64,
    pub(super) queued: usize,
    pub(super) queued_prompt_tokens: u64,
}

/// Counts what the router sees, and keeps the scrapes.
#[derive(Debug)]
pub(super) struct Monitor<'a> {
    settings: &'a Settings,
    objective: Objective,
    arrived: u64,
    late: u64,
    arrived_prompt_tokens: u64,
    finished: u64,
    ttft: RecentHistogram,
    inter_token: RecentHistogram,
    next_rotation_seconds: f64,
    next_scrape_seconds: f64,
    /// Scrapes that can not be queried yet, with the time from which they can; nothing where one was lost.
    on_the_way: VecDeque<(f64, Option<Reading>)>,
    last_good: Reading,
    is_fresh: bool,
}

impl<'a> Monitor<'a> {
    pub(super) fn new(settings: &'a Settings, objective: Objective) -> Self {
        Self {
            settings,
            objective,
            arrived: 0,
            late: 0,
            arrived_prompt_tokens: 0,
            finished: 0,
            ttft: RecentHistogram::new(),
            inter_token: RecentHistogram::new(),
            next_rotation_seconds: settings.from_seconds + RecentHistogram::PART_SECONDS,
            next_scrape_seconds: if settings.friction.scrape.period_seconds > 0.0 {
                settings.from_seconds
            } else {
                f64::INFINITY
            },
            on_the_way: VecDeque::new(),
            last_good: Reading::default(),
            is_fresh: true,
        }
    }

    pub(super) fn count_arrival(&mut self, job: &Job) {
        self.arrived += 1;
        self.arrived_prompt_tokens += u64::from(job.prompt_tokens);
    }

    pub(super) fn count_first_token(&mut self, ttft_seconds: f64) {
        self.late += u64::from(ttft_seconds > self.objective.ttft_seconds);
        self.ttft.observe(ttft_seconds);
    }

    pub(super) fn count_answer(&mut self, answer: &Finished) {
        self.finished += 1;
        if answer.job.output_tokens > 1 {
            let is_slow = answer.inter_token_seconds() > self.objective.inter_token_seconds;
            self.late += u64::from(is_slow && answer.ttft_seconds() <= self.objective.ttft_seconds);
            self.inter_token.observe(answer.inter_token_seconds());
        }
    }

    pub(super) fn count_error(&mut self) {
        self.late += 1;
    }

    /// When [`Self::tick`] is due.
    pub(super) fn next_tick_seconds(&self) -> f64 {
        self.next_rotation_seconds.min(self.next_scrape_seconds)
    }

    /// Forgets old latencies and scrapes, as far as due.
    pub(super) fn tick(&mut self, now: f64, view: impl FnOnce() -> View, rng: &mut impl Rng) {
        if now >= self.next_rotation_seconds {
            self.ttft.rotate();
            self.inter_token.rotate();
            self.next_rotation_seconds += RecentHistogram::PART_SECONDS;
        }
        if now >= self.next_scrape_seconds {
            // Drawn always, so that a fault changes no other scrape.
            let is_lost = rng.random::<f64>() < self.settings.friction.scrape.loss_share
                || self.settings.faults.is_scrape_lost(now);
            let reading = (!is_lost).then(|| self.read(&view()));
            self.on_the_way.push_back((now + self.settings.friction.scrape.delay_seconds, reading));
            self.next_scrape_seconds += self.settings.friction.scrape.period_seconds;
        }
    }

    /// What a policy that decides at `now` is told.
    pub(super) fn signals<'s>(
        &mut self,
        now: f64,
        period_seconds: f64,
        fleet: &'s [Replica],
        view: impl FnOnce() -> View,
    ) -> Signals<'s> {
        if self.settings.friction.scrape.period_seconds <= 0.0 {
            self.is_fresh = !self.settings.faults.is_scrape_lost(now);
            if self.is_fresh {
                self.last_good = self.read(&view());
            }
        }
        while let Some((_, reading)) = self.on_the_way.pop_front_if(|(from, _)| *from <= now) {
            self.is_fresh = reading.is_some();
            self.last_good = reading.unwrap_or(self.last_good);
        }
        let reading = self.last_good;
        Signals {
            now_seconds: now,
            period_seconds,
            replicas: fleet.len() as u32,
            fleet,
            ready: reading.ready,
            arrived_total: reading.arrived,
            arrived_prompt_tokens_total: reading.arrived_prompt_tokens,
            late_total: reading.late,
            finished_total: reading.finished,
            output_tokens_total: reading.output_tokens,
            running: reading.running,
            waiting: reading.waiting,
            waiting_prompt_tokens: reading.waiting_prompt_tokens,
            kv_cache_usage: reading.kv_cache_usage,
            ttft_p90_seconds: reading.ttft_p90_seconds,
            ttft_mean_seconds: reading.ttft_mean_seconds,
            inter_token_latency_p90_seconds: reading.inter_token_p90_seconds,
            inter_token_latency_mean_seconds: reading.inter_token_mean_seconds,
            is_fresh: self.is_fresh,
        }
    }

    fn read(&self, view: &View) -> Reading {
        Reading {
            ready: view.ready,
            arrived: self.arrived as f64,
            arrived_prompt_tokens: self.arrived_prompt_tokens as f64,
            late: self.late as f64,
            finished: self.finished as f64,
            output_tokens: view.output_tokens,
            running: f64::from(view.gauges.running),
            waiting: f64::from(view.gauges.waiting) + view.queued as f64,
            waiting_prompt_tokens: (view.gauges.waiting_prompt_tokens + view.queued_prompt_tokens) as f64,
            kv_cache_usage: view.gauges.kv_share,
            ttft_p90_seconds: self.ttft.window().quantile(0.9),
            ttft_mean_seconds: self.ttft.window().mean(),
            inter_token_p90_seconds: self.inter_token.window().quantile(0.9),
            inter_token_mean_seconds: self.inter_token.window().mean(),
        }
    }
}
