//! The thin shell around the scheduler: a clock, a timer that runs only while a step is in progress, and for each
//! request an outlet that says how far it has come.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::scheduler::{NewRequest, Progress, QueueFull, RequestId, Scheduler};
use crate::stats::FinishReason;

/// How far a request has come, for whoever writes its answer.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    emitted: Cell<u32>,
    cached_tokens: Cell<u32>,
    finished: Cell<Option<FinishReason>>,
    waker: RefCell<Option<Waker>>,
}

impl Outlet {
    /// Tokens generated so far.
    pub(crate) fn emitted(&self) -> u32 {
        self.emitted.get()
    }

    pub(crate) fn cached_tokens(&self) -> u32 {
        self.cached_tokens.get()
    }

    pub(crate) fn finished(&self) -> Option<FinishReason> {
        self.finished.get()
    }

    /// Wakes `waker` when there is more.
    pub(crate) fn wake_later(&self, waker: &Waker) {
        let mut held = self.waker.borrow_mut();
        match held.as_mut() {
            Some(held) => held.clone_from(waker),
            None => *held = Some(waker.clone()),
        }
    }

    fn note(&self, progress: &Progress) {
        self.emitted.set(progress.emitted);
        self.cached_tokens.set(progress.cached_tokens);
        self.finished.set(progress.finished);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// A request in the engine. Dropping it before it is finished aborts it.
#[derive(Debug)]
pub(crate) struct Ticket {
    engine: Rc<Engine>,
    id: RequestId,
    outlet: Rc<Outlet>,
}

impl Ticket {
    pub(crate) fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Waits until the request is finished.
    pub(crate) async fn finished(&self) -> FinishReason {
        poll_fn(|context| match self.outlet.finished() {
            Some(reason) => Poll::Ready(reason),
            None => {
                self.outlet.wake_later(context.waker());
                Poll::Pending
            }
        })
        .await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.outlet.finished().is_none() {
            self.engine.outlets.borrow_mut().remove(&self.id);
            self.engine.scheduler.borrow_mut().abort(self.id);
        }
    }
}

/// The engine of this process.
#[derive(Debug)]
pub(crate) struct Engine {
    scheduler: RefCell<Scheduler>,
    outlets: RefCell<HashMap<RequestId, Rc<Outlet>>>,
    progress: RefCell<Vec<Progress>>,
    begun: Notify,
    started: Instant,
}

impl Engine {
    pub(crate) fn new(scheduler: Scheduler) -> Rc<Self> {
        Rc::new(Self {
            scheduler: RefCell::new(scheduler),
            outlets: RefCell::new(HashMap::new()),
            progress: RefCell::new(Vec::new()),
            begun: Notify::new(),
            started: Instant::now(),
        })
    }

    /// Wall time since the engine started.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Reads the scheduler as it is now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Scheduler) -> T) -> T {
        self.advance(self.now());
        look(&self.scheduler.borrow())
    }

    /// Changes the scheduler; what that brings forth is delivered.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Scheduler, Duration, &mut Vec<Progress>) -> T) -> T {
        let now = self.now();
        self.advance(now);
        let mut progress = Vec::new();
        let result = change(&mut self.scheduler.borrow_mut(), now, &mut progress);
        self.deliver(&progress);
        self.begun.notify_one();
        result
    }

    /// Takes a request up, or turns it away.
    pub(crate) fn submit(self: &Rc<Self>, request: NewRequest) -> Result<Ticket, QueueFull> {
        let now = self.now();
        self.advance(now);
        let idle = self.scheduler.borrow().next_event().is_none();
        let id = self.scheduler.borrow_mut().submit(now, request)?;
        if idle {
            self.begun.notify_one();
        }
        let outlet = Rc::new(Outlet::default());
        self.outlets.borrow_mut().insert(id, Rc::clone(&outlet));
        Ok(Ticket { engine: Rc::clone(self), id, outlet })
    }

    /// Steps for ever; idle without a step in progress. Steps shorter than the timer's millisecond are taken several
    /// at a tick, each at its own time.
    pub(crate) async fn drive(&self) {
        loop {
            let next = self.scheduler.borrow().next_event();
            match next {
                None => self.begun.notified().await,
                Some(at) => {
                    tokio::time::sleep_until(self.started + at).await;
                    self.advance(self.now());
                }
            }
        }
    }

    fn advance(&self, now: Duration) {
        let mut progress = self.progress.borrow_mut();
        self.scheduler.borrow_mut().advance(now, &mut progress);
        self.deliver(&progress);
        progress.clear();
    }

    fn deliver(&self, progress: &[Progress]) {
        let mut outlets = self.outlets.borrow_mut();
        for one in progress {
            if one.finished.is_some() {
                if let Some(outlet) = outlets.remove(&one.id) {
                    outlet.note(one);
                }
            } else if let Some(outlet) = outlets.get(&one.id) {
                outlet.note(one);
            }
        }
    }
}
