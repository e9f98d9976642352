use testkit::eventually;

use crate::fake::{Fake, Reply};
use crate::harness::{PATIENCE, Router};

#[tokio::test]
async fn limits_and_models_follow_the_file_and_a_bad_file_changes_nothing() {
    let engine = Fake::start(&["m"], |_| Reply::json(200, "{}")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.yaml");
    let write =
        |rest: &str| std::fs::write(&file, format!("engines: {{static: ['{}']}}\n{rest}", engine.url())).unwrap();
    write("maxBodyBytes: 100\n");
    let router = Router::start_in(folder, &["--config", &file.display().to_string()]).await;
    router.ready().await;
    let long = format!("{{\"model\":\"m\",\"x\":\"{}\"}}", "y".repeat(200));
    assert_eq!(router.post("/v1/completions", long.clone()).await.status(), 413);

    write("maxBodyBytes: 1000\nmodels: {asleep: {objective: {ttft: 250ms}}}\n");
    router.metric_becomes("router_objective_time_to_first_token_seconds{model_name=\"asleep\"}", 0.25).await;
    assert_eq!(router.post("/v1/completions", long.clone()).await.status(), 200);
    assert_eq!(router.metric("router_queue_depth{model_name=\"asleep\"}").await, Some(0.0));

    write("maxBodyBites: 1\n");
    router.metric_becomes("router_config_good", 0.0).await;
    eventually(PATIENCE, "a line that names the key", || async {
        let output = router.program.output();
        anyhow::ensure!(output.contains("maxBodyBites"), "{output}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(router.post("/v1/completions", long).await.status(), 200);
    write("maxBodyBytes: 1000\n");
    router.metric_becomes("router_config_good", 1.0).await;
}
