//! Engines sleep instead of ending, and are woken instead of started.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testkit::{binary, eventually, http_client};
use tokio::time::Instant;

use crate::host::{DEADLINE, Host, engines, events_about, id, path, process};

const DEV_MODE: &str = "environment: {VLLM_SERVER_DEV_MODE: '1'}";

/// An entry of `models` whose engines start in two seconds and wake in a fifth of one. The load alone decides: nothing
/// is forecast in the first ten minutes.
fn sleeper(replicas: &str, environment: &str) -> Result<String> {
    Ok(format!(
        "name: demo\n  command: '\"{}\" serve demo --host 127.0.0.1 --port {{port}} --max-num-seqs 4 --step-ms 50 --startup 40 --wake-up 4 --time-scale 20'\n  \
         {replicas}\n  {environment}\n  sleep: {{engines: 1}}\n  objective: {{ttft: 150ms, interTokenLatency: 5ms}}\n  capacityPrior: 4\n  \
         forecast: {{season: 4h, tempo: 0.0125, planStep: 250ms}}\n  scaleDown: {{stabilizationSeconds: 1}}\n  drain: {{timeout: 60s, stopTimeout: 10s}}",
        path(&binary("engine-emulator")?)
    ))
}

/// Another autoscaler takes over with so many engines wanted; the one before is killed.
async fn take_over(host: &mut Host, count: u32) -> Result<()> {
    host.end(Signal::SIGKILL).await?;
    host.configure(&sleeper(&format!("minReplicas: {count}\n  maxReplicas: {count}"), DEV_MODE)?)?;
    host.start(&[]).await
}

/// Two engines, of which one sleeps after the second autoscaler has taken over: the one that sleeps, its process, and the
/// seconds of its start.
async fn with_one_asleep(host: &mut Host) -> Result<(String, i32, f64)> {
    host.configure(&sleeper("minReplicas: 2\n  maxReplicas: 2", DEV_MODE)?)?;
    host.start(&[]).await?;
    let both = host.wait_for_engines(2).await?;
    let state = host.state().await?;
    take_over(host, 1).await?;
    let (id, pid) = asleep(host).await?;
    ensure!(both.contains(&(id.clone(), pid)), "{id} is another one than {both:?}");
    let started = seconds(&state, &id, "is ready after ")?;
    Ok((id, pid, started))
}

/// Waits until one engine sleeps and another is ready.
async fn asleep(host: &Host) -> Result<(String, i32)> {
    host.wait("one asleep and one ready", |state| {
        let in_state = |name: &str| engines(state).iter().filter(|engine| engine["state"] == name).collect::<Vec<_>>();
        let (sleeping, ready) = (in_state("asleep"), in_state("ready"));
        let is_told = state["models"][0]["asleep"] == 1 && ready.len() == 1;
        sleeping.first().filter(|_| is_told).and_then(|engine| Some((id(engine), process(engine)?)))
    })
    .await
}

/// Seconds in the event about an engine that begins like this.
fn seconds(state: &Value, id: &str, beginning: &str) -> Result<f64> {
    let events = events_about(state, id);
    let told = events.iter().find_map(|event| event.strip_prefix(beginning)?.strip_suffix(" s")?.parse().ok());
    told.with_context(|| format!("no `{beginning}` about {id} in {events:?}"))
}

#[tokio::test]
async fn scaling_down_puts_to_sleep_and_scaling_up_wakes_sooner_than_a_start() -> Result<()> {
    let mut host = Host::new().await?;
    let (sleeping, pid, started) = with_one_asleep(&mut host).await?;
    let handed_over = std::fs::read_to_string(host.state_dir.join("engines.json"))?;
    ensure!(!handed_over.contains(&format!("\"{sleeping}\"")), "{sleeping} is still handed over: {handed_over}");

    // Nothing of it is lost when the autoscaler is killed.
    take_over(&mut host, 1).await?;
    assert_eq!(asleep(&host).await?, (sleeping.clone(), pid));
    let state = host.state().await?;
    ensure!(events_about(&state, &sleeping).contains(&"is adopted asleep"), "{:?}", events_about(&state, &sleeping));

    // The third one wants two: it is woken, and starts nothing.
    take_over(&mut host, 2).await?;
    let both = host.wait_for_engines(2).await?;
    ensure!(both.contains(&(sleeping.clone(), pid)), "{both:?}");
    let state = host.state().await?;
    let woken = seconds(&state, &sleeping, "is awake after ")?;
    ensure!((0.2..started).contains(&woken), "a wake of 0.2 s took {woken} s, a start of 2 s {started} s");
    let words = |state: &Value| {
        let terms = state["models"][0]["terms"].as_array()?;
        let term = terms.iter().find(|term| term["term"] == "standby")?["words"].as_str()?;
        term.contains("learned from 1 wake)").then(|| term.to_owned())
    };
    let words = host.wait("that the wake is learned", words).await?;
    ensure!(words.starts_with("No engine is asleep, up to 1 may be, at 10.00 %"), "{words}");
    Ok(())
}

#[tokio::test]
async fn a_killed_sleeper_is_replaced_by_a_start_and_none_is_left_in_the_end() -> Result<()> {
    let mut host = Host::new().await?;
    let (sleeping, pid, _) = with_one_asleep(&mut host).await?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    host.wait("the end of the sleeper", |state| {
        (engines(state).len() == 1 && state["models"][0]["asleep"] == 0).then_some(())
    })
    .await?;
    take_over(&mut host, 2).await?;
    let both = host.wait_for_engines(2).await?;
    let (fresh, _) = both.iter().find(|(id, _)| *id == "demo-2").with_context(|| format!("{both:?}"))?;
    ensure!(*fresh != sleeping, "{sleeping} is back");
    let started = seconds(&host.state().await?, fresh, "is ready after ")?;
    ensure!(started >= 2.0, "a start of 2 s took {started} s");
    // The end comes while one sleeps.
    take_over(&mut host, 1).await?;
    asleep(&host).await?;
    assert_eq!(host.end(Signal::SIGTERM).await?, 0);
    host.assert_empty().await
}

#[tokio::test]
async fn an_engine_without_dev_mode_ends_as_ever_and_the_fix_is_named_once() -> Result<()> {
    let mut host = Host::new().await?;
    let configure = |host: &Host, count: u32| {
        host.configure(&sleeper(&format!("minReplicas: {count}\n  maxReplicas: {count}"), "")?)
    };
    configure(&host, 3)?;
    host.start(&[]).await?;
    host.wait_for_engines(3).await?;
    host.end(Signal::SIGKILL).await?;
    configure(&host, 1)?;
    host.start(&[]).await?;
    host.wait_for_engines(1).await?;
    let state = host.state().await?;
    let events = state["events"].as_array().context("events")?;
    let messages: Vec<&str> = events.iter().filter_map(|event| event["message"].as_str()).collect();
    let named: Vec<_> = messages.iter().filter(|message| message.starts_with("cannot sleep: ")).collect();
    ensure!(named.len() == 1 && named[0].contains("VLLM_SERVER_DEV_MODE=1"), "{messages:?}");
    let ended = messages.iter().filter(|message| message.starts_with("gets SIGTERM")).count();
    ensure!(ended == 2, "{messages:?}");
    Ok(())
}

/// Asks for a few tokens, and returns the seconds until they were there.
async fn ask(host: &Host) -> Result<f64> {
    let asked = Instant::now();
    let body = serde_json::json!({"model": "demo", "prompt": "good morning", "max_tokens": 4});
    let answer = http_client()?.post(format!("{}/v1/completions", host.router)).json(&body).send().await?;
    answer.error_for_status().with_context(|| host.log())?;
    Ok(asked.elapsed().as_secs_f64())
}

#[tokio::test]
async fn the_last_engine_sleeps_and_a_held_request_wakes_it() -> Result<()> {
    let mut host = Host::new().await?;
    host.configure(&sleeper("minReplicas: 0\n  maxReplicas: 1", DEV_MODE)?)?;
    host.start(&[]).await?;
    let router = format!("{}/v1/models", host.router);
    eventually(DEADLINE, "the router", || host.get(&router)).await?;
    let cold = ask(&host).await?;
    let sleeps = |state: &Value| {
        let only = engines(state).first().filter(|engine| engines(state).len() == 1 && engine["state"] == "asleep")?;
        process(only)
    };
    let pid = host.wait("the sleep of the only engine", sleeps).await?;
    let woken = ask(&host).await?;
    ensure!(cold >= 2.0 && woken < cold, "a wake took {woken:.2} s and a start {cold:.2} s");
    ensure!(host.wait("the sleep after that", sleeps).await? == pid, "another process sleeps");
    Ok(())
}
