//! What the handlers of one engine share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::engine::Engine;
use crate::faults::Faults;
use crate::metrics::{MetricsContext, SleepLevel};
use crate::scheduler::Scheduler;
use crate::settings::Settings;
use crate::tokens::mix;

/// Memory that is given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) weights: bool,
    pub(crate) kv_cache: bool,
}

/// One engine and its front end.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) engine: Rc<Engine>,
    pub(crate) metrics: MetricsContext,
    pub(crate) faults: RefCell<Faults>,
    pub(crate) draining: Cell<bool>,
    pub(crate) sleep: Cell<SleepLevel>,
    /// What of its memory is given up while it sleeps.
    pub(crate) released: Cell<Released>,
    /// Requests whose answer is not complete.
    pub(crate) in_flight: Rc<Cell<u64>>,
    requests: Cell<u64>,
    ids: Cell<u64>,
}

impl App {
    pub(crate) fn new(settings: Settings) -> Rc<Self> {
        let started = process::clock::now();
        let mut scheduler = Scheduler::new(settings.scheduler.clone());
        scheduler.set_slowdown(settings.faults.slow);
        let metrics = MetricsContext::new(
            &settings.served_names[0],
            started.as_nanosecond() as f64 / 1e9,
            settings.kv_metrics,
            &settings.config_info(),
        );
        Rc::new(Self {
            engine: Engine::new(scheduler),
            metrics,
            faults: RefCell::new(settings.faults.clone()),
            draining: Cell::new(false),
            sleep: Cell::new(0),
            released: Cell::new(Released::default()),
            in_flight: Rc::new(Cell::new(0)),
            requests: Cell::new(0),
            // Ids only have to differ between engines and starts.
            ids: Cell::new(mix(started.as_nanosecond() as u64) ^ u64::from(std::process::id())),
            settings,
        })
    }

    /// Counts a request; the first is 1.
    pub(crate) fn next_request_number(&self) -> u64 {
        self.requests.set(self.requests.get() + 1);
        self.requests.get()
    }

    /// Sixteen hexadecimal digits that no other id has.
    pub(crate) fn new_id(&self) -> String {
        let id = self.ids.get().wrapping_add(1);
        self.ids.set(id);
        format!("{:016x}", mix(id))
    }
}
