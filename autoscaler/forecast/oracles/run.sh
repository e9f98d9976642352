#!/usr/bin/env bash
# Our forecaster beside Dynamo's predictors and augurs on the same series; installs them into a virtual environment of its own.
#   run.sh SERIES.csv...      lines of ts,value; prints one table each. Several minutes each: ARIMA and Prophet fit anew.
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
for series in "$@"; do
    found=$(mktemp)
    cargo run -q --manifest-path "$folder/../Cargo.toml" --example quantiles -- "$series" 240 > "$found"
    printf '\n%s, the last two days\n\n' "$(basename "$series" .csv)"
    "$cache/venv/bin/python" "$folder/compare.py" "$found"
    rm -f "$found"
done
