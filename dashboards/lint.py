#!/usr/bin/env python3
"""What promtool does not check: panels say what they show, alerts have a test and a runbook, metrics have one of our names."""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
GRID_COLUMNS = 24
RUNBOOKS = HERE.parent / "docs" / "runbooks"


def lint_dashboard(path):
    dashboard = json.loads(path.read_text())
    if dashboard["schemaVersion"] < 39:
        yield f"{path.name}: schemaVersion is below 39"
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for needed in ("datasource", "namespace", "model"):
        if needed not in variables:
            yield f"{path.name}: no variable {needed}"
    taken, identities = {}, set()
    for panel in dashboard["panels"]:
        where = f"{path.name}: panel {panel['title']!r}"
        if panel["id"] in identities:
            yield f"{where}: id {panel['id']} is used twice"
        identities.add(panel["id"])
        yield from lint_place(panel, where, taken)
        if panel["type"] != "row":
            yield from lint_panel(panel, where, variables)


def lint_place(panel, where, taken):
    place = panel["gridPos"]
    if place["x"] + place["w"] > GRID_COLUMNS:
        yield f"{where}: reaches beyond column {GRID_COLUMNS}"
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            other = taken.setdefault((x, y), panel["title"])
            if other is not panel["title"]:
                yield f"{where}: overlaps {other!r}"
                return


def lint_panel(panel, where, variables):
    if not panel.get("description"):
        yield f"{where}: no description"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield f"{where}: no unit"
    if not panel["targets"]:
        yield f"{where}: no query"
    for target in panel["targets"]:
        for name in re.findall(r"\$(\w+)", target["expr"]):
            if name not in variables:
                yield f"{where}: ${name} is not a variable"
        if panel["type"] == "timeseries" and target["legendFormat"] == "__auto":
            yield f"{where}: a query without legend"


def lint_alerts(text, tests):
    alerts = re.findall(r"- alert: (\w+)", text)
    for alert in alerts:
        if not re.search(rf"alertname: {alert}\n\s+exp_alerts:\n", tests):
            yield f"alert {alert}: no test in which it fires"
    urls = re.findall(r"runbook_url: (\S+)", text)
    if len(urls) != len(alerts):
        yield "an alert has no runbook_url"
    for url in urls:
        if not (RUNBOOKS / url.rsplit("/", 1)[-1]).is_file():
            yield f"{url}: docs/runbooks has no such file"


def main():
    problems = [problem for path in sorted(HERE.glob("*.json")) for problem in lint_dashboard(path)]
    tests = "".join(path.read_text() for path in sorted((HERE / "rules" / "tests").glob("*.yaml")))
    problems += lint_alerts((HERE / "rules" / "alerts.yaml").read_text(), tests)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
