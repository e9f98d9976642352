//! `autoscaler crd`: print the CustomResourceDefinition, or apply it.

use std::time::Duration;

use anyhow::Context as _;
use autoscaler_api::EngineAutoscaler;
use clap::Subcommand;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, CustomResourceExt as _, ResourceExt as _};

/// How long a fresh definition may take to be served.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);

/// Owner of the definition's fields: the name under which Helm applies `crds/`. Under another, Helm 4 refuses to install a
/// chart whose definition differs from the one that is there ("conflict occurred while applying object").
const FIELD_MANAGER: &str = "helm";

/// What to do with the definition.
#[derive(Debug, Clone, Subcommand)]
pub enum CrdCommand {
    /// Print it as YAML, as the chart ships it
    Print,
    /// Create it, or bring it up to date, in the current cluster
    Apply,
}

/// Runs the command.
///
/// # Errors
/// If there is no cluster, or it refuses the definition.
pub async fn run(command: CrdCommand) -> anyhow::Result<()> {
    match command {
        CrdCommand::Print => print(&autoscaler_api::crd_yaml()),
        CrdCommand::Apply => {
            let client = Client::try_default().await.context("find the cluster: neither in a pod nor a kubeconfig")?;
            let name = apply(client).await?;
            print(&format!("customresourcedefinition {name} applied\n"))
        }
    }
}

async fn apply(client: Client) -> anyhow::Result<String> {
    let definition = EngineAutoscaler::crd();
    let name = definition.name_any();
    let api: Api<CustomResourceDefinition> = Api::all(client);
    // Forced: Helm installed the first version, and an upgrade has to take its fields over.
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(&definition)).await.with_context(|| format!("apply {name}"))?;
    let established = async {
        loop {
            if is_established(&api.get(&name).await?) {
                return Ok::<_, kube::Error>(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(ESTABLISHED_WITHIN, established)
        .await
        .with_context(|| format!("{name} is not served after {ESTABLISHED_WITHIN:?}"))?
        .with_context(|| format!("read {name}"))?;
    Ok(name)
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .is_some_and(|list| list.iter().any(|condition| condition.type_ == "Established" && condition.status == "True"))
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn print(text: &str) -> anyhow::Result<()> {
    print!("{text}");
    Ok(())
}
