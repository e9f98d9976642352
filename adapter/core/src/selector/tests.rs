use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn each_operator_selects_what_kubernetes_selects() {
    let series = labels(&[("model", "llama-8b"), ("namespace", "default")]);
    for (selector, expected) in [
        ("", true),
        ("model=llama-8b", true),
        ("model==llama-8b", true),
        (" model = llama-8b , namespace=default ", true),
        ("model=other", false),
        ("model!=other", true),
        ("model!=llama-8b", false),
        ("absent!=x", true),
        ("model in (a, llama-8b)", true),
        ("namespace in (default,x)", true),
        ("model in (a,b)", false),
        ("model notin (a,b)", true),
        ("absent notin (a)", true),
        ("model notin (llama-8b)", false),
        ("model", true),
        ("absent", false),
        ("!absent", true),
        ("! model", false),
        ("model=", false),
        ("model in (llama-8b),!absent,namespace", true),
        ("app.kubernetes.io/name!=x", true),
    ] {
        assert_eq!(Selector::parse(selector).unwrap().matches(&series), expected, "{selector}");
    }
}

#[test]
fn a_bad_selector_is_refused_with_the_place_and_the_fix() {
    for (selector, expected) in [
        ("model=meta-llama/Llama-3.1-8B", "`meta-llama/Llama-3.1-8B` is not a label value"),
        ("model in a", "take a list such as (a,b)"),
        ("model in (a", "does not end with `)`"),
        ("model>5", "compare numbers"),
        ("=a", "is not a label key"),
        ("model=a,", "is not a label key"),
        ("model=a namespace=b", "expected `,` before `namespace=b`"),
        ("model like a", "followed by `like`"),
        ("a/b/c=d", "is not a label key"),
    ] {
        let message = Selector::parse(selector).unwrap_err().to_string();
        assert!(message.contains(expected), "{selector}: {message}");
    }
    assert!(Selector::parse(&"a,".repeat(4000)).unwrap_err().to_string().contains("longer than 4096"));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        drop(Selector::parse(&text));
    }

    #[test]
    fn selector_like_text_never_panics_and_prints_back(text in "[a-c=!,() innot<>/.-]{0,60}") {
        if let Ok(selector) = Selector::parse(&text) {
            let shown = selector.to_string();
            let inner = &shown[1..shown.len() - 1];
            prop_assert_eq!(Selector::parse(inner).unwrap(), selector);
        }
    }

    #[test]
    fn in_and_notin_are_opposites(value in "[a-c]", listed in prop::collection::vec("[a-c]", 1..4)) {
        let series = labels(&[("k", &value)]);
        let list = listed.join(",");
        let chosen = Selector::parse(&format!("k in ({list})")).unwrap().matches(&series);
        let refused = Selector::parse(&format!("k notin ({list})")).unwrap().matches(&series);
        prop_assert_eq!(chosen, listed.contains(&value));
        prop_assert_eq!(chosen, !refused);
    }
}
