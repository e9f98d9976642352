#!/usr/bin/env bash
# Checks dashboards and rules with the real promtool: rules, their tests, every query of the dashboards, runbooks.
set -euo pipefail
cd "$(dirname "$0")"
. ../e2e/cluster/env.sh
command -v promtool >/dev/null || ../e2e/install-tools.sh chart

promtool check rules --lint=all --lint-fatal rules/*.yaml >/dev/null
promtool test rules rules/tests/*.yaml

python3 build.py --check
python3 lint.py

# promtool parses what a rule file holds: one rule per query.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 queries.py --rules >"$scratch/queries.yaml" # JSON is YAML
promtool check rules "$scratch/queries.yaml" >/dev/null || { promtool check rules "$scratch/queries.yaml"; exit 1; }
echo "dashboards: $(grep -c '"record"' "$scratch/queries.yaml") queries, $(cat rules/*.yaml | grep -cE '^ +- (alert|record):') rules, $(grep -c '  - name:' <(cat rules/tests/*.yaml)) rule tests"
