//! A real model on llama.cpp behind router and standalone mode.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::host::{Host, path};

fn llama_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("llama")
}

/// Installs engine and client once; says what is missing if it cannot.
async fn installed() -> Result<PathBuf> {
    let output = Command::new(llama_folder().join("install.sh")).output().await?;
    ensure!(output.status.success(), "install.sh: {}", String::from_utf8_lossy(&output.stderr));
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()).join("venv/bin/python"))
}

#[tokio::test]
async fn a_real_engine_answers_the_official_client_and_goes_from_one_to_two() -> Result<()> {
    let python = installed().await?;
    let mut host = Host::new().await?;
    let model = format!(
        "name: smollm2\n  command: '\"{}\" \"{}\" --port {{port}} --parallel 2 --threads 1'\n  minReplicas: 1\n  maxReplicas: 2\n  \
         objective: {{ttft: 10s, interTokenLatency: 1s, attainment: 90%}}\n  capacityPrior: 2\n  forecast: {{season: 10m, tempo: 0.0125, planStep: 500ms}}\n  scaleDown: {{stabilizationSeconds: 5}}\n  \
         drain: {{timeout: 60s, stopTimeout: 10s}}",
        path(&python),
        path(&llama_folder().join("serve.py")),
    );
    host.configure(&model)?;
    host.start(&[]).await?;
    host.wait_for_engines(1).await?;

    // The client checks what it gets and goes on asking, six at a time, until it is told to stop.
    let client = Command::new(&python)
        .args([path(&llama_folder().join("client.py")), format!("{}/v1", host.router)])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let reason = host
        .wait("two engines and the reason", |state| {
            let because = state["models"][0]["because"].as_array()?;
            let seen = because.iter().find(|reason| reason["reason"] == "RouterViewOnly")?;
            let ready = state["models"][0]["now"]["ready"].as_u64();
            (ready == Some(2)).then(|| seen["message"].as_str().unwrap_or_default().to_owned())
        })
        .await?;
    ensure!(reason.contains("no vLLM metrics"), "{reason}");
    // Closing its input tells it to stop.
    let output = client.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "client: {said}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(said.contains("plain ok") && said.contains("stream ok") && said.contains("failed 0"), "{said}");
    let code = host.end(Signal::SIGTERM).await.context("stop")?;
    ensure!(code == 0, "ended with {code}");
    host.assert_empty().await
}
