#!/usr/bin/env bash
# Tests the chart with the real helm: lint, render under several values files, validate what comes out against Kubernetes'
# own schemas, and assert what must and must not be in it.
set -euo pipefail
cd "$(dirname "$0")"
. ../e2e/cluster/env.sh
../e2e/install-tools.sh chart
export KUBECONFIG=/dev/null # nothing here may reach a cluster
export PYTHONDONTWRITEBYTECODE=1
chart=vllm-prod-stack
kubernetes=1.35
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

files=("$chart"/ci/*.yaml "$chart/values-emulator.yaml")
for file in "${files[@]}"; do
  helm lint --strict --quiet "$chart" --values "$file" >"$scratch/lint" 2>&1 || { cat "$scratch/lint"; fail "helm lint with $file"; }
  rendered=$scratch/$(basename "$file")
  helm template demo "$chart" --namespace models --values "$file" >"$rendered" || fail "helm template with $file"
done
# Custom resources have no schema here: test_release.py holds EngineAutoscalers against the CRD.
kubernetes-validate --strict --no-warn -k "$kubernetes" "$scratch"/*.yaml >"$scratch/validate" 2>&1 || {
  grep -v '^INFO' "$scratch/validate"
  fail "what the chart renders is not valid for Kubernetes $kubernetes"
}
validated=$(grep -c '^INFO' "$scratch/validate")

python=$TOOLS/venv-validate/bin/python # has yaml and jsonschema
"$python" values_doc.py --check
"$python" -m unittest discover --quiet --start-directory tests --top-level-directory tests
echo "chart: ${#files[@]} values files, $validated objects valid for Kubernetes $kubernetes"
