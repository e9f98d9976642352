//! Starts and ends the program: one thread for control, one per worker for requests.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use process::args::ProcessSettings;
use process::config::ConfigText;
use process::readiness::Readiness;
use process::shutdown::Shutdown;
use process::tasks::Tasks;
use process::{admin, telemetry};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::config::{FileConfig, Settings};
use crate::metrics::Metrics;
use crate::shared::Shared;
use crate::worker::{self, Worker};
use crate::{fleet, probe, reload};

/// Runs the router until it is told to stop.
///
/// # Errors
/// If the configuration cannot be used, an address cannot be bound, or a part of the program fails.
#[expect(clippy::print_stdout, reason = "printing is what was asked for")]
pub fn run(args: Args) -> anyhow::Result<()> {
    if args.process.print_config_schema {
        print!("{}", process::config::schema_json::<FileConfig>());
        return Ok(());
    }
    if let Some(url) = &args.probe {
        process::install_crypto_provider();
        let deadline = args.probe_deadline.map_or(probe::DEFAULT_DEADLINE, Into::into);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        println!("{}", runtime.block_on(probe::probe(url, deadline))?.trim_end());
        return Ok(());
    }
    let text = args.process.config.as_deref().map(ConfigText::read).transpose()?;
    let file = text.as_ref().map_or_else(|| Ok(FileConfig::default()), ConfigText::parse)?;
    let merged = args.over(file);
    let settings = merged.settings()?;
    let process = args.process.settings(&merged.process);
    if args.process.print_config {
        print!("{}", serde_saphyr::to_string(&merged.with_defaults(&settings, &process))?);
        return Ok(());
    }
    telemetry::init(&process)?;
    process::install_crypto_provider();
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    control.block_on(control_loop(args, text, settings, process))
}

async fn control_loop(
    args: Args,
    text: Option<ConfigText>,
    settings: Settings,
    process: ProcessSettings,
) -> anyhow::Result<()> {
    let mut registry = admin::registry("router", env!("CARGO_PKG_VERSION"));
    let metrics = Metrics::new(&mut registry);
    let readiness = Readiness::default();
    readiness.wait_for("engines", "the list of engines is not there yet, or engines have not told what they serve");
    let shutdown = Shutdown::on_signals(readiness.clone()).context("install signal handlers")?;
    let admin_listener = admin::bind(process.admin_address).await?;
    let (address, listeners) = worker::listen(settings.listen, settings.workers.get())?;
    let shared = Arc::new(Shared::new(settings.tunables, metrics.clone(), shutdown));
    let admin_address = admin_listener.local_addr()?;

    let mut tasks = Tasks::default();
    let (list_sender, list) = watch::channel(None);
    let pages = admin::routes(Arc::new(registry), readiness.clone(), debug_pages(shared.clone()));
    let end = CancellationToken::new();
    tasks.spawn("admin server", admin::serve(admin_listener, pages, end.clone()));
    tasks.spawn("list of engines", {
        let follow = fleet::follow(settings.source, metrics, list_sender);
        async { follow.await.map_err(|error| format!("{error:#}")) }
    });
    tasks.spawn("fleet", fleet::keep(shared.clone(), list, readiness, settings.workers.get()));
    tasks.spawn("probe", fleet::probe(shared.clone()));
    tasks.spawn("room in engines", fleet::watch_room(shared.clone()));
    if let Some(text) = text {
        let follow = reload::follow(shared.clone(), args, text);
        tasks.spawn("configuration file", async {
            follow.await;
            Ok::<_, Infallible>(())
        });
    }
    let workers = start_workers(&shared, listeners)?;
    tracing::info!(%address, admin = %admin_address, workers = settings.workers.get(), "router listens");
    tokio::select! {
        ended = tasks.finish() => {
            ended?;
            anyhow::bail!("all tasks ended although nobody asked for it")
        },
        done = async { tokio::join!(workers, shared.follow_stages()).0 } => done,
    }
}

/// One thread per listening socket; the future ends when all of them have.
fn start_workers(
    shared: &Arc<Shared>,
    listeners: Vec<TcpListener>,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
    let mut ends = Vec::with_capacity(listeners.len());
    for (index, listener) in listeners.into_iter().enumerate() {
        let worker = Arc::new(Worker::new(index, shared.clone(), rand::random()));
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        thread
            .spawn(move || {
                let result = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .and_then(|runtime| runtime.block_on(worker::run(worker, listener)));
                // Nobody waits only when the process is ending anyway.
                drop(end.send(result));
            })
            .context("start a worker thread")?;
        ends.push(ended);
    }
    Ok(async move {
        for result in futures::future::join_all(ends).await {
            result.context("a worker thread panicked")?.context("serve requests")?;
        }
        Ok(())
    })
}

/// Pages of the admin port beside metrics and health.
fn debug_pages(shared: Arc<Shared>) -> axum::Router {
    axum::Router::new().route("/engines", get(engines_page)).with_state(shared)
}

async fn engines_page(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], shared.snapshot.load().admin_page()).into_response()
}
