//! Bodies of answers: at once, or as a stream of events.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::answer::Answer;
use crate::engine::{Engine, Ticket};
use crate::problem::OVERLOADED_EVENTS;
use crate::scheduler::NewRequest;

/// Counts requests in flight while it lives.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Cell<u64>>);

impl InFlight {
    pub(crate) fn new(count: &Rc<Cell<u64>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Any body.
#[derive(Debug)]
pub(crate) enum Payload {
    Whole(Option<Bytes>),
    Stream(Box<EventStream>),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => stream.poll(context).map(|events| events.map(|events| events.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// The front end's work on a request before it is queued: a delay, or one turn of the event loop when that is shorter
/// than the timer can tell. Requests that arrive meanwhile have seen a queue without it.
#[derive(Debug)]
pub(crate) enum FrontEnd {
    Turn(bool),
    Delay(Pin<Box<Sleep>>),
}

impl FrontEnd {
    pub(crate) fn new(delay: Duration) -> Self {
        if delay < Duration::from_millis(1) {
            Self::Turn(false)
        } else {
            Self::Delay(Box::pin(tokio::time::sleep(delay)))
        }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Delay(sleep) => sleep.as_mut().poll(context),
            Self::Turn(true) => Poll::Ready(()),
            Self::Turn(taken) => {
                *taken = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// At most so many tokens go into one write to a client that fell behind.
const TOKENS_IN_A_FRAME: u32 = 64;

/// The events of one answer. Nothing is queued: text is made from the token's position when the client takes it.
#[derive(Debug)]
pub(crate) struct EventStream {
    pub(crate) engine: Rc<Engine>,
    pub(crate) answer: Answer,
    pub(crate) state: StreamState,
    pub(crate) sent: u32,
    /// Resets the connection once so many tokens were sent.
    pub(crate) reset_after: Option<u32>,
    pub(crate) connection_reset: Rc<Cell<bool>>,
    pub(crate) in_flight: Option<InFlight>,
}

/// Where a stream is.
#[derive(Debug)]
pub(crate) enum StreamState {
    /// Headers are sent, the request is not in the engine yet.
    Arriving(FrontEnd, Option<NewRequest>),
    Live(Ticket),
    Ended,
}

impl EventStream {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let StreamState::Arriving(front_end, request) = &mut self.state {
            if front_end.poll(context).is_pending() {
                return Poll::Pending;
            }
            let Some(request) = request.take() else { return Poll::Ready(None) };
            match self.engine.submit(request) {
                Ok(ticket) => self.state = StreamState::Live(ticket),
                Err(_) => {
                    self.end();
                    return Poll::Ready(Some(Ok(Bytes::from_static(OVERLOADED_EVENTS.as_bytes()))));
                }
            }
        }
        let StreamState::Live(ticket) = &self.state else { return Poll::Ready(None) };
        let outlet = ticket.outlet();
        let finished = outlet.finished();
        if outlet.emitted() == self.sent && finished.is_none() {
            outlet.wake_later(context.waker());
            return Poll::Pending;
        }
        if self.reset_after.is_some_and(|tokens| self.sent >= tokens) {
            self.connection_reset.set(true);
            self.end();
            return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::ConnectionReset))));
        }
        Poll::Ready(Some(Ok(self.write())))
    }

    /// The events that are due.
    fn write(&mut self) -> Bytes {
        let StreamState::Live(ticket) = &self.state else { return Bytes::new() };
        let (emitted, finished) = (ticket.outlet().emitted(), ticket.outlet().finished());
        let until = emitted.min(self.sent + TOKENS_IN_A_FRAME);
        let mut events = String::with_capacity(256 * (until - self.sent + 2) as usize);
        if self.sent == 0 {
            self.answer.push_opening(&mut events);
        }
        let cut_off = finished == Some(crate::stats::FinishReason::Abort);
        for position in self.sent..until {
            let last = position + 1 == emitted && !cut_off;
            self.answer.push_token(position, finished.filter(|_| last), &mut events);
        }
        self.sent = until;
        if until == emitted
            && let Some(reason) = finished
        {
            if cut_off {
                self.answer.push_end_without_token(emitted, reason, &mut events);
            }
            self.answer.push_closing(emitted, ticket.outlet().cached_tokens(), &mut events);
            self.end();
        }
        Bytes::from(events)
    }

    fn end(&mut self) {
        self.state = StreamState::Ended;
        self.in_flight = None;
    }
}
