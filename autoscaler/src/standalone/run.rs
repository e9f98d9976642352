//! From flags to a running host: configuration, state folder, page and admin server, then the loop.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use process::readiness::Readiness;
use process::shutdown::Shutdown;
use process::{admin, config, telemetry};
use tokio_util::sync::CancellationToken;

use super::args::StandaloneArgs;
use super::board::Board;
use super::config::StandaloneConfig;
use super::page;
use super::programs::{Program, on_path};
use super::state_dir::StateDir;
use super::supervise::Supervisor;
use super::validate::{InvalidKey, Validated, validate};
use crate::metrics::Metrics;

/// Admin address of the autoscaler on one host with router (9101) and adapter (9103).
const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9102);

/// Runs `autoscaler standalone` until a signal.
///
/// # Errors
/// If flags, configuration, state folder or addresses cannot be used; the message names the place and the fix.
pub async fn run(args: StandaloneArgs) -> anyhow::Result<()> {
    if args.process.print_config_schema {
        return print(&config::schema_json::<StandaloneConfig>());
    }
    let Some(path) = &args.process.config else {
        bail!("--config FILE is needed: it says which engines to run; `autoscaler standalone --help` has an example");
    };
    let mut file: StandaloneConfig = config::load(path)?;
    file.process.admin_address =
        Some(args.process.admin_address.or(file.process.admin_address).unwrap_or(ADMIN_ADDRESS));
    file.process.log_level = args.process.log_level.clone().or(file.process.log_level);
    file.process.log_format = args.process.log_format.or(file.process.log_format);
    let in_file = |error: InvalidKey| anyhow::anyhow!("configuration file {}: {error}", path.display());
    let valid = validate(file, &default_state_dir()?).map_err(in_file)?;
    if args.process.print_config {
        let mut resolved = valid.config.clone();
        resolved.state_dir = Some(valid.state_dir.clone());
        return print(&serde_saphyr::to_string(&resolved).context("write the configuration")?);
    }
    check_programs(&valid).map_err(in_file)?;
    let settings = args.process.settings(&valid.config.process);
    telemetry::init(&settings)?;
    serve(valid, settings.admin_address, args.leave_running).await
}

async fn serve(valid: Validated, admin_address: SocketAddr, leave_running: bool) -> anyhow::Result<()> {
    let state_dir = StateDir::open(&valid.state_dir)?;
    let stored = state_dir.load()?;
    // Addresses first: nothing may start if we cannot be asked about it.
    let admin_listener = admin::bind(admin_address).await?;
    let page_listener = match valid.config.page.enabled {
        true => Some(bind_page(valid.config.page.address).await?),
        false => None,
    };
    let readiness = Readiness::default();
    let shutdown = Shutdown::on_signals(readiness.clone()).context("install signal handlers")?;
    let programs = programs(&valid, admin_address, &state_dir)?;
    let board = Arc::new(Board::default());
    let stop = CancellationToken::new();
    let mut registry = admin::registry("autoscaler", env!("CARGO_PKG_VERSION"));
    let metrics = Metrics::default();
    metrics.register(&mut registry);
    // There is nobody to share the work with: the lock on the state folder is the lease.
    metrics.set_leader(true);
    let admin_routes = admin::routes(Arc::new(registry), readiness, axum::Router::new());
    tokio::spawn(admin::serve(admin_listener, admin_routes, stop.clone()));
    if let Some(listener) = page_listener {
        tracing::info!(page = format!("http://{}", listener.local_addr()?), "page");
        let serve_page = axum::serve(listener, page::routes(board.clone()));
        tokio::spawn(serve_page.with_graceful_shutdown(stop.clone().cancelled_owned()).into_future());
    }
    let mut supervisor = Supervisor::new(valid, state_dir, &stored, programs, board, metrics)?;
    supervisor.take_over(&stored).await?;
    let result = supervisor.run(shutdown, leave_running).await;
    stop.cancel();
    result
}

async fn bind_page(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    let bound = tokio::net::TcpListener::bind(address).await;
    bound.with_context(|| {
        format!("listen on {address} for the page; choose another page.address, or page.enabled: false")
    })
}

/// Router and adapter, unless they run elsewhere.
fn programs(valid: &Validated, admin_address: SocketAddr, state_dir: &StateDir) -> anyhow::Result<Vec<Program>> {
    let mut programs = Vec::new();
    let router = &valid.config.router;
    if router.start {
        let models: serde_json::Map<String, serde_json::Value> =
            valid.models.iter().map(|model| (model.served_model_name.clone(), serde_json::json!({}))).collect();
        programs.push(Program::router(router, &models.into(), state_dir)?);
    }
    if valid.config.adapter.start {
        let routers: Vec<String> = router.admin_address.iter().map(|address| format!("http://{address}")).collect();
        let autoscaler = format!("http://{admin_address}");
        programs.push(Program::adapter(&valid.config.adapter, &routers, &autoscaler, state_dir)?);
    }
    Ok(programs)
}

/// Programs of engines that are named without a placeholder must exist: a typing error would else be a crash loop.
fn check_programs(valid: &Validated) -> Result<(), InvalidKey> {
    for (position, model) in valid.models.iter().enumerate() {
        let program = model.command.program();
        let is_there = program.contains('{')
            || Path::new(program).is_file()
            || (!program.contains('/') && on_path(program).is_some());
        if !is_there {
            return Err(InvalidKey {
                key: format!("models[{position}].command"),
                problem: format!("the program `{program}` is not a file and not on PATH; install it or write its path"),
            });
        }
    }
    Ok(())
}

fn default_state_dir() -> anyhow::Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")));
    Ok(base
        .context("no stateDir in the configuration, and neither XDG_STATE_HOME nor HOME is set")?
        .join("vllm-prod-stack"))
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")
}
