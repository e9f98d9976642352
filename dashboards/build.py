#!/usr/bin/env python3
"""Writes overview.json, the Grafana dashboard, and the chart's copies of it and of the rules.

`build.py --check` fails when one of them is stale. The dashboard is data: rows of panels, each with its queries. What all
panels share (data source, grid, colours) is here once. The chart has copies and not links, because Helm reports each link
it follows, and archives of links do not unpack everywhere.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
CHART_FILES = HERE.parent / "charts" / "vllm-prod-stack" / "files"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
ENGINE = 'component="serving-engine",namespace=~"$namespace",model=~"$model"'
ROUTER = 'namespace=~"$namespace",model_name=~"$served"'
SCALER = 'namespace=~"$namespace"'
EXTERNAL = f'{SCALER},group="external.metrics.k8s.io"'
OBJECTIVE = f"min by (model_name) (router_objective_time_to_first_token_seconds{{{ROUTER}}})"


def quantile(share, metric, by, selector):
    return f"histogram_quantile({share}, sum by ({by}le) (rate({metric}_bucket{{{selector}}}[1m])))"


def panel(title, unit, description, *queries, kind="timeseries", width=8, height=7, **options):
    """One panel. `queries` are (PromQL, legend); options: decimals, minimum, maximum, steps (thresholds), stack."""
    return {"title": title, "unit": unit, "description": description, "queries": queries, "kind": kind,
            "width": width, "height": height, **options}


def stat(title, unit, description, query, **options):
    return panel(title, unit, description, (query, ""), kind="stat", width=4, height=4, **options)


GREEN_TO_RED = [("green", None), ("orange", 0.001), ("red", 0.01)]
ROWS = [
    ("Fleet and objective", [
        stat("Engines that answer", "short", "Engines whose last scrape succeeded. Loading engines do not count.",
             f"sum(up{{{ENGINE}}})"),
        stat("Arrivals", "reqps", "Requests admitted by the routers.",
             f"sum(rate(router_requests_received_total{{{ROUTER}}}[1m]))"),
        stat("In flight", "short", "Requests that an engine works on or has in its queue, as the routers see it.",
             f"sum(router_requests_in_flight{{{ROUTER}}})"),
        stat("Failed", "percentunit", "Share of requests that the routers answered with 5xx in the last five minutes.",
             f'(sum(rate(router_requests_total{{{ROUTER},code=~"5.."}}[5m])) or vector(0))'
             f' / sum(rate(router_requests_total{{{ROUTER}}}[5m]))', steps=GREEN_TO_RED, decimals=2),
        stat("TTFT p99 over objective", "percentunit",
             "The slowest percent's time to first token over what was promised, worst model, last five minutes. Below 100 % "
             "an attainment of 99 % is met.",
             "max(histogram_quantile(0.99, sum by (model_name, le) "
             f"(rate(router_time_to_first_token_seconds_bucket{{{ROUTER}}}[5m]))) / on (model_name) {OBJECTIVE})",
             steps=[("green", None), ("orange", 0.8), ("red", 1)], decimals=0),
        stat("Oldest adapter data", "s", "Age of the oldest rule in any adapter replica. Above 30 s HPAs get an error.",
             f"max(adapter_rule_age_seconds{{{SCALER}}})", steps=[("green", None), ("orange", 15), ("red", 30)]),
    ]),
    ("Queue", [
        panel("Waiting in the router", "short", "Requests for which no engine could be chosen. Bounded; 503 after 30 s.",
              (f"sum by (model_name) (router_queue_depth{{{ROUTER}}})", "{{model_name}}"), minimum=0),
        panel("Waiting in the engines", "short", "Requests that engines have accepted and not started (vllm:num_requests_waiting).",
              (f"sum by (model) (vllm:num_requests_waiting{{{ENGINE}}})", "{{model}}"), minimum=0),
        panel("Running in the engines", "short", "Requests in the engines' batches (vllm:num_requests_running).",
              (f"sum by (model) (vllm:num_requests_running{{{ENGINE}}})", "{{model}}"), minimum=0),
    ]),
    ("Time to first token", [
        panel("As clients feel it", "s", "From admission by the router to the first token, its queue included; dashed: the objective.",
              (quantile(0.5, "router_time_to_first_token_seconds", "model_name, ", ROUTER), "p50 {{model_name}}"),
              (quantile(0.95, "router_time_to_first_token_seconds", "model_name, ", ROUTER), "p95 {{model_name}}"),
              (quantile(0.99, "router_time_to_first_token_seconds", "model_name, ", ROUTER), "p99 {{model_name}}"),
              (OBJECTIVE, "objective {{model_name}}"), width=12, minimum=0),
        panel("In the engines", "s", "From arrival at the engine to its first token: without the router's queue.",
              (quantile(0.5, "vllm:time_to_first_token_seconds", "model, ", ENGINE), "p50 {{model}}"),
              (quantile(0.95, "vllm:time_to_first_token_seconds", "model, ", ENGINE), "p95 {{model}}"), width=12, minimum=0),
    ]),
    ("Inter-token latency", [
        panel("As clients feel it", "s", "Time between two chunks of a stream, in the router.",
              (quantile(0.5, "router_inter_token_latency_seconds", "model_name, ", ROUTER), "p50 {{model_name}}"),
              (quantile(0.95, "router_inter_token_latency_seconds", "model_name, ", ROUTER), "p95 {{model_name}}"),
              (quantile(0.99, "router_inter_token_latency_seconds", "model_name, ", ROUTER), "p99 {{model_name}}"),
              width=12, minimum=0),
        panel("In the engines", "s", "Time between two tokens (vllm:inter_token_latency_seconds).",
              (quantile(0.5, "vllm:inter_token_latency_seconds", "model, ", ENGINE), "p50 {{model}}"),
              (quantile(0.95, "vllm:inter_token_latency_seconds", "model, ", ENGINE), "p95 {{model}}"), width=12, minimum=0),
    ]),
    ("Throughput", [
        panel("Requests", "reqps", "Admitted and answered by the routers.",
              (f"sum by (model_name) (rate(router_requests_received_total{{{ROUTER}}}[1m]))", "arrived {{model_name}}"),
              (f"sum by (model_name) (rate(router_requests_total{{{ROUTER}}}[1m]))", "answered {{model_name}}"), minimum=0),
        panel("Prompt tokens", "tokens/s", "Tokens that came in, cached ones included.",
              (f"sum by (model) (rate(vllm:prompt_tokens_total{{{ENGINE}}}[1m]))", "{{model}}"), minimum=0),
        panel("Generated tokens", "tokens/s", "Tokens that went out.",
              (f"sum by (model) (rate(vllm:generation_tokens_total{{{ENGINE}}}[1m]))", "{{model}}"), minimum=0),
    ]),
    ("KV cache", [
        panel("Use", "percentunit", "Share of KV blocks in use: mean and fullest engine. Near 100 % requests are preempted.",
              (f"avg by (model) (vllm:kv_cache_usage_perc{{{ENGINE}}})", "mean {{model}}"),
              (f"max by (model) (vllm:kv_cache_usage_perc{{{ENGINE}}})", "fullest {{model}}"),
              minimum=0, maximum=1, steps=[("green", None), ("orange", 0.8), ("red", 0.95)]),
        panel("Prefix cache hits", "percentunit", "Share of prompt tokens found in the prefix cache.",
              (f"sum by (model) (rate(vllm:prefix_cache_hits_total{{{ENGINE}}}[5m]))"
               f" / sum by (model) (rate(vllm:prefix_cache_queries_total{{{ENGINE}}}[5m]))", "{{model}}"), minimum=0, maximum=1),
        panel("Preemptions", "reqps", "Requests that lost their KV blocks and start over.",
              (f"sum by (model) (rate(vllm:num_preemptions_total{{{ENGINE}}}[1m]))", "{{model}}"), minimum=0),
    ]),
    ("Replicas", [
        panel("Wanted and ready", "short", "What each EngineAutoscaler wants, what is ordered, what is Ready.",
              (f"max by (name) (autoscaler_replicas_desired{{{SCALER}}})", "wanted {{name}}"),
              (f"max by (name) (autoscaler_replicas_current{{{SCALER}}})", "ordered {{name}}"),
              (f"max by (name) (autoscaler_replicas_ready{{{SCALER}}})", "ready {{name}}"), minimum=0, decimals=0),
        panel("Demand and forecast", "short",
              "Demand in replicas, and quantiles of its largest value within one start-up time, once an EngineAutoscaler plans.",
              (f"max by (name, quantile) (autoscaler_forecast_demand_replicas{{{SCALER}}}) "
               f"or max by (name) (autoscaler_demand_replicas{{{SCALER}}})", "{{name}} {{quantile}}"), minimum=0),
        panel("Beyond the optimum", "percentunit",
              "Engine time beyond that of a plan that knows the future, and the share of demand missed, over seven days.",
              (f"max by (name) (autoscaler_regret_ratio{{{SCALER}}})", "engine time {{name}}"),
              (f"max by (name) (autoscaler_missed_demand_ratio{{{SCALER}}})", "missed {{name}}")),
        panel("Engines that answer", "short", "By model, whoever scales it.",
              (f"sum by (model) (up{{{ENGINE}}})", "{{model}}"), minimum=0, decimals=0),
        panel("Decisions", "ops", "What the autoscaler's decisions rest on, by reason.",
              (f"sum by (reason) (rate(autoscaler_decisions_total{{{SCALER}}}[1m]))", "{{reason}}"), minimum=0, stack=True),
        panel("Learned start-up time", "s", "From order to Ready, by quantile.",
              (f"max by (name, quantile) (autoscaler_startup_seconds{{{SCALER}}})", "{{name}} {{quantile}}"), minimum=0),
        panel("Learned capacity", "short", "Concurrent requests that one replica carries within the objective.",
              (f"max by (name) (autoscaler_capacity_requests_per_replica{{{SCALER}}})", "{{name}}"), minimum=0),
        panel("Unobserved engines", "short", "Engines that should answer the autoscaler and do not: no scale-down meanwhile.",
              (f"max by (name) (autoscaler_engines_unobserved{{{SCALER}}})", "{{name}}"), minimum=0, decimals=0),
    ]),
    ("Adapter", [
        panel("Age of rules", "s", "Seconds since a rule was last collected, worst replica. Above 30 s HPAs get an error.",
              (f"max by (rule) (adapter_rule_age_seconds{{{SCALER}}})", "{{rule}}"), minimum=0,
              steps=[("transparent", None), ("red", 30)]),
        panel("Answers", "reqps", "Requests of HPAs and people, by status code.",
              (f"sum by (code) (rate(adapter_requests_total{{{EXTERNAL}}}[1m]))", "{{code}}"), minimum=0, stack=True),
        panel("Time to answer", "s", "The slowest percent of answers; they come from memory.",
              (f"histogram_quantile(0.99, sum by (le) (rate(adapter_request_duration_seconds_bucket{{{EXTERNAL}}}[5m])))", "p99"), minimum=0),
    ]),
    ("Errors", [
        panel("Answers that are errors", "reqps", "By model and status code; 4xx are the callers'.",
              (f'sum by (model_name, code) (rate(router_requests_total{{{ROUTER},code=~"[45].."}}[1m])) or vector(0)',
               "{{model_name}} {{code}}"), minimum=0),
        panel("Failures of engines", "ops", "Failed attempts by reason, and retries on another engine, which clients do not see.",
              (f"sum by (reason) (rate(router_upstream_errors_total{{{ROUTER}}}[1m])) or vector(0)", "failed {{reason}}"),
              (f"sum by (reason) (rate(router_retries_total{{{ROUTER}}}[1m])) or vector(0)", "retried {{reason}}"), minimum=0),
        panel("Failed collections of the adapter", "ops", "By rule; the last good value answers meanwhile, for 30 s.",
              (f'sum by (rule) (rate(adapter_rule_collections_total{{{SCALER},outcome!="good"}}[1m])) or vector(0)', "{{rule}}"), minimum=0),
    ]),
]


def thresholds(steps):
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in steps]}


def field_config(spec):
    steps = spec.get("steps")
    defaults = {"unit": spec["unit"], "thresholds": thresholds(steps or [("green", None)])}
    for key, name in (("minimum", "min"), ("maximum", "max"), ("decimals", "decimals")):
        if key in spec:
            defaults[name] = spec[key]
    if spec["kind"] == "stat":
        defaults["color"] = {"mode": "thresholds"}
        return {"defaults": defaults, "overrides": []}
    defaults["color"] = {"mode": "palette-classic"}
    defaults["custom"] = {
        "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if spec.get("stack") else 8, "showPoints": "never",
        "spanNulls": False, "stacking": {"mode": "normal" if spec.get("stack") else "none"},
        "thresholdsStyle": {"mode": "line" if steps else "off"},
    }
    dashed = {"matcher": {"id": "byRegexp", "options": "/^objective /"},
              "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
                             {"id": "custom.fillOpacity", "value": 0}, {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}}]}
    return {"defaults": defaults, "overrides": [dashed]}


def render_panel(identity, spec, x, y):
    targets = [{"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend or "__auto", "range": True}
               for i, (expr, legend) in enumerate(spec["queries"])]
    if spec["kind"] == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value", "graphMode": "area"}
    else:
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {"id": identity, "type": spec["kind"], "title": spec["title"], "description": spec["description"], "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": spec["width"], "h": spec["height"]},
            "fieldConfig": field_config(spec), "options": options, "targets": targets}


def panels():
    result, identity, y = [], 0, 0
    for title, specs in ROWS:
        identity += 1
        result.append({"id": identity, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        x, y = 0, y + 1
        for spec in specs:
            if x + spec["width"] > 24:
                x, y = 0, y + spec["height"]
            identity += 1
            result.append(render_panel(identity, spec, x, y))
            x += spec["width"]
        y += specs[-1]["height"]
    return result


def variable(name, label, query, hidden=False):
    return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE, "query": {"query": query, "refId": name},
            "definition": query, "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*" if not hidden else None,
            "current": {"text": "All", "value": "$__all"}, "hide": 2 if hidden else 0, "regex": "", "options": []}


def dashboard():
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0,
              "regex": "", "options": [], "includeAll": False, "multi": False, "current": {}}
    seen = 'vllm:num_requests_running{namespace=~"$namespace"'
    return {
        "uid": "vllm-prod-stack-overview", "title": "vllm-prod-stack / Overview", "tags": ["vllm-prod-stack", "vllm"],
        "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "10s", "timezone": "browser",
        "time": {"from": "now-30m", "to": "now"}, "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
        "annotations": {"list": []}, "links": [],
        "templating": {"list": [
            source,
            variable("namespace", "Namespace", 'label_values(up{component=~"router|serving-engine"}, namespace)'),
            variable("model", "Model", f"label_values({seen}}}, model)"),
            variable("served", "Served name", f'label_values({seen},model=~"$model"}}, model_name)', hidden=True),
        ]},
        "panels": panels(),
    }


def outputs():
    """Every file that is written, with its text."""
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    yield HERE / "overview.json", text
    yield CHART_FILES / "overview.json", text
    for name in ("recording.yaml", "alerts.yaml"):
        yield CHART_FILES / "rules" / name, (HERE / "rules" / name).read_text()


def main():
    for path, text in outputs():
        if "--check" not in sys.argv[1:]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path.relative_to(HERE.parent)} is stale: run python3 dashboards/build.py")


if __name__ == "__main__":
    main()
