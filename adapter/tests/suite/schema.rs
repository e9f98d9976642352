//! The shipped schema of the configuration file is the one of the Rust types.

#[test]
fn the_shipped_schema_is_fresh() {
    let fresh = process::config::schema_json::<adapter::config::file::ConfigFile>();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    let shipped = std::fs::read_to_string(path).unwrap_or_default();
    assert!(shipped == fresh, "stale: run `adapter serve --print-config-schema > adapter/config.schema.json`");
}
