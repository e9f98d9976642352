//! The fleet as one immutable snapshot: which engines serve which model, and which names are known at all.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Identifies one life of an engine within this process: a new address or a return after an absence gets a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineKey(pub u64);

/// What is known of one engine when a snapshot is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// Its identity in this process.
    pub key: EngineKey,
    /// Ready and neither draining nor terminating: may get new requests.
    pub accepting: bool,
    /// The names its `/v1/models` lists; `None` until it has answered once.
    pub names: Option<Vec<Arc<str>>>,
}

/// One model of a [`Fleet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The name that clients say.
    pub name: Arc<str>,
    /// The engines that may get its requests, as positions in the list that [`Fleet::build`] was given.
    pub engines: Vec<usize>,
    /// Their keys, in the same order.
    pub keys: Vec<EngineKey>,
}

/// An immutable snapshot of engines and models.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    models: Vec<Model>,
    by_name: HashMap<Arc<str>, usize>,
    served: usize,
    only_served: Option<usize>,
    unnamed: usize,
}

/// The answer to "which model is this request for".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The model at this position of [`Fleet::models`].
    Model(usize),
    /// No engine serves or served this name, and no configuration names it.
    Unknown,
    /// As `Unknown`, but this many ready engines have not told their names yet.
    NotYetKnown(usize),
    /// The request names no model and this many are served, so that none can be assumed.
    Ambiguous(usize),
}

impl Fleet {
    /// Builds a snapshot. `known` are names to hold requests for even while no engine serves them.
    pub fn build(engines: &[EngineFacts], known: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut names: BTreeSet<Arc<str>> = known.into_iter().collect();
        names.extend(engines.iter().flat_map(|engine| engine.names.iter().flatten().cloned()));
        let models: Vec<Model> = names.into_iter().map(|name| model(name, engines)).collect();
        let by_name = models.iter().enumerate().map(|(at, model)| (model.name.clone(), at)).collect();
        let served: Vec<usize> = (0..models.len()).filter(|at| !models[*at].engines.is_empty()).collect();
        let only_served = match (served.as_slice(), models.len()) {
            ([only], _) => Some(*only),
            // Nothing runs now, but there is only one model it can be: hold the request for it.
            ([], 1) => Some(0),
            _ => None,
        };
        let unnamed = engines.iter().filter(|engine| engine.accepting && engine.names.is_none()).count();
        Self { models, by_name, served: served.len(), only_served, unnamed }
    }

    /// All known models, sorted by name.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// Ready engines that have not told their names yet.
    pub fn unnamed(&self) -> usize {
        self.unnamed
    }

    /// Finds the model of a request that names one, or, with `None`, the only one there is.
    pub fn find(&self, name: Option<&str>) -> Lookup {
        let Some(name) = name else {
            return match self.only_served {
                Some(only) => Lookup::Model(only),
                None if self.served == 0 && self.unnamed > 0 => Lookup::NotYetKnown(self.unnamed),
                None => Lookup::Ambiguous(self.served),
            };
        };
        match self.by_name.get(name) {
            Some(at) => Lookup::Model(*at),
            None if self.unnamed > 0 => Lookup::NotYetKnown(self.unnamed),
            None => Lookup::Unknown,
        }
    }
}

fn model(name: Arc<str>, engines: &[EngineFacts]) -> Model {
    let serving =
        |engine: &EngineFacts| engine.accepting && engine.names.as_ref().is_some_and(|names| names.contains(&name));
    let engines: Vec<(usize, EngineKey)> =
        engines.iter().enumerate().filter(|(_, engine)| serving(engine)).map(|(at, engine)| (at, engine.key)).collect();
    let (engines, keys) = engines.into_iter().unzip();
    Model { name, engines, keys }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(key: u64, accepting: bool, names: Option<&[&str]>) -> EngineFacts {
        let names = names.map(|names| names.iter().map(|name| Arc::from(*name)).collect());
        EngineFacts { key: EngineKey(key), accepting, names }
    }

    fn engines_of<'a>(fleet: &'a Fleet, name: &str) -> &'a [usize] {
        match fleet.find(Some(name)) {
            Lookup::Model(at) => &fleet.models()[at].engines,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn only_engines_that_accept_and_serve_the_name_get_its_requests() {
        let fleet = Fleet::build(
            &[
                engine(1, true, Some(&["a", "a-lora"])),
                engine(2, false, Some(&["a"])),
                engine(3, true, Some(&["b"])),
                engine(4, true, None),
            ],
            [],
        );
        assert_eq!(engines_of(&fleet, "a"), [0]);
        assert_eq!(engines_of(&fleet, "a-lora"), [0]);
        assert_eq!(engines_of(&fleet, "b"), [2]);
        assert_eq!(fleet.unnamed(), 1);
    }

    #[test]
    fn a_known_model_without_engines_is_found_and_has_none() {
        let fleet = Fleet::build(&[engine(1, false, Some(&["a"]))], [Arc::from("asleep")]);
        assert!(engines_of(&fleet, "a").is_empty());
        assert!(engines_of(&fleet, "asleep").is_empty());
        assert_eq!(fleet.find(Some("nope")), Lookup::Unknown);
    }

    #[test]
    fn an_unknown_name_is_not_final_while_an_engine_is_silent_about_its_names() {
        let fleet = Fleet::build(&[engine(1, true, None)], []);
        assert_eq!(fleet.find(Some("a")), Lookup::NotYetKnown(1));
        assert_eq!(fleet.find(None), Lookup::NotYetKnown(1));
    }

    #[test]
    fn a_request_without_a_model_goes_to_the_only_one() {
        let one = Fleet::build(&[engine(1, true, Some(&["a"]))], [Arc::from("asleep")]);
        assert!(matches!(one.find(None), Lookup::Model(at) if &*one.models()[at].name == "a"));
        let two = Fleet::build(&[engine(1, true, Some(&["a"])), engine(2, true, Some(&["b"]))], []);
        assert_eq!(two.find(None), Lookup::Ambiguous(2));
        let asleep = Fleet::build(&[], [Arc::from("a")]);
        assert_eq!(asleep.find(None), Lookup::Model(0));
        assert_eq!(Fleet::default().find(None), Lookup::Ambiguous(0));
    }
}
