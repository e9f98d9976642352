use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::eventually;
use tokio::sync::mpsc;

use crate::fake::{Fake, Reply};
use crate::harness::{PATIENCE, Router};

#[tokio::test]
async fn on_sigterm_new_requests_are_still_taken_streams_finish_and_the_exit_is_clean() {
    let (engine_side, chunks) = mpsc::channel(1);
    let chunks = std::sync::Mutex::new(Some(chunks));
    let engine = Fake::start(&["m"], move |_| {
        chunks.lock().unwrap().take().map_or_else(|| Reply::json(200, "{}"), Reply::Stream)
    })
    .await;
    let mut router = Router::before(&[engine.url()], &[]).await;
    engine_side.send(Ok("data: {}\n\n".into())).await.unwrap();
    let mut stream = router.chat_stream().await;
    stream.chunk().await.unwrap().unwrap();

    router.program.signal(Signal::SIGTERM).unwrap();
    eventually(PATIENCE, "/readyz to fail", || async {
        let status = router.client.get(format!("{}/readyz", router.admin)).send().await?.status();
        anyhow::ensure!(status == 503, "{status}");
        Ok(())
    })
    .await
    .unwrap();
    let late = router.chat().await;
    assert_eq!(late.status(), 200, "a load balancer needs time to notice");
    assert_eq!(late.headers()["connection"], "close");
    let health = router.client.get(format!("{}/health", router.url)).send().await.unwrap();
    assert_eq!(health.status(), 503);
    eventually(PATIENCE, "the port to close", || async {
        let fresh = testkit::http_client()?;
        anyhow::ensure!(fresh.get(format!("{}/version", router.url)).send().await.is_err(), "still open");
        Ok(())
    })
    .await
    .unwrap();
    assert!(router.program.is_running(), "the stream is not over");
    engine_side.send(Ok("data: [DONE]\n\n".into())).await.unwrap();
    drop(engine_side);
    assert_eq!(stream.text().await.unwrap(), "data: [DONE]\n\n");
    assert_eq!(router.program.exit_code(Duration::from_secs(10)).await.unwrap(), 0);
}
