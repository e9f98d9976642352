//! The program: reads the command line and runs one engine.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use engine_emulator::{Settings, args, run};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let parsed = match args::parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    if parsed.args.profile == "list" {
        return list_profiles();
    }
    if let Err(error) = start_logs(&parsed.args.log_level) {
        return process::exit::failure("engine-emulator", &error);
    }
    for flag in &parsed.ignored {
        tracing::warn!("{flag}: accepted as vLLM does, but not modelled by this engine; ignored");
    }
    let dev_mode = std::env::var("VLLM_SERVER_DEV_MODE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    match Settings::new(parsed.args, dev_mode).map_err(Into::into).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::exit::failure("engine-emulator", &error),
    }
}

fn serve(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(settings))
}

fn start_logs(level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| anyhow::anyhow!("--log-level {level}: {error}; use error, warn, info, debug or trace"))?;
    let colours = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    logs.with_ansi(colours).init();
    Ok(())
}

fn list_profiles() -> ExitCode {
    let mut text = String::new();
    for preset in engine_model::presets() {
        text.push_str(&format!("{:28} {}\n", preset.name, preset.description));
    }
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
