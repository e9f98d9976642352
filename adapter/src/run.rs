//! `adapter serve`: puts the parts together and lets them live and die as one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use process::admin;
use process::args::{ProcessArgs, ProcessSettings};
use process::config::{ConfigText, follow};
use process::readiness::Readiness;
use process::shutdown::Shutdown;
use process::tasks::Tasks;
use serving::{Limits, ServeOptions, ServingCertificate, Stages};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::{certificate, trust};
use crate::collect::Collector;
use crate::collect::direct::DirectSource;
use crate::collect::upstream::PrometheusSource;
use crate::config::Config;
use crate::config::file::{Certificate, ConfigFile, Prometheus};
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::serve::authorize::Authorizer;
use crate::serve::documents::Documents;
use crate::serve::identify::Identifier;
use crate::serve::{Access, Api, Reviews};
use crate::store::Store;
use crate::{debug, reload};

/// Serves until a signal says stop.
///
/// # Errors
/// If the configuration cannot be used, an address is taken, or a part of the program ends unasked.
pub async fn serve(args: ProcessArgs) -> anyhow::Result<()> {
    let text = args.config.as_deref().map(ConfigText::read).transpose()?;
    let config = reload::config(text.as_ref())?;
    let settings = args.settings(&config.file.process);
    process::telemetry::init(&settings)?;
    let readiness = Readiness::default();
    let shutdown = Shutdown::on_signals(readiness.clone())?;
    let mut tasks = Tasks::default();
    let stop = shutdown.give_up().clone();

    let store = Arc::new(Store::default());
    let mut registry = admin::registry("adapter", env!("CARGO_PKG_VERSION"));
    let metrics = Metrics::register(&mut registry, store.clone());
    let client = if config.is_in_cluster() { Some(kube_client().await?) } else { None };

    let admin_listener = admin::bind(settings.admin_address).await?;
    let routes = admin::routes(Arc::new(registry), readiness.clone(), debug::routes(store.clone()));
    tasks.spawn("admin server", admin::serve(admin_listener, routes, stop.clone()));

    let access = access(client.as_ref(), &readiness, &mut tasks, &stop);
    let api = Arc::new(Api { store, access, metrics: metrics.clone(), documents: Documents::default() });
    reload::apply(&config, &api, &metrics);

    let serving_certificate = certificate(&config, client.as_ref(), &readiness, &mut tasks, &stop);
    let address = config.file.server.address;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("listen on {address}: {error}; choose another server.address"))?;
    tracing::info!(%address, tls = serving_certificate.is_some(), rules = config.rules.len(), "serving the metrics API");
    let options =
        ServeOptions { certificate: serving_certificate, limits: Limits::default(), stages: stages(&shutdown) };
    let answering = api.clone();
    let handler = move |request| {
        let api = answering.clone();
        async move { api.handle(request).await }
    };
    let finished = stop.clone();
    tasks.spawn("metrics API", async move {
        let outcome = serving::serve(listener, handler, options).await;
        // Connections have ended: nothing is left to wait for.
        finished.cancel();
        outcome
    });

    let collector = Arc::new(collector(&config, &api, metrics.clone(), client.as_ref(), &mut tasks, &stop)?);
    let (current, changes) = watch::channel(Arc::new(config));
    let collecting = collector.run(changes, stop.clone());
    tasks.spawn("collect", async move {
        collecting.await;
        Ok::<_, String>(())
    });
    if let Some(text) = text {
        let following = follow(text, stop, reload::take(current, api, metrics));
        tasks.spawn("reload", async move {
            following.await;
            Ok::<_, String>(())
        });
    }
    tasks.finish().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Prints the configuration that results from flags, environment and file.
///
/// # Errors
/// If the configuration cannot be used.
pub fn print_config(args: &ProcessArgs, out: &mut impl std::io::Write) -> anyhow::Result<()> {
    let text = args.config.as_deref().map(ConfigText::read).transpose()?;
    let mut config = reload::config(text.as_ref())?;
    let ProcessSettings { admin_address, log_level, log_format } = args.settings(&config.file.process);
    config.file.process.admin_address = Some(admin_address);
    config.file.process.log_level = Some(log_level);
    config.file.process.log_format = Some(log_format);
    write!(out, "{}", serde_saphyr::to_string::<ConfigFile>(&config.file)?)?;
    Ok(())
}

async fn kube_client() -> anyhow::Result<kube::Client> {
    let mut config = kube::Config::infer().await.map_err(|error| {
        anyhow::anyhow!(
            "no Kubernetes to talk to ({error}); set KUBECONFIG, or use `server.authentication: none` on one host"
        )
    })?;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(kube::Client::try_from(config)?)
}

/// Runs a future as a part of the program until `stop`; ending earlier is a failure of the program.
fn spawn(
    tasks: &mut Tasks,
    name: &'static str,
    stop: &CancellationToken,
    future: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(name, async move {
        tokio::select! {
            () = future => Err("it ended unasked"),
            () = stop.cancelled() => Ok(()),
        }
    });
}

fn access(client: Option<&kube::Client>, readiness: &Readiness, tasks: &mut Tasks, stop: &CancellationToken) -> Access {
    let Some(client) = client else { return Access::Open };
    let trusted = Arc::new(ArcSwap::default());
    readiness.wait_for(trust::READINESS, "whom to trust is not read yet");
    spawn(tasks, "authentication", stop, trust::follow(client.clone(), trusted.clone(), readiness.clone()));
    Access::Kubernetes(Box::new(Reviews {
        identifier: Identifier::new(trusted, client.clone()),
        authorizer: Authorizer::new(client.clone()),
    }))
}

fn certificate(
    config: &Config,
    client: Option<&kube::Client>,
    readiness: &Readiness,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Option<ServingCertificate> {
    let section = config.file.server.certificate.as_ref()?;
    let serving = ServingCertificate::default();
    readiness.wait_for(certificate::READINESS, "there is none yet");
    match (section, client) {
        (Certificate::Files(files), _) => {
            let (chain, key) = (files.certificate.clone(), files.key.clone());
            let (shown, readiness) = (serving.clone(), readiness.clone());
            spawn(tasks, "certificate", stop, async move {
                certificate::follow_files(&chain, &key, shown, readiness).await;
            });
        }
        (Certificate::SelfManaged(own), Some(client)) => {
            let managed = certificate::SelfManaged {
                client: client.clone(),
                namespace: config.own_namespace.clone().unwrap_or_default(),
                secret: own.secret.clone(),
                service: own.service.clone(),
                api_services: config.file.server.api_services.clone(),
            };
            spawn(tasks, "certificate", stop, managed.follow(serving.clone(), readiness.clone()));
        }
        // Refused by the configuration: without a cluster there is no certificate.
        (Certificate::SelfManaged(_), None) => return None,
    }
    Some(serving)
}

fn stages(shutdown: &Shutdown) -> Stages {
    Stages {
        draining: shutdown.draining().clone(),
        stop_accepting: shutdown.stop_accepting().clone(),
        give_up: shutdown.give_up().clone(),
    }
}

fn collector(
    config: &Config,
    api: &Api,
    metrics: Metrics,
    client: Option<&kube::Client>,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> anyhow::Result<Collector> {
    let fleet = match client {
        None => Fleet::listed(&config.file.direct),
        Some(client) => {
            let (fleet, watches) = Fleet::watching(client);
            let names = ["watch engines", "watch routers", "watch autoscalers"];
            for (name, watch) in names.into_iter().zip(watches) {
                spawn(tasks, name, stop, watch);
            }
            fleet
        }
    };
    let is_prometheus_primary = config.primary_is_prometheus();
    let backup = config.file.sources.backup;
    let prometheus: Option<&Prometheus> = config.file.prometheus.as_ref().filter(|_| is_prometheus_primary || backup);
    Ok(Collector {
        store: api.store.clone(),
        metrics,
        fleet,
        prometheus: prometheus.map(PrometheusSource::new).transpose()?,
        direct: (!is_prometheus_primary || backup).then(|| DirectSource::new(&config.file.direct)).transpose()?,
        is_prometheus_primary,
        scrape_interval: config.scrape_interval(),
        is_failing: std::sync::atomic::AtomicBool::default(),
    })
}
