#!/bin/bash
# Prints the figures of docs/benchmarks/cluster.md: an HPA at Kubernetes' default sync period against an EngineAutoscaler,
# memory of each program, size of each image. Takes about 10 minutes; release builds.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PROFILE=release HPA_SYNC=15s HPA_DOWNSCALE=10s # fewer replicas come no sooner at 5m, only the measurement would take an hour
cargo build --release -p adapter -p autoscaler -p router -p engine-emulator
cargo build --release -p e2e --example measure_cluster
e2e/cluster/cluster.sh test "${CARGO_TARGET_DIR:-target}/release/examples/measure_cluster"
ls -l "${E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vllm-prod-stack}"/images/{programs,emulator}-*.tar
