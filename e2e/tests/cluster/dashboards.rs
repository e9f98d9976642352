use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::cluster::stack::{self, NAMESPACE, PATIENCE, served};
use e2e::cluster::{Clients, progress, repository};
use serde_json::Value;
use testkit::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_dashboards_and_rules_has_data() -> Result<()> {
    stack::shared("dashboards", async |stack| {
        let clients = Clients::start(&stack.router, &served("steady"), 2)?;
        let queries = dashboard_queries()?;
        let (records, alerts) = rules()?;
        ensure!(
            !queries.is_empty() && !records.is_empty() && !alerts.is_empty(),
            "queries, recording rules and alerts are found"
        );
        for query in queries.iter().chain(&records) {
            eventually(PATIENCE, &format!("data for `{query}`"), || async {
                // Each look is a request: a pause keeps the waiting cheap.
                let result = stack.monitoring.query(query).await?;
                if result.is_empty() {
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
                ensure!(!result.is_empty(), "no series");
                Ok(())
            })
            .await?;
        }
        for alert in &alerts {
            // Nothing is wrong, so an alert may have no series; Prometheus must understand it.
            stack.monitoring.query(alert).await?;
        }
        progress(
            "dashboards",
            &format!(
                "{} queries and {} recording rules have data, {} alerts are understood",
                queries.len(),
                records.len(),
                alerts.len()
            ),
        );
        clients.stop().await.expect_no_failure(1)
    })
    .await
}

/// Every PromQL of every dashboard, with Grafana's variables filled in.
fn dashboard_queries() -> Result<BTreeSet<String>> {
    let mut queries = BTreeSet::new();
    for path in files(&repository().join("dashboards"), "json")? {
        let dashboard: Value =
            serde_json::from_slice(&std::fs::read(&path)?).with_context(|| path.display().to_string())?;
        let mut expressions = Vec::new();
        collect(&dashboard["panels"], &mut expressions);
        let variables = variables(&dashboard);
        queries.extend(expressions.into_iter().map(|expression| fill_in(expression, &variables)));
    }
    Ok(queries)
}

fn collect<'a>(value: &'a Value, expressions: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            expressions.extend(object.get("expr").and_then(Value::as_str));
            object.values().for_each(|value| collect(value, expressions));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, expressions)),
        _ => {}
    }
}

/// `(name, value)`: Grafana's own, and those of the dashboard with everything chosen; longest names first, as one may begin
/// another.
fn variables(dashboard: &Value) -> Vec<(String, String)> {
    let list = dashboard["templating"]["list"].as_array().cloned().unwrap_or_default();
    let own = list.iter().filter_map(|variable| variable["name"].as_str());
    let chosen = own.map(|name| (name, if name == "namespace" { NAMESPACE } else { ".*" }));
    let grafana = [("__rate_interval", "1m"), ("__interval", "15s"), ("__range", "5m")];
    let mut all: Vec<(String, String)> =
        chosen.chain(grafana).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    all
}

fn fill_in(expression: &str, variables: &[(String, String)]) -> String {
    variables.iter().fold(expression.to_owned(), |text, (name, value)| {
        let text = text.replace(&format!("${{{name}:regex}}"), value).replace(&format!("${{{name}}}"), value);
        text.replace(&format!("${name}"), value)
    })
}

/// Names of recording rules, and expressions of alerts.
fn rules() -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut records, mut alerts) = (BTreeSet::new(), BTreeSet::new());
    for path in files(&repository().join("dashboards/rules"), "yaml")? {
        let file: Value =
            serde_saphyr::from_str(&std::fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
        let groups = file["groups"].as_array().cloned().unwrap_or_default();
        for rule in groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()) {
            if let Some(record) = rule["record"].as_str() {
                records.insert(record.to_owned());
            } else if let Some(expression) = rule["expr"].as_str() {
                alerts.insert(expression.to_owned());
            }
        }
    }
    Ok((records, alerts))
}

fn files(folder: &Path, extension: &str) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
}
