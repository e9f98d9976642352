#!/bin/bash
# A real Kubernetes for the end-to-end tests: one node, in a network namespace of its own, nothing mocked.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/env.sh"
. "$here/build.sh"
. "$here/pki.sh"
. "$here/up.sh"
. "$here/down.sh"
. "$here/images.sh"

usage() {
  cat <<X
usage: e2e/cluster/cluster.sh COMMAND
  up                  start a fresh cluster (ends one of the same name first)
  down                end it; its last logs stay in $LOGS
  status              is it up, and what runs in it
  build               only build its programs (cached under $E2E_CACHE/bin)
  images              build the project's images from target/$PROFILE and load them into a running cluster
  load-image FILE     load an OCI or Docker archive
  run COMMAND...      run a command inside, with kubectl, helm and KUBECONFIG set
  shell               the same, interactively
  test [FILE] [ARGS]  up, images, the cluster tests (their program is FILE, or built now) with ARGS for it, down;
                      with E2E_KUBECONFIG the tests run on that cluster and nothing is started
environment: E2E_CLUSTER (name), E2E_CACHE, HPA_SYNC=$HPA_SYNC, HPA_DOWNSCALE=$HPA_DOWNSCALE (Kubernetes' defaults: 15s, 5m), PROFILE (debug or release),
             KEEP_CLUSTER=1 (test does not end the cluster)
X
}

lock() {
  mkdir -p "$E2E_CACHE/cluster"
  exec 9>"$E2E_CACHE/cluster/$E2E_CLUSTER.lock"
  flock -n 9 || { say "another command works on cluster $E2E_CLUSTER; waiting"; flock 9; }
}

up() {
  check_host
  build_all
  lock
  [ ! -d "$STATE/pids" ] || say "removing what an earlier cluster $E2E_CLUSTER left"
  remove_cluster
  trap 'say "cluster $E2E_CLUSTER did not start; logs: $LOGS"; remove_cluster' EXIT # half a cluster is of no use
  timed "starting cluster $E2E_CLUSTER" create_cluster
  trap - EXIT
  exec 9>&-
}

down() {
  [ "$(id -u)" = 0 ] || fail "ending the cluster needs root"
  lock
  remove_cluster
  exec 9>&-
  say "cluster $E2E_CLUSTER ended; its last logs are in $LOGS"
}

is_up() { [ -f "$STATE/pids/apiserver" ] && kill -0 "$(cat "$STATE/pids/apiserver")" 2>/dev/null; }

status() {
  is_up || { echo "cluster $E2E_CLUSTER is not up"; return 1; }
  local file pid
  for file in "$STATE"/pids/*; do
    pid=$(cat "$file")
    if kill -0 "$pid" 2>/dev/null; then
      printf '%-20s pid %-8s %s MiB\n' "$(basename "$file")" "$pid" $(($(awk '/^VmRSS/ {print $2}' "/proc/$pid/status") / 1024))
    else
      printf '%-20s ended; log: %s\n' "$(basename "$file")" "$LOGS/$(basename "$file").log"
    fi
  done
  cluster_kubectl get nodes,pods -A
}

run_inside() {
  is_up || fail "cluster $E2E_CLUSTER is not up: e2e/cluster/cluster.sh up"
  KUBECONFIG=$ADMIN_KUBECONFIG inside "$@"
}

load_images() {
  local archive
  build_images
  for archive in "${ARCHIVES[@]}"; do timed "loading $(basename "$archive")" load_image "$archive"; done
}

build_tests() {
  (cd "$REPOSITORY" && cargo test -p e2e --test cluster --no-run --message-format=json |
    sed -n 's/.*"name":"cluster".*"executable":"\([^"]*\)".*/\1/p' | tail -1)
}

test_all() {
  local binary
  if [ -f "${1:-}" ] && [ -x "$1" ]; then binary=$1; shift; else binary=$(build_tests); fi
  [ -n "$binary" ] || fail "the test program did not build"
  # Tests that may run at the same time do; each says so itself. They wait for pods, not for a processor.
  export RUST_TEST_THREADS=${RUST_TEST_THREADS:-16}
  if [ -n "${E2E_KUBECONFIG:-}" ]; then exec "$binary" --nocapture "$@"; fi
  up
  [ -n "${KEEP_CLUSTER:-}" ] || trap down EXIT
  load_images
  E2E_KUBECONFIG=$ADMIN_KUBECONFIG run_inside "$binary" --nocapture "$@"
}

case ${1:-} in
  up) up ;;
  down) down ;;
  status) status ;;
  build) build_all ;;
  images) is_up || fail "cluster $E2E_CLUSTER is not up"; load_images ;;
  load-image) [ -f "${2:-}" ] || fail "usage: cluster.sh load-image FILE"; is_up || fail "cluster $E2E_CLUSTER is not up"; load_image "$2" ;;
  run) shift; run_inside "$@" ;;
  shell) PS1="($E2E_CLUSTER) \\w \\$ " run_inside bash --norc -i ;;
  test) shift; test_all "$@" ;;
  *) usage; [ -z "${1:-}" ] || exit 2 ;;
esac
