//! One step of the fleet: ends and health first, then what is wanted, then what waits for its time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    CallFailure, Fleet, Life, Limits, Member, ModelRules, ORPHAN_LIMITS, SleepLevel, seconds_between, victims,
};
use crate::standalone::gpus;

/// What was seen since the last step, and what is wanted.
#[derive(Debug, Default)]
pub struct Seen<'a> {
    /// Engines wanted by model; a model that is missing here keeps what it has.
    pub wanted: BTreeMap<String, u32>,
    /// Engines whose process has ended, and how.
    pub ended: BTreeMap<String, String>,
    /// Engines whose `/health` was asked, and whether it answered 200.
    pub health: BTreeMap<String, bool>,
    /// Requests of each engine, for the choice of victims.
    pub load: BTreeMap<String, f64>,
    /// What the router says; `None` if it does not answer.
    pub router: Option<RouterView>,
    /// Where no router at all is configured, requests of each engine that tells, and when it did: engines then end when they
    /// are idle themselves.
    pub routerless: Option<BTreeMap<String, (Timestamp, f64)>>,
    /// The router has ended, so nothing can reach an engine any more: drains are over at once.
    pub router_ended: bool,
    /// All GPUs.
    pub gpus: &'a [String],
    /// GPUs that models may have and wait for.
    pub gpus_short: usize,
    /// What the calls that put to sleep or wake came to, by engine.
    pub answers: BTreeMap<String, Result<(), CallFailure>>,
    /// Everything is being ended: nothing goes to sleep.
    pub is_stopping: bool,
}

/// What the router says on its admin page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouterView {
    /// Generation of the list it routes by.
    pub generation: u64,
    /// Requests it has at each engine.
    pub in_flight: BTreeMap<String, u64>,
}

/// What the shell must do; `Log` only tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Start the engine's process.
    Start {
        /// The engine.
        id: String,
    },
    /// Send SIGTERM.
    Terminate {
        /// The engine.
        id: String,
        /// Why now.
        why: String,
    },
    /// Send SIGKILL.
    Kill {
        /// The engine.
        id: String,
        /// Why now.
        why: String,
    },
    /// Put it to sleep.
    Sleep {
        /// The engine.
        id: String,
        /// Why now.
        why: String,
    },
    /// Wake it.
    Wake {
        /// The engine.
        id: String,
    },
    /// Something happened to an engine.
    Log {
        /// The engine.
        id: String,
        /// What, as a sentence part: `is ready after 3.1 s`.
        what: String,
        /// Whether somebody should look at it.
        warning: bool,
    },
}

impl Fleet {
    /// Advances every engine. `free_port` names a port that nobody has, given those that engines hold.
    pub fn step(
        &mut self,
        now: Timestamp,
        models: &BTreeMap<String, ModelRules>,
        seen: &Seen<'_>,
        mut free_port: impl FnMut(&Fleet) -> Option<u16>,
    ) -> Vec<Order> {
        let mut orders = Vec::new();
        let listed_before = self.handover(models).engines;
        self.take_ends(now, models, seen, &mut orders);
        self.take_answers(now, seen, &mut orders);
        self.take_health(now, models, seen, &mut orders);
        for (model, wanted) in &seen.wanted {
            let active = self.active(model);
            if *wanted > active {
                let missing = *wanted - active;
                self.grow(now, model, missing, models, seen, &mut free_port, &mut orders);
            } else {
                self.shrink(now, model, (active - wanted) as usize, seen, &mut orders);
            }
        }
        self.take_time(now, models, seen, &mut orders);
        // Engines put into draining above carry generation + 1 already.
        if self.handover(models).engines != listed_before {
            self.generation += 1;
        }
        orders
    }

    fn take_ends(
        &mut self,
        now: Timestamp,
        models: &BTreeMap<String, ModelRules>,
        seen: &Seen<'_>,
        orders: &mut Vec<Order>,
    ) {
        self.members.retain_mut(|member| {
            let Some(how) = seen.ended.get(&member.id) else { return true };
            let rules = models.get(&member.model);
            match (&member.life, rules) {
                (Life::Starting { .. } | Life::Waking { .. } | Life::Ready { .. }, Some(rules)) => {
                    let wait = crash(member, now, &rules.limits);
                    let what = format!("ended by itself ({how}); starts again in {wait:.1} s");
                    orders.push(Order::Log { id: member.id.clone(), what, warning: true });
                    true
                }
                (Life::Crashed { .. }, Some(_)) => true,
                _ => {
                    let what = format!("has ended ({how})");
                    orders.push(Order::Log { id: member.id.clone(), what, warning: member.life.sleeps() });
                    false
                }
            }
        });
    }

    fn take_health(
        &mut self,
        now: Timestamp,
        models: &BTreeMap<String, ModelRules>,
        seen: &Seen<'_>,
        orders: &mut Vec<Order>,
    ) {
        for (member, limits) in with_limits(&mut self.members, models) {
            let id = member.id.clone();
            let is_healthy = seen.health.get(&id).copied();
            match &mut member.life {
                Life::Starting { since } if is_healthy == Some(true) => {
                    let what = format!("is ready after {:.1} s", seconds_between(*since, now));
                    member.life = Life::Ready { since: now, healthy: now };
                    orders.push(Order::Log { id, what, warning: false });
                }
                Life::Starting { since } if seconds_between(*since, now) > limits.startup => {
                    // Said again only if that did not end it in as long.
                    *since = now;
                    let why = format!("not ready {:.0} s after its start (startup.timeout)", limits.startup);
                    orders.push(Order::Kill { id, why });
                }
                Life::Ready { healthy, since } | Life::Asleep { healthy, since } => {
                    if is_healthy == Some(true) {
                        *healthy = now;
                        if seconds_between(*since, now) > limits.max_backoff {
                            member.crashes_in_a_row = 0;
                        }
                    } else if is_healthy == Some(false) && seconds_between(*healthy, now) > limits.health {
                        *healthy = now;
                        let why = format!("/health has failed for {:.0} s (restart.healthTimeout)", limits.health);
                        orders.push(Order::Kill { id, why });
                    }
                }
                _ => {}
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call site; a struct for it would only rename the arguments")]
    fn grow(
        &mut self,
        now: Timestamp,
        model: &str,
        missing: u32,
        models: &BTreeMap<String, ModelRules>,
        seen: &Seen<'_>,
        free_port: &mut impl FnMut(&Fleet) -> Option<u16>,
        orders: &mut Vec<Order>,
    ) {
        let Some(rules) = models.get(model) else { return };
        let is_dozing = |member: &&Member| member.model == model && matches!(member.life, Life::Dozing { .. });
        let mut dozing = self.members.iter().filter(is_dozing).count();
        for _ in 0..missing {
            // The newest drain has the most work left, so taking it back wastes the least of what is done already.
            let back = self.members.iter_mut().rev().find_map(|member| match member.life {
                Life::Draining { ready_since, .. } if member.model == model && !member.is_retired => {
                    Some((member, ready_since))
                }
                _ => None,
            });
            if let Some((member, ready_since)) = back {
                member.life = Life::Ready { since: ready_since, healthy: now };
                let what = "is wanted again and takes requests".to_owned();
                orders.push(Order::Log { id: member.id.clone(), what, warning: false });
                continue;
            }
            if let Some(order) = self.wake_one(now, model) {
                orders.push(order);
                continue;
            }
            // One that falls asleep is woken as soon as it sleeps.
            if dozing > 0 {
                dozing -= 1;
                continue;
            }
            // Too few GPUs or ports now: those of engines that are ending come free, and the next step tries again.
            let Some(gpus) = gpus::assign(seen.gpus, &self.held_gpus(), rules.gpus_per_engine) else { return };
            let Some(port) = free_port(self) else { return };
            let indices: Vec<u32> = self.members.iter().filter(|m| m.model == model).map(|m| m.index).collect();
            let index = (0..).find(|index| !indices.contains(index)).unwrap_or(u32::MAX);
            let id = format!("{model}-{}", self.next_number);
            self.next_number += 1;
            self.members.push(Member {
                id: id.clone(),
                model: model.to_owned(),
                index,
                port,
                gpus,
                created: now,
                launched: now,
                restarts: 0,
                crashes_in_a_row: 0,
                is_retired: false,
                woken: None,
                sleep_level: SleepLevel::default(),
                life: Life::Starting { since: now },
            });
            orders.push(Order::Start { id });
        }
    }

    fn shrink(&mut self, now: Timestamp, model: &str, surplus: usize, seen: &Seen<'_>, orders: &mut Vec<Order>) {
        let next_generation = self.generation + 1;
        for id in victims::choose(&self.members, model, surplus, &seen.load) {
            let Some(member) = self.members.iter_mut().find(|member| member.id == id) else { continue };
            match member.life {
                Life::Ready { since, .. } => {
                    member.life = Life::Draining { since: now, ready_since: since, generation: next_generation };
                    orders.push(Order::Log { id, what: "drains".to_owned(), warning: false });
                }
                Life::Starting { .. } => {
                    member.life = Life::Stopping { since: now };
                    orders.push(Order::Terminate { id, why: "no longer wanted while it starts".to_owned() });
                }
                Life::Crashed { .. } => self.members.retain(|member| member.id != id),
                Life::Waking { .. } if seen.is_stopping => {
                    member.life = Life::Stopping { since: now };
                    orders.push(Order::Terminate { id, why: "everything ends".to_owned() });
                }
                // One that wakes is waited for: it can drain, and sleep, only once it is awake.
                Life::Waking { .. }
                | Life::Draining { .. }
                | Life::Stopping { .. }
                | Life::Dozing { .. }
                | Life::Asleep { .. } => {}
            }
        }
    }

    fn take_time(
        &mut self,
        now: Timestamp,
        models: &BTreeMap<String, ModelRules>,
        seen: &Seen<'_>,
        orders: &mut Vec<Order>,
    ) {
        let mut room = self.make_room(now, models, seen, orders);
        for (member, limits) in with_limits(&mut self.members, models) {
            let id = member.id.clone();
            match member.life {
                Life::Crashed { restart_at, .. } if now >= restart_at => {
                    member.life = Life::Starting { since: now };
                    member.launched = now;
                    member.restarts += 1;
                    orders.push(Order::Start { id });
                }
                Life::Draining { since, generation, .. } => {
                    let waited = seconds_between(since, now);
                    let is_idle = is_idle(&id, since, generation, seen);
                    let why = match is_idle {
                        true => format!("idle after draining for {waited:.1} s"),
                        false if waited > limits.drain => format!("still busy after {waited:.0} s (drain.timeout)"),
                        false => continue,
                    };
                    if is_idle && room.take(member) {
                        member.life = Life::Dozing { since: now };
                        member.sleep_level = models.get(&member.model).map_or(member.sleep_level, |m| m.sleep_level);
                        orders.push(Order::Sleep { id, why });
                        continue;
                    }
                    member.life = Life::Stopping { since: now };
                    orders.push(Order::Terminate { id, why });
                }
                Life::Stopping { since } if seconds_between(since, now) > limits.stop => {
                    member.life = Life::Stopping { since: now };
                    let why = format!("still running {:.0} s after SIGTERM (drain.stopTimeout)", limits.stop);
                    orders.push(Order::Kill { id, why });
                }
                _ => {}
            }
        }
    }
}

/// Every engine with the time limits of its model.
fn with_limits<'a>(
    members: &'a mut [Member],
    models: &'a BTreeMap<String, ModelRules>,
) -> impl Iterator<Item = (&'a mut Member, Limits)> {
    members.iter_mut().map(|member| {
        let limits = models.get(&member.model).map_or(ORPHAN_LIMITS, |rules| rules.limits);
        (member, limits)
    })
}

/// Whether nothing more can reach the engine and nothing is left in it.
fn is_idle(id: &str, since: Timestamp, generation: u64, seen: &Seen<'_>) -> bool {
    if seen.router_ended {
        return true;
    }
    if let Some(own_load) = &seen.routerless {
        return own_load.get(id).is_some_and(|(at, load)| *at > since && *load <= 0.0);
    }
    seen.router
        .as_ref()
        .is_some_and(|router| router.generation >= generation && router.in_flight.get(id).copied().unwrap_or(0) == 0)
}

/// Puts a member into back-off; returns the wait in seconds.
fn crash(member: &mut Member, now: Timestamp, limits: &Limits) -> f64 {
    let doublings = i32::try_from(member.crashes_in_a_row.min(30)).unwrap_or(30);
    let wait = (limits.backoff * 2f64.powi(doublings)).min(limits.max_backoff);
    member.crashes_in_a_row = member.crashes_in_a_row.saturating_add(1);
    member.woken = None;
    let restart_at =
        SignedDuration::try_from_secs_f64(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(now);
    member.life = Life::Crashed { since: now, restart_at };
    wait
}
