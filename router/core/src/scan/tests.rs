use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

fn name(view: &RequestView<'_>) -> Option<String> {
    match &view.model {
        ModelField::Name(name) => Some(name.to_string()),
        ModelField::Absent | ModelField::NotAString => None,
    }
}

fn of(body: &str) -> RequestView<'_> {
    scan(body.as_bytes()).expect(body)
}

#[test]
fn finds_the_fields_in_any_order_and_spacing() {
    for body in [
        r#"{"model":"m","stream":true}"#,
        r#"{"stream":true,"messages":[{"role":"user","content":"hi"}],"model":"m"}"#,
        " \n{\t\"stream\" : true , \"x\" : 1.5e3 ,\r\n \"model\"\n:\n\"m\" } \n",
    ] {
        let view = of(body);
        assert_eq!((name(&view).as_deref(), view.stream), (Some("m"), true), "{body}");
    }
}

#[test]
fn text_that_looks_like_the_fields_is_not_taken_for_them() {
    let view = of(
        r#"{"messages":[{"content":"\"model\":\"a\",\"stream\":true}]","model":"b"}],"metadata":{"model":"c","stream":true},"model":"m"}"#,
    );
    assert_eq!((name(&view).as_deref(), view.stream), (Some("m"), false));
}

#[test]
fn the_last_of_duplicates_wins() {
    let view = of(r#"{"model":"a","stream":true,"model":"b","stream":false}"#);
    assert_eq!((name(&view).as_deref(), view.stream), (Some("b"), false));
}

#[test]
fn escapes_are_decoded_in_keys_and_names() {
    let view = of(r#"{"mod\u0065l":"a\/b \ud83d\ude00 \"q\" \\","stre\u0061m":true}"#);
    assert_eq!((name(&view).as_deref(), view.stream), (Some("a/b \u{1f600} \"q\" \\"), true));
}

#[test]
fn a_name_without_escapes_is_borrowed() {
    assert!(matches!(of(r#"{"model":"m"}"#).model, ModelField::Name(Cow::Borrowed("m"))));
}

#[test]
fn null_is_absent_and_other_types_are_not_strings() {
    assert_eq!(of(r#"{"model":null}"#).model, ModelField::Absent);
    assert_eq!(of("{}").model, ModelField::Absent);
    assert_eq!(of(r#"{"model":["m"]}"#).model, ModelField::NotAString);
    assert_eq!(of(r#"{"model":7}"#).model, ModelField::NotAString);
}

#[test]
fn broken_bodies_say_where() {
    assert_eq!(scan(b"[1]"), Err(ScanError::NotAnObject));
    assert_eq!(scan(b""), Err(ScanError::NotAnObject));
    assert_eq!(scan(br#"{"model":"m""#), Err(ScanError::Truncated(12)));
    assert_eq!(scan(br#"{"model":"m"#), Err(ScanError::Truncated(11)));
    assert_eq!(scan(br#"{"model" "m"}"#), Err(ScanError::Malformed(9)));
    assert_eq!(scan(br#"{"model":,}"#), Err(ScanError::Malformed(9)));
    assert_eq!(scan(b"{\"model\":\"\xff\"}"), Err(ScanError::Malformed(9)));
    assert_eq!(scan(br#"{"a":"\"#), Err(ScanError::Truncated(7)));
}

/// JSON values of some depth whose strings hold quotes, escapes and the wanted key names.
fn json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), Just("model".to_owned()), Just("\"stream\":true".to_owned())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..6).prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), Just("model".to_owned()), Just("stream".to_owned())]
}

/// Writes an object field by field, so that duplicates stay, with every character of some keys escaped.
fn write(fields: &[(String, Value, bool)], space: &str) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(key, value, escape)| {
            let key = if *escape {
                let units: String = key.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                format!("\"{units}\"")
            } else {
                Value::from(key.as_str()).to_string()
            };
            let value =
                if space.is_empty() { value.to_string() } else { serde_json::to_string_pretty(value).expect("json") };
            format!("{key}{space}:{space}{value}")
        })
        .collect();
    format!("{space}{{{space}{}{space}}}{space}", fields.join(&format!("{space},{space}")))
}

fn agrees_with_serde_json(body: &[u8]) -> Result<(), TestCaseError> {
    let Ok(Value::Object(parsed)) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
    let view = scan(body).expect("serde_json takes it");
    let expected = match parsed.get("model") {
        None | Some(Value::Null) => ModelField::Absent,
        Some(Value::String(name)) => ModelField::Name(Cow::Owned(name.clone())),
        Some(_) => ModelField::NotAString,
    };
    prop_assert_eq!(view.model, expected);
    prop_assert_eq!(view.stream, parsed.get("stream") == Some(&Value::Bool(true)));
    Ok(())
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_every_object(
        fields in prop::collection::vec((key(), json(), any::<bool>()), 0..8),
        space in prop_oneof![Just(""), Just(" "), Just("\r\n\t")],
    ) {
        agrees_with_serde_json(write(&fields, space).as_bytes())?;
    }

    #[test]
    fn never_panics_and_agrees_when_the_bytes_happen_to_be_json(
        fields in prop::collection::vec((key(), json(), any::<bool>()), 0..4),
        cut in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = write(&fields, "").into_bytes();
        let at = cut.index(body.len());
        body[at] = byte;
        agrees_with_serde_json(&body)?;
        body.truncate(at);
        agrees_with_serde_json(&body)?;
        drop(scan(&body));
    }
}
