//! Engines die, the autoscaler dies: requests go on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::load::client::{Client, Failure};
use e2e::load::replay::Arrival;
use e2e::load::run::{Finished, Load, start};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::host::{DEADLINE, Host, emulated, engines, events_about, id, process};

/// Six requests a second of a second each: two at a time for each of three engines.
fn steady_load(host: &Host, stop: &CancellationToken) -> Result<mpsc::Receiver<Finished>> {
    let client = Client::new(&host.router, Duration::from_secs(60))?;
    let load = Load { client, model: "demo".into(), ignore_eos: true };
    let arrival =
        |number: u64| Arrival { at: Duration::from_millis(160 * number), prompt_tokens: 30, output_tokens: 400 };
    Ok(start(load, (0..2000).map(arrival).collect(), stop.clone()))
}

/// Collects outcomes beside the test.
fn collect(mut outcomes: mpsc::Receiver<Finished>) -> tokio::task::JoinHandle<Vec<Finished>> {
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(finished) = outcomes.recv().await {
            all.push(finished);
        }
        all
    })
}

#[tokio::test]
async fn no_request_fails_but_those_in_a_killed_engine_and_nothing_is_left_in_the_end() -> Result<()> {
    let mut host = Host::new().await?;
    host.configure(&emulated("minReplicas: 3\n  maxReplicas: 3")?)?;
    host.start(&[]).await?;
    host.wait_for_engines(3).await?;
    let started = Instant::now();
    let stop = CancellationToken::new();
    let outcomes = collect(steady_load(&host, &stop)?);

    // An engine with requests in it is killed: it leaves the list at once and comes back.
    let (victim, victim_process, in_flight) = busy_engine(&host).await?;
    kill(Pid::from_raw(victim_process), Signal::SIGKILL)?;
    let killed = started.elapsed();
    host.wait("the restart of the killed engine", |state| {
        let back = engines(state).iter().find(|engine| id(engine) == victim)?;
        (back["state"] == "ready" && back["restarts"] == 1).then_some(())
    })
    .await?;
    let engines_before = host.wait_for_engines(3).await?;

    // The autoscaler is killed: engines, router and streams go on; the next one adopts them, and with its new
    // configuration one engine too many drains in mid-stream.
    host.end(Signal::SIGKILL).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (id, pid) in &engines_before {
        ensure!(kill(Pid::from_raw(*pid), None).is_ok(), "{id} has ended with the autoscaler");
    }
    host.configure(&emulated("minReplicas: 2\n  maxReplicas: 2")?)?;
    host.start(&[]).await?;
    let drained = drained_in_mid_stream(&host).await?;
    let engines_after = host.wait_for_engines(2).await?;
    ensure!(engines_after.iter().all(|engine| engines_before.contains(engine)), "adopted: {engines_after:?}");
    let state = host.state().await?;
    let story = events_about(&state, &drained);
    ensure!(story.contains(&"is adopted"), "{story:?}");
    ensure!(story.iter().any(|event| event.starts_with("gets SIGTERM: idle after draining")), "{story:?}");

    host.wait("sixty answers", |state| {
        let answered = state["models"][0]["answered_total"]["200"].as_f64()?;
        (answered >= 60.0).then_some(())
    })
    .await?;
    stop.cancel();
    let outcomes = outcomes.await?;
    check_failures(&outcomes, killed, in_flight)?;
    assert_eq!(host.end(Signal::SIGTERM).await?, 0);
    host.assert_empty().await
}

/// A ready engine that the router has requests at, its process and their number.
async fn busy_engine(host: &Host) -> Result<(String, i32, u64)> {
    host.wait("an engine with requests", |state| {
        let engine = engines(state)
            .iter()
            .find(|engine| engine["state"] == "ready" && engine["in_flight"].as_u64() >= Some(2))?;
        Some((id(engine), process(engine)?, engine["in_flight"].as_u64()?))
    })
    .await
}

/// Waits for an engine that drains while requests are in it.
async fn drained_in_mid_stream(host: &Host) -> Result<String> {
    host.wait("an engine that drains with requests in it", |state| {
        let engine = engines(state)
            .iter()
            .find(|engine| engine["state"] == "draining" && engine["in_flight"].as_u64() > Some(0))?;
        Some(id(engine))
    })
    .await
}

/// Only streams that had begun in the killed engine may fail, and at that moment.
fn check_failures(outcomes: &[Finished], killed: Duration, in_flight: u64) -> Result<()> {
    ensure!(outcomes.len() >= 60, "only {} requests were sent", outcomes.len());
    let failed: Vec<&Finished> = outcomes.iter().filter(|finished| finished.outcome.failure.is_some()).collect();
    for finished in &failed {
        let failure = finished.outcome.failure.as_ref().context("failed")?;
        ensure!(matches!(failure, Failure::CutOff(_) | Failure::InStream(_)), "{failure}");
        let ended = finished.arrival.at + Duration::from_secs_f64(finished.outcome.total_seconds);
        let after = ended.as_secs_f64() - killed.as_secs_f64();
        ensure!((-0.5..5.0).contains(&after), "a stream failed {after:.1} s after the kill: {failure}");
    }
    // Between the look and the kill a few requests may have come.
    ensure!(failed.len() as u64 <= in_flight + 2, "{} failed, {in_flight} were in the killed engine", failed.len());
    Ok(())
}

#[tokio::test]
async fn the_stack_that_is_left_running_is_adopted_whole() -> Result<()> {
    let mut host = Host::new().await?;
    host.configure(&emulated("minReplicas: 1\n  maxReplicas: 1")?)?;
    host.start(&["--leave-running"]).await?;
    let engines_before = host.wait_for_engines(1).await?;
    let programs = |state: &serde_json::Value| {
        let programs = state["programs"].as_array()?;
        let pids: Vec<i64> = programs.iter().filter_map(|program| program["pid"].as_i64()).collect();
        (pids.len() == 2).then_some(pids)
    };
    let programs_before = host.wait("router and adapter", programs).await?;
    assert_eq!(host.end(Signal::SIGTERM).await?, 0);
    host.get(&format!("{}/v1/models", host.router)).await.context("the router runs on")?;

    // A second autoscaler on the same folder is refused while the first lives.
    host.start(&[]).await?;
    assert_eq!(host.wait_for_engines(1).await?, engines_before);
    assert_eq!(host.wait("router and adapter", programs).await?, programs_before);
    let mut second = host.launch(&[])?;
    assert_eq!(second.exit_code(DEADLINE).await?, 1);
    assert!(host.log().contains("in use by another autoscaler (process "), "{}", host.log());

    // The adapter beside it answers as HPA would ask.
    let metric =
        "apis/external.metrics.k8s.io/v1beta1/namespaces/default/vllm_num_requests_running?labelSelector=model%3Ddemo";
    let url = format!("{}/{metric}", host.adapter);
    let value =
        testkit::eventually(DEADLINE, "an external metric", || host.get(&url)).await.with_context(|| host.log())?;
    assert!(value.contains("\"value\":\"0\""), "{value}");
    assert_eq!(host.end(Signal::SIGTERM).await?, 0);
    host.assert_empty().await
}

#[tokio::test]
async fn processes_that_no_state_knows_are_ended_before_anything_starts() -> Result<()> {
    let mut host = Host::new().await?;
    host.configure(&emulated("minReplicas: 1\n  maxReplicas: 1")?)?;
    host.start(&[]).await?;
    let unknown = host.wait_for_engines(1).await?;
    host.end(Signal::SIGKILL).await?;
    std::fs::remove_file(host.state_dir.join("state.json"))?;
    host.start(&[]).await?;
    let engines = host.wait_for_engines(1).await?;
    assert_ne!(engines[0].1, unknown[0].1);
    assert!(kill(Pid::from_raw(unknown[0].1), None).is_err(), "{} still runs", unknown[0].1);
    assert_eq!(host.processes_left().len(), 3, "engine, router, adapter");
    assert_eq!(host.end(Signal::SIGINT).await?, 0);
    host.assert_empty().await
}
