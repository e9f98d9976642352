//! Draws the picture of this moment from fleet, readings and decisions.

use autoscaler_plan::Decision;
use jiff::Timestamp;

use super::board::{EnginePicture, ModelPicture, Picture, ProgramPicture};
use super::days::{DayLook, DayPicture};
use super::fleet::{Life, Member};
use super::history::Point;
use super::programs::Program;
use super::supervise::Supervisor;
use super::validate::Model;

/// Quantiles look back over this many control periods, and at least over [`LEAST_WINDOW_SECONDS`].
const WINDOW_PERIODS: f64 = 20.0;
/// Fewer seconds hold too few requests for a 99th percentile.
const LEAST_WINDOW_SECONDS: f64 = 5.0;

impl Supervisor {
    /// Puts a new picture up.
    pub(super) fn report(&self, now: Timestamp) {
        let window_seconds = (self.config.control_period.as_secs_f64() * WINDOW_PERIODS).max(LEAST_WINDOW_SECONDS);
        let router = self.readings.router.as_ref();
        let models = self.config.models.iter().map(|model| self.model_picture(model, now, window_seconds)).collect();
        self.board.show(Picture {
            at_ms: now.as_millisecond(),
            started_ms: self.started.as_millisecond(),
            version: env!("CARGO_PKG_VERSION"),
            time_scale: self.config.config.page.time_scale,
            window_seconds,
            generation: self.fleet.generation,
            applied_generation: router.and_then(|reading| reading.view.as_ref().ok()).map(|view| view.generation),
            is_stopping: self.is_stopping,
            programs: self.programs.iter().map(program_picture).collect(),
            models,
        });
    }

    fn model_picture(&self, model: &Model, now: Timestamp, window_seconds: f64) -> ModelPicture {
        let time_scale = self.config.config.page.time_scale;
        let decision = self.brains.get(&model.name).and_then(|brain| brain.decision.as_ref());
        let objective = &model.settings.objective;
        let now_point = self.point(model, decision, now, window_seconds);
        let days = self.days(model, decision, now, time_scale);
        ModelPicture {
            name: model.name.clone(),
            served_model_name: model.served_model_name.clone(),
            min_replicas: model.settings.min_replicas,
            max_replicas: model.settings.max_replicas,
            objective_ttft_seconds: objective.ttft_seconds * time_scale,
            objective_inter_token_latency_seconds: objective.inter_token_latency_seconds * time_scale,
            objective_attainment: objective.attainment,
            days,
            now: Some(now_point),
            answered_total: self.board.with_series(&model.name, |series| series.answered_total().clone()),
            capacity_requests: decision.map(|decision| decision.capacity.requests),
            capacity_source: decision.map(|decision| decision.capacity.source.as_words()),
            startup_seconds: decision.map(|decision| decision.startup.p95_seconds),
            because: decision.map(|decision| decision.because.clone()).unwrap_or_default(),
            terms: decision.map(Decision::terms).unwrap_or_default(),
            asleep: self.fleet.asleep(&model.name),
            engines: self.members_of(model).map(|member| self.engine_picture(member, now)).collect(),
        }
    }

    fn point(&self, model: &Model, decision: Option<&Decision>, now: Timestamp, window_seconds: f64) -> Point {
        let time_scale = self.config.config.page.time_scale;
        let router = self.readings.router.as_ref().and_then(|reading| {
            let metrics = reading.metrics.as_ref().ok()?;
            Some((reading.at, metrics.get(&model.served_model_name).cloned().unwrap_or_default()))
        });
        let (arrivals_per_second, ttft_seconds) = self.board.with_series(&model.name, |series| {
            if let Some((at, metrics)) = &router {
                series.observe(metrics, *at, window_seconds);
            }
            (series.arrivals_per_second(), [0.5, 0.95, 0.99].map(|q| series.ttft_seconds(q, time_scale)))
        });
        let count = |is: fn(&Life) -> bool| {
            u32::try_from(self.members_of(model).filter(|member| is(&member.life)).count()).unwrap_or(u32::MAX)
        };
        let demand = decision.map(|decision| decision.demand).unwrap_or_default();
        Point {
            at_ms: now.as_millisecond(),
            arrivals_per_second,
            wanted: if self.is_stopping { 0 } else { decision.map_or(0, |decision| decision.replicas) },
            ready: count(|life| matches!(life, Life::Ready { .. })),
            starting: count(|life| matches!(life, Life::Starting { .. } | Life::Waking { .. } | Life::Crashed { .. })),
            running: demand.in_service,
            queue: demand.waiting,
            ttft_seconds,
        }
    }

    /// Takes this look into the day, and tells the days.
    fn days(&self, model: &Model, decision: Option<&Decision>, now: Timestamp, time_scale: f64) -> Vec<DayPicture> {
        let settings = &model.settings;
        let season_seconds = settings.rhythm.season_seconds();
        let router = self.readings.router.as_ref().and_then(|reading| reading.metrics.as_ref().ok());
        let received_total =
            router.and_then(|models| models.get(&model.served_model_name)).map(|seen| seen.received_total);
        let count = |is: fn(&Life) -> bool| {
            u32::try_from(self.members_of(model).filter(|member| is(&member.life)).count()).unwrap_or(u32::MAX)
        };
        self.board.with_series(&model.name, |series| {
            if let (Some(received_total), Some(decision)) = (received_total, decision) {
                series.take_day(DayLook {
                    at: now,
                    season_seconds,
                    period_seconds: self.config.control_period.as_secs_f64(),
                    demand: decision.demand.replicas,
                    ready: count(|life| matches!(life, Life::Ready { .. })),
                    engines: count(|life| !matches!(life, Life::Crashed { .. }) && !life.sleeps()),
                    received_total,
                    startup_seconds: decision.startup.p50_seconds,
                    bounds: (settings.min_replicas, settings.max_replicas),
                });
            }
            series.days(season_seconds, time_scale)
        })
    }

    fn members_of<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a Member> {
        self.fleet.members.iter().filter(|member| member.model == model.name)
    }

    fn engine_picture(&self, member: &Member, now: Timestamp) -> EnginePicture {
        let reading = self.readings.engines.get(&member.id);
        let sample = reading.and_then(|reading| reading.sample.as_ref().ok());
        let metrics = match reading.map(|reading| &reading.sample) {
            Some(Ok(sample)) if sample.has_vllm_metrics => "vllm".to_owned(),
            Some(Ok(_)) => "none".to_owned(),
            Some(Err(reason)) => reason.clone(),
            None => "not asked yet".to_owned(),
        };
        let view = self.readings.router.as_ref().and_then(|reading| reading.view.as_ref().ok());
        EnginePicture {
            id: member.id.clone(),
            state: member.life.word(),
            state_seconds: now.duration_since(member.life.since()).as_secs_f64(),
            port: member.port,
            pid: self.processes.get(&member.id).map(|process| process.identity().pid),
            gpus: member.gpus.clone(),
            restarts: member.restarts,
            in_flight: view.and_then(|view| view.in_flight.get(&member.id).copied()),
            running: sample.and_then(|sample| sample.running),
            waiting: sample.and_then(|sample| sample.waiting),
            kv_cache_usage: sample.and_then(|sample| sample.kv_cache_usage),
            metrics,
        }
    }
}

fn program_picture(program: &Program) -> ProgramPicture {
    ProgramPicture {
        name: program.name,
        url: program.url.clone(),
        state: program.word(),
        pid: program.pid(),
        restarts: program.restarts,
    }
}
