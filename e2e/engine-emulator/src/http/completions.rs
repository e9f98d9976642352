//! Chat and text completions.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::{REQUEST_ID, read_body, respond};
use crate::answer::{Answer, AnswerContext};
use crate::app::App;
use crate::body::{EventStream, FrontEnd, InFlight, Payload, StreamState};
use crate::faults::Fate;
use crate::problem::Problem;
use crate::request::{self, Generation, Kind};

pub(super) async fn serve(
    app: &Rc<App>,
    reset: Rc<Cell<bool>>,
    kind: Kind,
    request: Request<Incoming>,
) -> Result<Response<Payload>, Problem> {
    let arrived = app.engine.now();
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let body = read_body(request).await?;
    let generation = request::read(kind, &body, &app.settings, arrived)?;
    drop(body);
    if app.draining.get() {
        return Err(Problem::shutting_down());
    }
    let fate = app.faults.borrow().fate(app.settings.seed, app.next_request_number());
    let reset_after = match fate {
        Fate::Served => None,
        Fate::Error => return Err(Problem::internal("injected fault")),
        Fate::Reset { after_tokens } => Some(after_tokens),
        Fate::Hangs => {
            let _in_flight = InFlight::new(&app.in_flight);
            pending::<()>().await;
            None
        }
        Fate::Crash => {
            tracing::error!("crashing on purpose: --fault-crash-after");
            std::process::exit(1);
        }
    };
    // A queue that is full now is refused with a status; one that fills up before the request gets there, in-stream.
    if app.engine.look(crate::scheduler::Scheduler::queue_full) {
        app.engine.change(|scheduler, _, _| scheduler.count_rejection());
        return Err(Problem::overloaded());
    }
    let answer = Answer::new(context(app, &generation, id));
    if generation.stream {
        Ok(streamed(app, reset, reset_after, generation, answer))
    } else {
        whole(app, &reset, reset_after, generation, &answer).await
    }
}

fn context(app: &App, generation: &Generation, id: Option<String>) -> AnswerContext {
    AnswerContext {
        kind: generation.kind,
        id: id.unwrap_or_else(|| app.new_id()),
        created_unix_seconds: process::clock::now().as_second(),
        model: generation.model.clone(),
        include_usage: generation.include_usage,
        continuous_usage: generation.continuous_usage,
        prompt_tokens_details: app.settings.prompt_tokens_details,
        prompt_tokens: generation.work.prompt.len(),
        block_size: app.settings.scheduler.block_size,
        seed: generation.work.seed,
    }
}

fn streamed(
    app: &Rc<App>,
    reset: Rc<Cell<bool>>,
    reset_after: Option<u32>,
    generation: Generation,
    answer: Answer,
) -> Response<Payload> {
    let stream = EventStream {
        engine: Rc::clone(&app.engine),
        answer,
        state: StreamState::Arriving(FrontEnd::new(app.settings.frontend), Some(generation.work)),
        sent: 0,
        reset_after,
        connection_reset: reset,
        in_flight: Some(InFlight::new(&app.in_flight)),
    };
    let mut response = Response::new(Payload::Stream(Box::new(stream)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response
}

async fn whole(
    app: &Rc<App>,
    reset: &Cell<bool>,
    reset_after: Option<u32>,
    generation: Generation,
    answer: &Answer,
) -> Result<Response<Payload>, Problem> {
    let _in_flight = InFlight::new(&app.in_flight);
    let mut front_end = FrontEnd::new(app.settings.frontend);
    poll_fn(|context| front_end.poll(context)).await;
    let ticket = app.engine.submit(generation.work).map_err(|_| Problem::overloaded())?;
    let reason = ticket.finished().await;
    let outlet = ticket.outlet();
    if reset_after.is_some() {
        reset.set(true);
    }
    let bytes = answer.whole(outlet.emitted(), outlet.cached_tokens(), reason);
    Ok(respond(StatusCode::OK, Some("application/json"), bytes))
}
