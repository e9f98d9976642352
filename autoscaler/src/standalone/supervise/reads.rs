//! What engines and router say: asked, taken in, and joined to what the fleet wants to know.

use std::collections::BTreeMap;

use autoscaler_plan::EngineSample;
use jiff::Timestamp;
use process::clock;
use tokio::task::JoinSet;

use super::Supervisor;
use crate::standalone::fleet::{Life, RouterView};
use crate::standalone::readings::{EngineReading, RouterReading, read_engine, read_router};

/// What one read brought.
pub(super) enum Reading {
    Engine(EngineReading),
    Router(RouterReading),
}

impl Supervisor {
    /// Asks every engine and the router, each at most once at a time.
    pub(super) fn start_reads(&mut self, reads: &mut JoinSet<Reading>) {
        for member in self.fleet.members.iter().filter(|member| member.has_process()) {
            if self.being_read.insert(member.id.clone()) {
                let is_ready = !matches!(member.life, Life::Starting { .. });
                let read = read_engine(self.scraper.clone(), member.id.clone(), member.url(), is_ready, clock::now);
                reads.spawn(async move { Reading::Engine(read.await) });
            }
        }
        if let Some(admin_address) = self.config.config.router.admin_address
            && self.being_read.insert(String::new())
        {
            let read = read_router(self.scraper.clone(), format!("http://{admin_address}"), clock::now);
            reads.spawn(async move { Reading::Router(read.await) });
        }
    }

    pub(super) fn take_reading(&mut self, reading: Reading) {
        match reading {
            Reading::Engine(reading) => {
                self.being_read.remove(&reading.id);
                self.fresh_health.insert(reading.id.clone(), reading.is_healthy);
                if reading.sample.is_ok() {
                    self.readings.good.insert(reading.id.clone(), reading.clone());
                }
                self.readings.engines.insert(reading.id.clone(), reading);
            }
            Reading::Router(reading) => {
                self.being_read.remove("");
                self.readings.router = Some(reading);
            }
        }
    }

    pub(super) fn router_view(&self) -> Option<RouterView> {
        self.readings.router.as_ref().and_then(|reading| reading.view.clone().ok())
    }

    /// Requests at each engine that tells them, and when it did.
    pub(super) fn own_load(&self) -> BTreeMap<String, (Timestamp, f64)> {
        let samples = self.readings.good.iter().filter_map(|(id, reading)| Some((id, reading.sample.as_ref().ok()?)));
        let load = |sample: &EngineSample| Some((sample.at, sample.running? + sample.waiting.unwrap_or(0.0)));
        samples.filter_map(|(id, sample)| Some((id.clone(), load(sample)?))).collect()
    }

    /// Requests at each engine: what the router has there, else what the engine says itself.
    pub(super) fn load(&self) -> BTreeMap<String, f64> {
        let mut load = BTreeMap::new();
        for (id, reading) in &self.readings.good {
            if let Ok(sample) = &reading.sample {
                load.insert(id.clone(), sample.running.unwrap_or(0.0) + sample.waiting.unwrap_or(0.0));
            }
        }
        for (id, in_flight) in self.router_view().unwrap_or_default().in_flight {
            #[expect(clippy::cast_precision_loss, reason = "requests in flight stay far below 2^53")]
            load.insert(id, in_flight as f64);
        }
        load
    }
}
