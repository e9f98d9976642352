//! Second stage: find the request an engine, waiting for one if need be.

use std::sync::Arc;
use std::time::Duration;

use router_core::{Choice, NoEngine, route as choose};
use tokio::time::Instant;

use crate::admit::Admitted;
use crate::live::Lease;
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::worker::Worker;

/// How often the next waiting request looks for an engine when nothing wakes it: what an engine's refusals taught
/// fades with time alone.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Gets the request a place in an engine.
///
/// # Errors
/// If none was found within the queue's deadline, the queue is full, or every engine has failed the request.
pub async fn route(worker: &Worker, admitted: &mut Admitted) -> Result<Lease, Refusal> {
    let lease = if admitted.model.queue.is_next(admitted.place) {
        match pick(worker, admitted) {
            Ok(lease) => lease,
            Err(_) => wait(worker, admitted).await?,
        }
    } else {
        wait(worker, admitted).await?
    };
    admitted.model.queue.served(admitted.place);
    if admitted.last.is_none() {
        admitted.model.metrics.queue_wait.observe(admitted.waited.as_secs_f64());
    }
    Ok(lease)
}

/// One look at the fleet.
fn pick(worker: &Worker, admitted: &Admitted) -> Result<Lease, NoEngine> {
    let shared = &worker.shared;
    let snapshot = shared.snapshot.load();
    let Some(at) = snapshot.position(&admitted.model) else { return Err(NoEngine::default()) };
    let (model, targets) = (&snapshot.fleet.models()[at], &snapshot.targets[at]);
    let cap = shared.tunables.load().max_in_flight_per_engine;
    let now_ms = shared.now_ms(Instant::now());
    // A second round is only needed when another thread takes the last place between decision and lease.
    loop {
        let choice = choose(model, |at| targets[at].engine.load(cap, now_ms), &admitted.tried, worker.random());
        let picked = match choice {
            Choice::Engine(picked) => picked,
            Choice::None(why) => return Err(why),
        };
        let target = &targets[picked.at];
        if let Some(lease) = Lease::take(shared, target, target.engine.load(cap, now_ms).limit) {
            tracing::debug!(engine = &*target.engine.id, model = &*model.name, ?picked, "routed");
            return Ok(lease);
        }
    }
}

async fn wait(worker: &Worker, admitted: &mut Admitted) -> Result<Lease, Refusal> {
    let model = admitted.model.clone();
    let limits = worker.shared.tunables.load_full();
    let Some(_waiting) = enter(&worker.shared, admitted, limits.queue_max_bytes) else {
        return Err(queue_full(&model.name, "the bodies of waiting requests", "queue.maxBytes"));
    };
    let Some(ticket) = model.queue.join(admitted.place, limits.queue_max_requests) else {
        return Err(queue_full(&model.name, "the number of waiting requests", "queue.maxRequests"));
    };
    // Those that were full, shutting down or out of reach may be usable by now; those that broke are not asked again.
    admitted.tried.retain(|key| admitted.broken.contains(key));
    let since = Instant::now();
    let deadline = since + limits.queue_deadline.saturating_sub(admitted.waited);
    loop {
        let mut why = None;
        if ticket.is_next() {
            match pick(worker, admitted) {
                Ok(lease) => {
                    admitted.waited += since.elapsed();
                    return Ok(lease);
                }
                Err(reason) if reason.tried > 0 && reason.full + reason.ejected == 0 => {
                    return Err(all_failed(admitted));
                }
                Err(reason) => why = Some(reason),
            }
        } else {
            // Who was next may have become late since, and whoever it is now has not heard of it.
            model.queue.wake_next();
        }
        let now = Instant::now();
        if now >= deadline {
            let why = why.map_or_else(|| "other requests were before it".to_owned(), NoEngine::describe);
            let seconds = limits.queue_deadline.as_secs_f64();
            let message =
                format!("no engine could take a request for model `{}` within {seconds} s: {why}", model.name);
            return Err(Refusal::unavailable("no_engine_available", message));
        }
        let look_again = if why.is_some() { deadline.min(now + LOOK_AGAIN) } else { deadline };
        // Cancel-safe: the turn is a stored permit, the sleep holds nothing.
        tokio::select! {
            () = ticket.turn() => {},
            () = tokio::time::sleep_until(look_again) => {},
        }
    }
}

fn enter(shared: &Arc<Shared>, admitted: &Admitted, max_bytes: u64) -> Option<crate::shared::Waiting> {
    shared.start_waiting(admitted.body.len() as u64, max_bytes)
}

fn queue_full(model: &str, what: &str, key: &str) -> Refusal {
    let message = format!("too many requests wait for model `{model}`: {what} has reached `{key}`; try again later");
    Refusal::unavailable("queue_full", message)
}

/// Every engine of the model has failed the request.
fn all_failed(admitted: &Admitted) -> Refusal {
    let reason = admitted.last.map_or("unknown", crate::setback::Setback::reason);
    let message =
        format!("every engine of model `{}` failed this request; the last failure: {reason}", admitted.model.name);
    Refusal::bad_gateway("engine_failed", message)
}
