#!/bin/bash
# Prints the figures of docs/benchmarks/cluster.md: an HPA at Kubernetes' default sync period against an EngineAutoscaler,
# memory of each program, size of each image. About 6 minutes beside the builds; PROFILE=debug takes what is built.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Fewer replicas come no sooner with the default of 5m; only the measurement would take an hour.
export HPA_SYNC=15s HPA_DOWNSCALE=10s PROFILE=${PROFILE:-release}
release=$([ "$PROFILE" = release ] && echo --release || true)
cargo build $release -p adapter -p autoscaler -p router -p engine-emulator
cargo build $release -p e2e --example measure_cluster
e2e/cluster/cluster.sh test "${CARGO_TARGET_DIR:-target}/$PROFILE/examples/measure_cluster"
ls -l "${E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vllm-prod-stack}"/images/{programs,emulator}-*.tar
