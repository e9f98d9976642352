//! A recurring day on a real cluster: an EngineAutoscaler and some HPAs follow the same load at the same time, each with a
//! Deployment of its own. `e2e/cluster/recurring-day.sh` runs it; the figures are in `docs/benchmarks/cluster.md`.
//!
//! ```text
//! values (one Deployment for each way to scale) ─▶ helm install ─▶ the same arrivals to each ─▶ days ─▶ tables
//!                                                                  engines' pods, by watch ──┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use e2e::cluster::{Cluster, EngineLives, Life, Release, conditions, engine_seconds, present, progress, starts};
use e2e::load::client::Client;
use e2e::load::day;
use e2e::load::replay::{Arrival, RateReplay};
use e2e::load::report::{Objective, Report};
use e2e::load::run::{self, Load};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const RELEASE: &str = "day";
const NAMESPACE: &str = "e2e-day";
/// The model that the EngineAutoscaler scales.
const OURS: &str = "eas";

/// Engines run twice as fast as life.
const TIME_SCALE: f64 = 2.0;
/// Requests an engine runs at once.
const SEQUENCES: u32 = 8;
/// Most engines of a model.
const MOST: u32 = 6;
/// A step takes 100 ms of engine time, an answer has 40 tokens: 4 s of engine time, so four requests a second of wall time
/// keep an engine busy, and sixteen keep four.
const PEAK_REQUESTS_PER_SECOND: f64 = 16.0;
const MEAN_OUTPUT_TOKENS: f64 = 40.0;
const MEAN_PROMPT_TOKENS: f64 = 100.0;
/// Wall time; 3 s and 200 ms of engine time.
const OBJECTIVE: Objective = Objective { ttft_seconds: 1.5, inter_token_seconds: 0.1 };
/// A start takes about 12 s, a twentieth of the four minutes of life: so much faster go the settings that are minutes.
const TEMPO: f64 = 0.05;

/// Arguments; each can come from the environment.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of a day, at least 24 plan steps of 2 s
    #[arg(long, env = "DAY_SECONDS", default_value_t = 300)]
    day: u64,
    /// Days
    #[arg(long, env = "DAYS", default_value_t = 4)]
    days: u32,
    /// Days at the beginning that are not scored
    #[arg(long, env = "TRAINING_DAYS", default_value_t = 2)]
    training: u32,
    /// HPAs to compare with, by their target of running requests an engine (of 8)
    #[arg(long, env = "HPA_RUNNING", default_value = "6,3,2", value_delimiter = ',')]
    hpa: Vec<u32>,
    /// Share of requests that may not be late, as the EngineAutoscaler is told
    #[arg(long, env = "ATTAINMENT", default_value = "98%")]
    attainment: String,
    /// Seed of arrivals and lengths
    #[arg(long, env = "SEED", default_value_t = 1)]
    seed: u64,
    /// Accepted and ignored: what starts this also starts tests
    #[arg(long, hide = true)]
    nocapture: bool,
}

/// One way to scale, with a Deployment of its own.
#[derive(Debug, Clone)]
struct Scaler {
    model: String,
    title: String,
    autoscaling: Value,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.training < args.days, "--training {} leaves no day of {} to score", args.training, args.days);
    let Some(cluster) = Cluster::connect("recurring day").await? else { return Ok(()) };
    let cluster = Arc::new(cluster);
    let scalers = scalers(&args);
    let release = Release::install(&cluster, RELEASE, NAMESPACE, &values(&args, &scalers).to_string()).await?;
    let outcome = compare(&cluster, &release, &args, &scalers).await;
    if outcome.is_err() {
        release.print_diagnostics().await;
    }
    release.uninstall().await?;
    outcome
}

fn scalers(args: &Args) -> Vec<Scaler> {
    let ours = Scaler {
        model: OURS.to_owned(),
        title: "EngineAutoscaler".to_owned(),
        autoscaling: json!({
            "kind": "EngineAutoscaler", "minReplicas": 1, "maxReplicas": MOST,
            "engineAutoscaler": {
                "forecast": {"season": format!("{}s", args.day), "tempo": TEMPO, "planStep": "2s"},
                "scaleDown": {"stabilizationSeconds": 3},
            },
        }),
    };
    let hpa = |running: &u32| {
        let model = format!("hpa{running}");
        let queue = json!({"type": "External", "external": {
            "metric": {"name": "router_queue_depth", "selector": {"matchLabels": {"model": model}}},
            "target": {"type": "AverageValue", "averageValue": "2"},
        }});
        // Kubernetes' defaults, twenty times as fast: 5 minutes of stabilisation; twice the pods or four more in 15 s.
        let policies = json!([
            {"type": "Percent", "value": 100, "periodSeconds": 1},
            {"type": "Pods", "value": 4, "periodSeconds": 1},
        ]);
        Scaler {
            title: format!("HPA, {running} running"),
            autoscaling: json!({
                "kind": "HPA", "minReplicas": 1, "maxReplicas": MOST,
                "hpa": {
                    "waitingPerReplica": "2", "runningPerReplica": running.to_string(), "extraMetrics": [queue],
                    "behavior": {
                        "scaleUp": {"policies": policies},
                        "scaleDown": {"stabilizationWindowSeconds": 15, "policies": [policies[0]]},
                    },
                },
            }),
            model,
        }
    };
    std::iter::once(ours).chain(args.hpa.iter().map(hpa)).collect()
}

/// Values of the release, over those of the emulator.
fn values(args: &Args, scalers: &[Scaler]) -> Value {
    let engines = scalers.iter().map(|scaler| {
        json!({
            "name": scaler.model, "modelURL": scaler.model,
            "repository": "localhost/vllm-prod-stack-emulator", "tag": "e2e",
            "requestCPU": "10m", "requestMemory": "32Mi",
            "vllmConfig": {
                "maxModelLen": 4096, "maxNumSeqs": SEQUENCES,
                "extraArgs": ["--startup", "20", "--step-ms", "100", "--time-scale", format!("{TIME_SCALE}")],
            },
            "startupProbe": {"periodSeconds": 1},
            "objective": {"ttft": "1500ms", "interTokenLatency": "100ms", "attainment": args.attainment},
            "autoscaling": scaler.autoscaling,
        })
    });
    json!({
        "servingEngineSpec": {
            "drain": {"preStopSeconds": 1, "gracePeriodSeconds": 60},
            "modelSpec": engines.collect::<Vec<_>>(),
        },
        // What an engine cannot run yet waits in the router, in order of the objective, whoever scales.
        "routerSpec": {"replicaCount": 1, "maxInFlightPerEngine": SEQUENCES + 1},
        "autoscaler": {"replicaCount": 1, "controlPeriod": "1s", "capacityPrior": SEQUENCES},
        "adapter": {"replicaCount": 1, "direct": {"scrapeInterval": "1s"}, "timing": {"interval": "250ms"}},
        "prometheus": {"url": ""},
    })
}

async fn compare(cluster: &Arc<Cluster>, release: &Release, args: &Args, scalers: &[Scaler]) -> Result<()> {
    for scaler in &scalers[1..] {
        let hpa = format!("{}/{RELEASE}-{}", release.hpas(), scaler.model);
        testkit::eventually(Duration::from_secs(60), "an HPA that sees its metrics", || async {
            let hpa = cluster.get(&hpa).await?;
            let active = conditions(&hpa).iter().any(|(kind, status, ..)| kind == "ScalingActive" && status == "True");
            ensure!(active, "status: {}", hpa["status"]);
            Ok(())
        })
        .await?;
    }
    let router = cluster.node_port(NAMESPACE, &format!("{RELEASE}-router-service")).await?;
    let arrivals = arrivals(args);
    progress(NAMESPACE, &format!("{} requests to each of {} models", arrivals.len(), scalers.len()));
    let lives = cluster.watch_engines(NAMESPACE);
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for (place, scaler) in scalers.iter().enumerate() {
        let client = Client::new(&router, Duration::from_secs(60))?;
        let load = Load { client, model: scaler.model.clone(), ignore_eos: true };
        let mut outcomes = run::start(load, arrivals.clone(), CancellationToken::new());
        let mut days: Vec<Report> = std::iter::repeat_with(Report::default).take(args.days as usize).collect();
        let mut scored = Report::default();
        let (day_length, training) = (Duration::from_secs(args.day), args.training as usize);
        clients.spawn(async move {
            while let Some(finished) = outcomes.recv().await {
                let day = finished.arrival.at.div_duration_f64(day_length);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a run has few days")]
                let day = (day as usize).min(days.len() - 1);
                days[day].add(&finished.outcome, OBJECTIVE);
                if day >= training {
                    scored.add(&finished.outcome, OBJECTIVE);
                }
            }
            (place, days, scored)
        });
    }
    narrate(cluster, release, args, scalers, &lives, start).await?;
    let mut felt = clients.join_all().await;
    felt.sort_by_key(|(place, ..)| *place);
    let felt: Vec<(Vec<Report>, Report)> = felt.into_iter().map(|(_, days, scored)| (days, scored)).collect();
    print_tables(args, scalers, &felt, &lives.all(), start);
    Ok(())
}

/// What is sent when: Poisson arrivals whose rate follows the day.
fn arrivals(args: &Args) -> Vec<Arrival> {
    let replay = RateReplay {
        pace: 1.0,
        peak_requests_per_second: PEAK_REQUESTS_PER_SECOND,
        mean_prompt_tokens: MEAN_PROMPT_TOKENS,
        mean_output_tokens: MEAN_OUTPUT_TOKENS,
        seed: args.seed,
    };
    let steps = usize::try_from(args.day).unwrap_or(usize::MAX);
    replay.arrivals(1.0, &day::days(args.days as usize, steps))
}

/// Says each ten seconds how many engines there are and are Ready, and at the end of a day what the EngineAutoscaler goes by.
async fn narrate(
    cluster: &Cluster,
    release: &Release,
    args: &Args,
    scalers: &[Scaler],
    lives: &EngineLives,
    start: Instant,
) -> Result<()> {
    let look = Duration::from_secs(10);
    let day = Duration::from_secs(args.day);
    let mut told = 0;
    let mut next = start;
    while start.elapsed() < day * args.days {
        next += look;
        tokio::time::sleep_until(next.min(start + day * args.days)).await;
        let (now, all) = (Instant::now(), lives.all());
        let hour = (now - start).div_duration_f64(day) * 24.0;
        let engines = scalers.iter().map(|scaler| {
            let (there, ready) = present(&all, &scaler.model, now);
            format!("{} {there} ({ready})", scaler.model)
        });
        let share = day::load_at(hour % 24.0) * 100.0;
        let line = engines.collect::<Vec<_>>().join(", ");
        progress(
            NAMESPACE,
            &format!("day {} {:02.0} h, load {share:.0} %: engines (Ready): {line}", told + 1, (hour % 24.0).floor()),
        );
        if now >= start + day * (told + 1) {
            told += 1;
            let ours = cluster.get(&format!("{}/{RELEASE}-{OURS}", release.engine_autoscalers())).await?;
            for (term, words) in terms(&ours) {
                progress(OURS, &format!("{term}: {words}"));
            }
        }
    }
    Ok(())
}

/// What the last decision rests on, term by term.
fn terms(autoscaler: &Value) -> Vec<(String, String)> {
    let list = autoscaler["status"]["lastDecision"]["terms"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.iter().map(|one| (text(&one["term"]), text(&one["words"]))).collect()
}

fn print_tables(args: &Args, scalers: &[Scaler], felt: &[(Vec<Report>, Report)], lives: &[Life], start: Instant) {
    let at = |day: u32| start + Duration::from_secs(args.day) * day;
    let length = |from: u32, to: u32| (at(to) - at(from)).as_secs_f64();
    let seconds = |model: &str, from: u32, to: u32| engine_seconds(lives, model, at(from), at(to));
    let ours = seconds(OURS, args.training, args.days);
    print("");
    print(
        "| scaled by | requests | failed | within the objective | first token p50 / p95 / p99 | engine-seconds | mean engines | starts | × EngineAutoscaler |",
    );
    print("|---|---|---|---|---|---|---|---|---|");
    for (scaler, (_, report)) in scalers.iter().zip(felt) {
        let spent = seconds(&scaler.model, args.training, args.days);
        print(&format!(
            "| {} | {} | {} | {} | {} | {spent:.0} | {:.2} | {} | {:.2} |",
            scaler.title,
            report.requests(),
            report.failed(),
            share(report),
            [0.5, 0.95, 0.99].map(|q| first_token(report, q)).join(" / "),
            spent / length(args.training, args.days),
            starts(lives, &scaler.model, at(args.training), at(args.days)),
            spent / ours,
        ));
    }
    print("");
    let header: String = scalers.iter().map(|scaler| format!(" {} |", scaler.title)).collect();
    print(&format!("| day: within the objective, engine-seconds, starts |{header}"));
    print(&format!("|{}", "---|".repeat(scalers.len() + 1)));
    for day in 0..args.days {
        let cells: String = scalers
            .iter()
            .zip(felt)
            .map(|(scaler, (days, _))| {
                let spent = seconds(&scaler.model, day, day + 1);
                let starts = starts(lives, &scaler.model, at(day), at(day + 1));
                format!(" {}, {spent:.0}, {starts} |", share(&days[day as usize]))
            })
            .collect();
        print(&format!("| {}{} |{cells}", day + 1, if day < args.training { " (training)" } else { "" }));
    }
    print("");
    let mut waits: Vec<f64> =
        lives.iter().filter_map(|life| Some((life.ready? - life.created).as_secs_f64())).collect();
    waits.sort_by(f64::total_cmp);
    if let (Some(median), Some(most)) = (waits.get(waits.len() / 2), waits.last()) {
        print(&format!("{} starts took {median:.1} s (median) to {most:.1} s from the pod to Ready.", waits.len()));
    }
    for (scaler, (_, report)) in scalers.iter().zip(felt) {
        for example in report.examples() {
            print(&format!("{}: {example}", scaler.title));
        }
    }
}

fn share(report: &Report) -> String {
    report.share_within_objective().map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

/// Engine time.
fn first_token(report: &Report, q: f64) -> String {
    report.ttft_seconds(q).map_or_else(|| "–".to_owned(), |seconds| format!("{:.2} s", seconds * TIME_SCALE))
}

#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
fn print(line: &str) {
    println!("{line}");
}
