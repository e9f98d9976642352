//! Sorts a vLLM command line into what the emulator knows and what it only warns about.
//!
//! vLLM's parser takes underscores for hyphens, `--flag value`, `--flag=value`, flags with several values, and one
//! positional argument, the model. Which unknown flags take a value can only be guessed: those that begin as vLLM's
//! switches do take none, any other takes what follows it up to the next flag, but never the only candidate for MODEL.

use clap::{ArgAction, Command};

/// The sorted command line.
pub(super) struct Filtered {
    /// For clap: flags it knows, with the model as `--model`.
    pub(super) known: Vec<String>,
    /// Flags that are not modelled, each once.
    pub(super) ignored: Vec<String>,
}

enum Flag {
    Switch,
    OneValue,
    SeveralValues,
    Unknown,
}

const SWITCHES: [&str; 7] = ["enable-", "disable-", "no-", "use-", "trust-remote-code", "enforce-eager", "async-"];
const MORE_SWITCHES: [&str; 8] = [
    "headless",
    "skip-tokenizer-init",
    "return-tokens-as-token-ids",
    "calculate-kv-scales",
    "log-config-file-reload",
    "fully-sharded-loras",
    "data-parallel-external-lb",
    "data-parallel-hybrid-lb",
];

fn kind(command: &Command, name: &str) -> Flag {
    let name = name.trim_start_matches('-');
    let known = command.get_arguments().find(|argument| argument.get_long() == Some(name));
    match known {
        None if matches!(name, "help" | "version") => Flag::Switch,
        None => Flag::Unknown,
        Some(argument) if matches!(argument.get_action(), ArgAction::SetTrue) => Flag::Switch,
        Some(argument) if argument.get_num_args().is_some_and(|range| range.max_values() > 1) => Flag::SeveralValues,
        Some(_) => Flag::OneValue,
    }
}

fn is_flag(argument: &str) -> bool {
    argument.strip_prefix('-').is_some_and(|rest| !rest.is_empty() && rest.parse::<f64>().is_err())
}

fn is_switch(name: &str) -> bool {
    let name = name.trim_start_matches('-');
    SWITCHES.iter().any(|prefix| name.starts_with(prefix)) || MORE_SWITCHES.contains(&name)
}

pub(super) fn filter(command: &Command, arguments: impl IntoIterator<Item = String>) -> Filtered {
    let mut arguments = arguments.into_iter().peekable();
    let mut filtered = Filtered { known: Vec::new(), ignored: Vec::new() };
    let mut model: Option<String> = None;
    if arguments.peek().is_some_and(|first| first == "serve") {
        arguments.next();
    }
    while let Some(argument) = arguments.next() {
        if !is_flag(&argument) {
            if model.replace(argument).is_some() {
                filtered.ignored.push("a second positional argument".to_owned());
            }
            continue;
        }
        let (name, value) = split(&argument);
        if matches!(name.as_str(), "-h" | "-V") {
            filtered.known.push(name);
            continue;
        }
        match (kind(command, &name), value) {
            (Flag::Unknown, value) => {
                if value.is_none() && !is_switch(&name) {
                    skip_values(&mut arguments, model.is_some());
                }
                if !filtered.ignored.contains(&name) {
                    filtered.ignored.push(name);
                }
            }
            (_, Some(value)) => filtered.known.push(format!("{name}={value}")),
            (Flag::Switch, None) => filtered.known.push(name),
            (Flag::OneValue, None) => {
                filtered.known.push(name);
                filtered.known.extend(arguments.next_if(|next| !is_flag(next)));
            }
            (Flag::SeveralValues, None) => {
                filtered.known.push(name);
                while let Some(value) = arguments.next_if(|next| !is_flag(next)) {
                    filtered.known.push(value);
                }
            }
        }
    }
    if let Some(model) = model {
        let given = filtered.known.iter().any(|flag| flag == "--model" || flag.starts_with("--model="));
        if !given {
            filtered.known.push(format!("--model={model}"));
        }
    }
    filtered
}

/// A flag's name with hyphens, and its value if it is written in one.
fn split(argument: &str) -> (String, Option<String>) {
    match argument.split_once('=') {
        Some((name, value)) => (name.replace('_', "-"), Some(value.to_owned())),
        None => (argument.replace('_', "-"), None),
    }
}

fn skip_values(arguments: &mut std::iter::Peekable<impl Iterator<Item = String>>, model_known: bool) {
    // Before the model is known only one value is taken, so that the model is not swallowed with it.
    if arguments.next_if(|next| !is_flag(next)).is_some() && model_known {
        while arguments.next_if(|next| !is_flag(next)).is_some() {}
    }
}
