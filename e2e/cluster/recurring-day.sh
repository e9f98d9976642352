#!/bin/bash
# A recurring day on the cluster: an EngineAutoscaler against HPAs under the same load at the same time; prints the tables of
# docs/benchmarks/cluster.md. 20 minutes and the start; DAYS, DAY_SECONDS, HPA_RUNNING, SEED as in `--help` of the program.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Kubernetes' 15 s, twenty times as fast; the window of scaling down is in the HPAs.
export HPA_SYNC=750ms PROFILE=${PROFILE:-debug}
release=$([ "$PROFILE" = release ] && echo --release || true)
cargo build $release -p adapter -p autoscaler -p router -p engine-emulator
cargo build $release -p e2e --example recurring_day
e2e/cluster/cluster.sh test "${CARGO_TARGET_DIR:-target}/$PROFILE/examples/recurring_day"
