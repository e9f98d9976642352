//! The router's pure core: what a request asks for, which engine gets it, what an engine's answer means.
//!
//! Data flow, each step a pure function or a small state machine:
//!
//! ```text
//! request bytes ──scan──▶ model, stream
//! engine list + served names ──Fleet::build──▶ Fleet (immutable snapshot)
//! Fleet + loads + engines tried + a random word ──route──▶ Choice (engine, or why none)
//! status, first bytes of the answer ──judge──▶ deliver, or retry elsewhere and why
//! waiting requests + objective ──Line::next──▶ who gets the next free place
//! answer bytes ──EventSplitter──▶ number of complete events (TTFT, inter-token latency)
//! ```
//!
//! It reads no clock, draws no random numbers, opens no socket and never changes a body: time in milliseconds
//! and random words are arguments, bytes are only looked at.

mod answer;
mod expected;
mod fleet;
mod health;
mod line;
mod pressure;
mod room;
mod route;
mod scan;
mod sse;

pub use answer::{
    FirstEvent, HeadVerdict, MAX_PEEK_BYTES, is_draining_error, judge_first_event, judge_head, retry_after,
};
pub use expected::FirstTokenTime;
pub use fleet::{EngineFacts, EngineKey, Fleet, Lookup, Model};
pub use health::{Failure, ejects};
pub use line::{Discipline, Line, Place, late_until};
pub use pressure::Pressure;
pub use room::{EngineQueue, Room};
pub use route::{Choice, Load, NoEngine, Picked, route};
pub use scan::{ModelField, RequestView, ScanError, scan};
pub use sse::{EventSplitter, Fed};
