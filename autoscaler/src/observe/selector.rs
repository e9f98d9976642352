//! Label selectors in Kubernetes' text form, as `/scale` reports them: `app=a,tier in (x,y),!old`.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::{Expression, Selector, SelectorExt as _};

/// A selector that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("label selector `{0}` is not understood")]
pub struct SelectorError(String);

/// Whether labels match a selector.
///
/// # Errors
/// If the selector cannot be read.
pub fn matches(selector: &str, labels: &BTreeMap<String, String>) -> Result<bool, SelectorError> {
    let expressions: Vec<Expression> = terms(selector)
        .into_iter()
        .map(|term| expression(term).ok_or_else(|| SelectorError(selector.to_owned())))
        .collect::<Result<_, _>>()?;
    Ok(Selector::from_iter(expressions).matches(labels))
}

/// Splits at commas outside parentheses.
fn terms(selector: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    selector
        .split(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .collect()
}

fn expression(term: &str) -> Option<Expression> {
    for (operator, negated) in [(" notin ", true), (" in ", false)] {
        if let Some((key, values)) = term.split_once(operator) {
            let values = values.trim().strip_prefix('(')?.strip_suffix(')')?;
            let values: BTreeSet<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
            let key = name(key)?;
            return Some(if negated { Expression::NotIn(key, values) } else { Expression::In(key, values) });
        }
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Some(Expression::NotEqual(name(key)?, value.trim().to_owned()));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Some(Expression::Equal(name(key)?, value.trim().to_owned()));
    }
    match term.strip_prefix('!') {
        Some(key) => Some(Expression::DoesNotExist(name(key)?)),
        None => Some(Expression::Exists(name(term)?)),
    }
}

fn name(key: &str) -> Option<String> {
    let key = key.trim();
    (!key.is_empty() && !key.contains([' ', '(', ')', '='])).then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_text_is_understood() {
        let labels: BTreeMap<String, String> =
            [("app", "a"), ("tier", "x")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for (selector, expected) in [
            ("app=a", true),
            ("app==a,tier=x", true),
            ("app=b", false),
            ("tier in (x,y),app", true),
            ("tier in (y)", false),
            ("tier notin (y, z)", true),
            ("!old", true),
            ("!app", false),
            ("app!=a", false),
            ("", true),
        ] {
            assert_eq!(matches(selector, &labels), Ok(expected), "{selector}");
        }
    }

    #[test]
    fn a_selector_that_cannot_be_read_is_an_error_not_everything() {
        for selector in ["tier in x", "=a", "a b", "tier in (x"] {
            assert!(matches(selector, &BTreeMap::new()).is_err(), "{selector}");
        }
    }
}
