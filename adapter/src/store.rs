//! What collections write and requests read: one slot per rule, swapped whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapter_core::{Failure, Observation, Record, Rule};
use arc_swap::ArcSwap;

/// A rule and what is known of it.
#[derive(Debug)]
pub struct Slot {
    /// The rule.
    pub rule: Rule,
    record: ArcSwap<Record>,
}

impl Slot {
    /// What is known now.
    pub fn record(&self) -> Arc<Record> {
        self.record.load_full()
    }

    /// Takes a successful collection in. One task collects a rule, so nothing is lost between load and store.
    pub fn observe(&self, observation: &Observation<'_>) {
        let next = self.record.load().observed(&self.rule, observation);
        self.record.store(Arc::new(next));
    }

    /// Takes a failed collection in.
    pub fn fail(&self, failure: Failure) {
        let next = self.record.load().failed(failure);
        self.record.store(Arc::new(next));
    }
}

type Slots = BTreeMap<String, Arc<Slot>>;

/// All rules. Readers never wait; a new set of rules is swapped in.
#[derive(Debug, Default)]
pub struct Store {
    slots: ArcSwap<Slots>,
}

impl Store {
    /// Takes over a new set of rules; a rule that did not change keeps what is known of it.
    pub fn replace_rules(&self, rules: &[Rule]) {
        let before = self.slots.load();
        let slot = |rule: &Rule| match before.get(&rule.name) {
            Some(slot) if slot.rule == *rule => slot.clone(),
            Some(_) | None => Arc::new(Slot { rule: rule.clone(), record: ArcSwap::default() }),
        };
        let slots: Slots = rules.iter().map(|rule| (rule.name.clone(), slot(rule))).collect();
        self.slots.store(Arc::new(slots));
    }

    /// The slot of a rule.
    pub fn slot(&self, name: &str) -> Option<Arc<Slot>> {
        self.slots.load().get(name).cloned()
    }

    /// All slots, by name.
    pub fn slots(&self) -> Arc<Slots> {
        self.slots.load_full()
    }
}
