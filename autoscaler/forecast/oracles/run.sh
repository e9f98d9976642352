#!/usr/bin/env bash
# Our forecaster beside Dynamo's predictors and augurs on the same series; installs them into a virtual environment of its own.
#   run.sh SERIES.csv...      lines of ts,value; prints a table each, and ours against theirs. A minute or two each.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,3s/^# *//p' "$0"; exit 2; }
folder=$(cd "$(dirname "$0")" && pwd)
cache=${E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vllm-prod-stack}/oracles
if [ ! -e "$cache/ready" ]; then
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet pandas==2.3.3 pmdarima==2.1.1 filterpy==1.4.5 prophet==1.2.1 augurs==0.8.0 tqdm==4.67.1
    # Its dependencies are those of a GPU runtime; of it only the module of predictors is used.
    "$cache/venv/bin/pip" install --quiet --no-deps ai-dynamo==1.6.1
    touch "$cache/ready"
fi
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
files=()
for series in "$@"; do
    file=$found/$(basename "$series" .csv).csv
    cargo run -q --manifest-path "$folder/../Cargo.toml" --example quantiles -- "$series" 240 > "$file"
    files+=("$file")
done
# Their matrices are tiny: threads only wait for each other there, and ARIMA takes minutes instead of seconds.
OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 "$cache/venv/bin/python" "$folder/compare.py" "${files[@]}"
