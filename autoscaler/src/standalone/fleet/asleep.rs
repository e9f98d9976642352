//! Engines that sleep: who goes to sleep, who gives way, who is woken, and what their answers mean.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::step::{Order, Seen};
use super::{Fleet, Life, Member, ModelRules, seconds_between};

/// How deep an engine sleeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SleepLevel {
    /// Level 1: its weights are in main memory.
    #[default]
    Offloaded,
    /// Level 2: its weights are discarded, and loaded again at the wake.
    Discarded,
}

impl SleepLevel {
    /// The level that vLLM gives this number.
    pub fn of_number(number: u8) -> Option<Self> {
        [Self::Offloaded, Self::Discarded].into_iter().find(|level| level.number() == number)
    }

    /// vLLM's number of it.
    pub fn number(self) -> u8 {
        match self {
            Self::Offloaded => 1,
            Self::Discarded => 2,
        }
    }
}

/// Why an engine did not fall asleep or wake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct CallFailure {
    /// It has no such call: no other engine of its model will have it.
    pub is_unsupported: bool,
    /// What happened, with the fix where there is one.
    pub what: String,
}

/// Places for engines that sleep.
pub(super) struct Room {
    left: BTreeMap<String, usize>,
    /// GPUs that others wait for, without those that come free.
    gpus_short: usize,
}

impl Room {
    /// Takes a place; false if there is none, or if the engine's GPUs are waited for.
    pub(super) fn take(&mut self, member: &Member) -> bool {
        if self.gpus_short > 0 && !member.gpus.is_empty() {
            self.gpus_short = self.gpus_short.saturating_sub(member.gpus.len());
            return false;
        }
        match self.left.get_mut(&member.model).filter(|left| **left > 0 && !member.is_retired) {
            Some(left) => {
                *left -= 1;
                true
            }
            None => false,
        }
    }
}

impl Fleet {
    /// Engines of a model that sleep or fall asleep.
    pub fn asleep(&self, model: &str) -> u32 {
        let sleeps = |member: &&Member| member.model == model && member.life.sleeps();
        u32::try_from(self.members.iter().filter(sleeps).count()).unwrap_or(u32::MAX)
    }

    /// Takes in what the calls that put to sleep or wake came to.
    pub(super) fn take_answers(&mut self, now: Timestamp, seen: &Seen<'_>, orders: &mut Vec<Order>) {
        for member in &mut self.members {
            let Some(answer) = seen.answers.get(&member.id) else { continue };
            let id = member.id.clone();
            match (&member.life, answer) {
                (Life::Dozing { since }, Ok(())) => {
                    let what = format!("is asleep after {:.1} s", seconds_between(*since, now));
                    member.life = Life::Asleep { since: now, healthy: now };
                    orders.push(Order::Log { id, what, warning: false });
                }
                (Life::Dozing { .. }, Err(failure)) => {
                    if failure.is_unsupported && self.sleepless.insert(member.model.clone()) {
                        let what = format!("cannot sleep: {failure}; until then engines of {} end", member.model);
                        orders.push(Order::Log { id: id.clone(), what, warning: true });
                    }
                    member.life = Life::Stopping { since: now };
                    orders.push(Order::Terminate { id, why: format!("it does not sleep: {failure}") });
                }
                (Life::Waking { since }, Ok(())) => {
                    let what = format!("is awake after {:.1} s", seconds_between(*since, now));
                    member.life = Life::Ready { since: now, healthy: now };
                    orders.push(Order::Log { id, what, warning: false });
                }
                // What ends here is started again: a cold start in its place.
                (Life::Waking { .. }, Err(failure)) => {
                    orders.push(Order::Kill { id, why: format!("it cannot be woken: {failure}") });
                }
                _ => {}
            }
        }
    }

    /// Wakes the engine that fell asleep last; `None` if none sleeps.
    pub(super) fn wake_one(&mut self, now: Timestamp, model: &str) -> Option<Order> {
        let sleepers = self.members.iter_mut().filter(|member| member.model == model && !member.is_retired);
        let sleepers = sleepers.filter(|member| matches!(member.life, Life::Asleep { .. }));
        let member = sleepers.max_by_key(|member| member.life.since())?;
        member.life = Life::Waking { since: now };
        member.woken = Some(now);
        Some(Order::Wake { id: member.id.clone() })
    }

    /// Ends sleepers beyond what may sleep, and returns the places that are left.
    pub(super) fn make_room(
        &mut self,
        now: Timestamp,
        models: &BTreeMap<String, ModelRules>,
        seen: &Seen<'_>,
        orders: &mut Vec<Order>,
    ) -> Room {
        let may_sleep = |name: &&String| !seen.is_stopping && !self.sleepless.contains(*name);
        let names = models.keys().filter(may_sleep);
        let left = names.map(|name| (name.clone(), models[name].most_asleep)).collect();
        let ending = self.members.iter().filter(|member| matches!(member.life, Life::Stopping { .. }));
        let gpus_ending: usize = ending.map(|member| member.gpus.len()).sum();
        // What is free already, or will be, nobody has to make room for.
        let gpus_free = seen.gpus.len().saturating_sub(self.held_gpus().len());
        let mut room = Room { left, gpus_short: seen.gpus_short.saturating_sub(gpus_ending + gpus_free) };
        for member in self.members.iter_mut().filter(|member| member.life.sleeps()) {
            let others_wait = room.gpus_short > 0 && !member.gpus.is_empty();
            if room.take(member) {
                continue;
            }
            let why = match (seen.is_stopping, others_wait) {
                (true, _) => "everything ends".to_owned(),
                (false, true) => "its GPUs go to another model".to_owned(),
                (false, false) => "fewer engines may sleep (sleep.engines)".to_owned(),
            };
            member.life = Life::Stopping { since: now };
            orders.push(Order::Terminate { id: member.id.clone(), why });
        }
        room
    }
}
