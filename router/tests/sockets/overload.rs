//! More requests than the engines can run: who gets the places, and where the others wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::eventually;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::fake::{Fake, Reply, Seen};
use crate::harness::{PATIENCE, Router};

const DEPTH: &str = "router_queue_depth{model_name=\"m\"}";
const LATE: &str = "router_queue_late{model_name=\"m\"}";
const OVERTAKES: &str = "router_queue_overtakes_total{model_name=\"m\"}";
/// What the harness hands over for model `m`.
const OBJECTIVE: Duration = Duration::from_millis(1500);
/// How long an engine works on a request.
const SERVICE: Duration = Duration::from_millis(250);
/// Enough for two engines to be busy with for longer than the objective: 8 × 250 ms.
const BURST: usize = 16;
/// What comes when the burst is late already.
const FRESH: usize = 4;

fn ask(router: &Router, number: usize) -> tokio::task::JoinHandle<u16> {
    let request = router.client.post(format!("{}/v1/completions", router.url));
    let request = request.body(format!("{{\"model\":\"m\",\"number\":{number}}}"));
    tokio::spawn(async move {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        response.text().await.unwrap();
        status
    })
}

fn number_of(request: &Seen) -> usize {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    usize::try_from(body["number"].as_u64().unwrap()).unwrap()
}

/// A stream whose first event comes at once and whose end comes when `work` is done.
fn stream_until(work: impl Future<Output = ()> + Send + 'static) -> Reply {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        sender.send(Ok("data: {}\n\n".into())).await.unwrap();
        work.await;
    });
    Reply::Stream(receiver)
}

/// Two engines with one place each, both taken; a burst waits until it is late, then fresh requests come and the places
/// become free. Gives how many requests reached an engine within the objective, and how many overtook.
async fn in_time_under(discipline: &str) -> (usize, f64) {
    let reached: Arc<Mutex<HashMap<usize, Instant>>> = Arc::default();
    let gate = Arc::new(Semaphore::new(0));
    let mut engines = Vec::new();
    for _ in 0..2 {
        let (reached, gate) = (reached.clone(), gate.clone());
        let answer = move |request: &Seen| {
            let number = number_of(request);
            reached.lock().unwrap().insert(number, Instant::now());
            let gate = gate.clone();
            stream_until(async move {
                match number {
                    0 | 1 => drop(gate.acquire().await.unwrap()),
                    _ => tokio::time::sleep(SERVICE).await,
                }
            })
        };
        engines.push(Fake::start(&["m"], answer).await);
    }
    let list = [("a", &*engines[0].url(), "ready"), ("b", &*engines[1].url(), "ready")];
    let flags = ["--max-in-flight-per-engine", "1", "--queue-discipline", discipline];
    let router = Router::following(&list, &flags).await;

    let mut sent = HashMap::new();
    let mut answers = vec![ask(&router, 0), ask(&router, 1)];
    eventually(PATIENCE, "both engines at work", || async {
        anyhow::ensure!(reached.lock().unwrap().len() == 2);
        Ok(())
    })
    .await
    .unwrap();
    let mut send = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            sent.insert(number, Instant::now());
            answers.push(ask(&router, number));
        }
    };
    send(2..2 + BURST);
    router.metric_becomes(LATE, BURST as f64).await;
    send(2 + BURST..2 + BURST + FRESH);
    router.metric_becomes(DEPTH, (BURST + FRESH) as f64).await;
    gate.add_permits(2);
    for answer in answers {
        assert_eq!(answer.await.unwrap(), 200, "late requests are served as well");
    }
    router.metric_becomes(LATE, 0.0).await;
    let reached = reached.lock().unwrap().clone();
    let in_time = sent.iter().filter(|(number, sent)| reached[number].duration_since(**sent) < OBJECTIVE).count();
    (in_time, router.metric(OVERTAKES).await.unwrap())
}

#[tokio::test]
async fn after_a_burst_deadline_meets_the_objective_of_those_who_still_can_and_fifo_of_nobody() {
    let (deadline, fifo) = tokio::join!(in_time_under("deadline"), in_time_under("fifo"));
    assert_eq!(deadline.0, FRESH, "requests in time under deadline");
    assert_eq!(fifo.0, 0, "requests in time under fifo: the burst takes longer than the objective");
    assert!((deadline.1 - FRESH as f64).abs() < 1e-9, "each fresh one overtook: {}", deadline.1);
    assert!(fifo.1.abs() < 1e-9, "nobody overtook under fifo: {}", fifo.1);
}

#[tokio::test]
async fn an_automatic_limit_keeps_in_the_router_what_would_wait_in_the_engine() {
    const PLACES: u64 = 4;
    let held = Arc::new(AtomicU64::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let (engine_held, engine_gate) = (held.clone(), gate.clone());
    let engine = Fake::start(&["m"], move |request| {
        if request.path == "/metrics" {
            let held = engine_held.load(Ordering::SeqCst);
            let (running, waiting) = (held.min(PLACES), held.saturating_sub(PLACES));
            let page = format!(
                "vllm:num_requests_running{{model_name=\"m\"}} {running}\nvllm:num_requests_waiting{{model_name=\"m\"}} {waiting}\n"
            );
            return Reply::Whole(200, vec![("content-type", "text/plain")], page.into());
        }
        engine_held.fetch_add(1, Ordering::SeqCst);
        let (held, gate) = (engine_held.clone(), engine_gate.clone());
        stream_until(async move {
            gate.acquire().await.unwrap().forget();
            held.fetch_sub(1, Ordering::SeqCst);
        })
    })
    .await;
    let router = Router::following(&[("a", &engine.url(), "ready")], &["--max-in-flight-per-engine", "auto"]).await;
    let mut answers: Vec<_> = (0..12).map(|number| ask(&router, number)).collect();
    eventually(PATIENCE, "the limit to be learned", || async {
        let page = router.engines().await;
        anyhow::ensure!(page["engines"][0]["room"] == PLACES && page["engines"][0]["in_flight"] == 12, "{page}");
        Ok(())
    })
    .await
    .unwrap();
    answers.extend((12..15).map(|number| ask(&router, number)));
    router.metric_becomes(DEPTH, 3.0).await;
    assert_eq!(held.load(Ordering::SeqCst), 12, "none of the new ones went to the engine");
    gate.add_permits(15);
    for answer in answers {
        assert_eq!(answer.await.unwrap(), 200);
    }
    router.metric_becomes(DEPTH, 0.0).await;
}
