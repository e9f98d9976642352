//! `autoscaler controller`: observe → decide → apply → report for the EngineAutoscalers of one namespace.
//!
//! ```text
//! watches ─▶ objects, engines, routers ─┐
//! scrapes ─▶ readings ──────────────────┤ each control period, while leading
//!                                       ▼
//!            prepare (validate, /scale) → decide (pure) → share (pure) → apply (/scale) → report (status, events)
//! ```

pub mod apply;
pub mod args;
pub mod case;
pub mod objects;
mod pools;
pub mod report;
pub mod round;
pub mod scale;
mod tiers;
mod variants;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engines::discover::{PodScope, Pods, watch_pods};
use engines::scrape::Scraper;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use process::readiness::Readiness;
use process::shutdown::Shutdown;
use process::tasks::Tasks;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::decision_log::DecisionLog;
use crate::leader::{Candidate, Leadership};
use crate::metrics::Metrics;
use crate::observe::Readings;
use crate::observe::facts::Freshness;
use crate::past::Source;
use args::{ControllerArgs, ControllerConfig, ControllerSettings};
use round::Controller;

/// Longest scrape: one that takes longer says that the engine is in trouble, and the next is due.
const LONGEST_SCRAPE: Duration = Duration::from_secs(2);

/// Runs the controller until a signal.
///
/// # Errors
/// If flags, configuration, cluster or addresses cannot be used, or if a task ends that should not.
pub async fn run(args: ControllerArgs) -> anyhow::Result<()> {
    if args.process.print_config_schema {
        return print(&process::config::schema_json::<ControllerConfig>());
    }
    let config = args.over(args.file()?);
    let settings = config.settings(&args.process, &host_name())?;
    if args.process.print_config {
        return print(&serde_saphyr::to_string(&settings.as_config()).context("write the configuration")?);
    }
    process::telemetry::init(&settings.process)?;
    let readiness = Readiness::default();
    let shutdown = Shutdown::on_signals(readiness.clone())?;
    let client = Client::try_default().await.context("find the cluster: neither in a pod nor a kubeconfig")?;
    serve(settings, client, readiness, shutdown).await
}

async fn serve(
    settings: ControllerSettings,
    client: Client,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let namespace = settings.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let metrics = Metrics::default();
    let mut registry = process::admin::registry("autoscaler", env!("CARGO_PKG_VERSION"));
    metrics.register(&mut registry);
    let routes = process::admin::routes(Arc::new(registry), readiness.clone(), axum::Router::new());
    let listener = process::admin::bind(settings.process.admin_address).await?;
    tracing::info!(
        namespace, release = settings.release.as_deref().unwrap_or("(all)"), identity = settings.identity,
        lease = settings.lease_name, admin = %settings.process.admin_address, "autoscaler controller starts"
    );

    let mut tasks = Tasks::default();
    tasks.spawn("admin server", process::admin::serve(listener, routes, shutdown.stop_accepting().clone()));
    let release = settings.release.as_deref();
    let scope = Some(namespace.clone());
    let engines = watched(&mut tasks, &client, PodScope::engines(scope.clone(), release), &shutdown, "watch engines");
    let routers = watched(&mut tasks, &client, PodScope::routers(scope, release), &shutdown, "watch routers");
    let (objects, watch) = objects::watch_objects(client.clone(), &namespace, readiness.clone());
    until(&mut tasks, "watch EngineAutoscalers", watch, shutdown.draining().clone());

    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let (candidate, leadership) =
        Candidate::new(leases, settings.lease_name.clone(), settings.identity.clone(), process::clock::now);
    tasks.spawn("leader lease", {
        let stop = shutdown.draining().clone();
        async move {
            candidate.run(stop).await;
            Ok::<_, String>(())
        }
    });

    let timeout = settings.control_period.min(LONGEST_SCRAPE);
    let scraper = Scraper::new(timeout).context("set up the HTTP client")?;
    let readings = Arc::new(Readings::default());
    let freshness = Freshness {
        engine_period: settings.control_period,
        router_period: settings.router_period,
        scrape_timeout: timeout,
    };
    let eyes = Eyes { readings, scraper, engines, routers, leadership };
    until(
        &mut tasks,
        "scrape routers",
        eyes.clone().watch_routers(settings.router_period),
        shutdown.draining().clone(),
    );
    let past = settings.prometheus.as_ref().map(|config| Source::new(config, true)).transpose()?.map(Arc::new);
    let decision_log = settings.decision_log.as_ref().map(|log| DecisionLog::open(&log.folder, log.max_megabytes));
    let decision_log = decision_log.transpose().context("decisionLog.folder: choose a folder that can be written")?;
    let controller = Controller::new(client, namespace, settings.clone(), metrics, freshness)
        .with_decision_log(decision_log)
        .with_past(past);
    let story = run_rounds(controller, eyes, objects, settings.control_period);
    until(&mut tasks, "control loop", story, shutdown.draining().clone());
    tasks.finish().await?;
    Ok(())
}

/// What the controller sees with.
#[derive(Clone)]
struct Eyes {
    readings: Arc<Readings>,
    scraper: Scraper,
    engines: Pods,
    routers: Pods,
    leadership: watch::Receiver<Leadership>,
}

impl Eyes {
    fn leads(&self) -> bool {
        self.leadership.borrow().holds(Instant::now())
    }

    async fn scrape_engines(&self) {
        let list = self.engines.borrow().clone().unwrap_or_default();
        self.readings.scrape_engines(&self.scraper, &list, process::clock::now).await;
    }

    async fn scrape_routers(&self) {
        let list = self.routers.borrow().clone().unwrap_or_default();
        self.readings.scrape_routers(&self.scraper, &list, process::clock::now).await;
    }

    async fn watch_routers(self, period: Duration) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.leads() {
                self.scrape_routers().await;
            }
        }
    }
}

/// One round each control period while this replica leads. Engines are scraped just before the decision, so that it
/// rests on what is now and not on a period ago.
async fn run_rounds(mut controller: Controller, eyes: Eyes, objects: objects::Objects, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut led = false;
    loop {
        ticks.tick().await;
        let leads = eyes.leads();
        if leads != led {
            controller.begin_term(leads);
            eyes.readings.clear();
            led = leads;
        }
        let listed = (objects.borrow().clone(), eyes.engines.borrow().is_some(), eyes.routers.borrow().is_some());
        let (Some(objects), true, true, true) = (listed.0, listed.1, listed.2, leads) else { continue };
        tokio::join!(eyes.scrape_engines(), eyes.scrape_routers());
        let engines = eyes.engines.borrow().clone().unwrap_or_default();
        let routers = eyes.routers.borrow().clone().unwrap_or_default();
        let view = round::View { objects: &objects, engines: &engines, routers: &routers, readings: &eyes.readings };
        controller.round(&view, &eyes.leadership, process::clock::now()).await;
    }
}

fn watched(tasks: &mut Tasks, client: &Client, scope: PodScope, shutdown: &Shutdown, name: &'static str) -> Pods {
    let (pods, watch) = watch_pods(client.clone(), scope);
    until(tasks, name, watch, shutdown.draining().clone());
    pods
}

/// Runs `future`, which has no end of its own, until `stop`.
fn until(
    tasks: &mut Tasks,
    name: &'static str,
    future: impl Future<Output = ()> + Send + 'static,
    stop: CancellationToken,
) {
    tasks.spawn(name, async move {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = future => Err("ended although nobody asked for it"),
        }
    });
}

/// The pod's name in a cluster; the machine's elsewhere.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("autoscaler-{}", std::process::id()))
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn print(text: &str) -> anyhow::Result<()> {
    print!("{text}");
    Ok(())
}

#[cfg(test)]
mod tests;
