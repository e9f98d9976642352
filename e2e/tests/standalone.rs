//! What standalone mode promises: nothing is lost when engines or the autoscaler die, nothing is left in the end, and a
//! real engine works behind it. Engines may sleep instead of ending.

#[path = "standalone/asleep.rs"]
mod asleep;
#[path = "standalone/host.rs"]
mod host;
#[path = "standalone/real_engine.rs"]
mod real_engine;
#[path = "standalone/survival.rs"]
mod survival;
