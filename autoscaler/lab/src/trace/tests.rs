use std::path::Path;

use proptest::prelude::*;

use super::*;

fn count(source: &ScaledTrace, from: f64, to: f64) -> usize {
    let mut count = 0;
    source.visit(from, to, 1, &mut |_| count += 1);
    count
}

/// Reads bytes in every format, and walks over what was read; the answer does not matter, that there is one does.
fn survive(bytes: &[u8]) {
    let path = Path::new("bytes");
    let lengths = Lengths::conversation();
    let contents = [
        azure::read(bytes, path).map(Content::Recorded),
        mooncake::read(bytes, path).map(Content::Recorded),
        Series::read(bytes, path, lengths.clone()).map(Content::Series),
        prometheus::read(bytes, path, lengths).map(Content::Series),
        servegen::read_client(bytes, path).map(Content::ServeGen),
    ];
    for content in contents.into_iter().flatten() {
        let trace = Trace { name: "bytes".into(), content: Arc::new(content) };
        let few = (1e4 / trace.requests().max(1.0)).min(3.0);
        if let Ok(source) = trace.at(few) {
            count(&source, 0.0, trace.duration_seconds().min(1e6));
        }
    }
    drop(Lengths::read(bytes, path));
    drop(pdf::ClientLengths::read(bytes, path));
}

/// Text that looks like the formats, with what breaks parsers in it.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let header = prop::sample::select(vec![
        "TIMESTAMP,ContextTokens,GeneratedTokens\n",
        "ts,value\n",
        "t_s,rps\n",
        "prompt_tokens,output_tokens\n",
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[[1,"2"],[3,"#,
        r#"{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":[1,2]}"#,
        "",
    ]);
    let field = prop::sample::select(vec![
        "0",
        "-1",
        "1e308",
        "NaN",
        "inf",
        "600",
        "1200",
        "Gamma",
        "Weibull",
        "1e-300",
        "99999999999999999999",
        "\"x\"",
        "2023-11-16 18:15:46.68",
        "9999-12-31 23:59:59",
        "-009999-01-01 00:00:00",
        "\n",
        "\n",
        ",",
        ",",
        "é",
        "{",
        "]}",
        "{\"timestamp\":1e300,\"input_length\":4294967295,\"output_length\":0,\"hash_ids\":[18446744073709551615]}",
    ]);
    (header, prop::collection::vec(field, 0..40), prop::bool::ANY).prop_map(|(header, fields, commas)| {
        let separator = if commas { "," } else { "" };
        format!("{header}{}", fields.join(separator)).into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survive(&bytes);
    }

    #[test]
    fn no_text_that_is_nearly_a_trace_makes_a_reader_panic(bytes in nearly()) {
        survive(&bytes);
    }
}

#[test]
fn a_folder_where_a_file_should_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = Trace::load(folder.path(), Format::Series, &Lengths::conversation()).unwrap_err().to_string();
    assert!(error.contains("this is a folder"), "{error}");
    let error = Trace::load(&folder.path().join("no"), Format::Azure, &Lengths::conversation()).unwrap_err();
    assert!(matches!(error, TraceError::Read { .. }));
}

#[test]
fn rates_that_make_too_many_requests_are_refused() {
    let trace = Trace::from_rates("x", &[vec![(0.0, 1000.0), (60.0, 1000.0)]], &Lengths::conversation()).unwrap();
    assert!(trace.at(1.0).is_ok());
    assert!(trace.at(1e5).unwrap_err().to_string().contains("ask for fewer replicas in the mean"));
    assert!(trace.at(f64::NAN).is_err());
}

/// The shared traces, when they are there.
fn shared() -> Option<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?;
    let shared = std::env::var_os("SHARED").map_or_else(|| root.join("shared"), Into::into);
    Some(shared.join("traces")).filter(|traces| traces.is_dir())
}

#[test]
fn the_shared_traces_have_the_volumes_that_their_source_states() {
    // Needs ../shared.
    let Some(traces) = shared() else { return };
    let load = |name, format| Trace::load(&traces.join(name), format, &Lengths::conversation()).unwrap();
    // The summed series has 37 windows less than the clients' files; their gaps are filled, which adds 2 %.
    for (name, format, minutes, requests) in [
        ("azure-llm-2023-conv.csv", Format::Azure, 58.0, 19_366.0),
        ("mooncake-conversation.jsonl", Format::Mooncake, 59.0, 12_031.0),
        ("servegen-deepseek-r1", Format::ServeGen, 1440.0, 1.38e6),
        ("servegen-m-small", Format::ServeGen, 14.0 * 1440.0, 1.42e9),
        ("servegen-m-small-total-10min.csv", Format::Series, 14.0 * 1440.0, 1.45e9),
        ("crane-14.csv", Format::Series, 16.0 * 1440.0, f64::NAN),
    ] {
        let trace = load(name, format);
        assert!((trace.duration_seconds() / 60.0 / minutes - 1.0).abs() < 0.02, "{name}: {}", trace.duration_seconds());
        assert!(requests.is_nan() || (trace.requests() / requests - 1.0).abs() < 0.01, "{name}: {}", trace.requests());
        let source = trace.at(10_000.0 / trace.requests()).unwrap();
        let drawn = count(&source, 0.0, trace.duration_seconds());
        assert!(drawn > 8_000 || format == Format::ServeGen, "{name}: {drawn}");
    }
}
