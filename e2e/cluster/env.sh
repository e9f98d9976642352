# Settings of the end-to-end cluster; sourced by every script beside it. Each `:=` can be overridden from the environment.
# shellcheck shell=bash disable=SC2034

E2E_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REPOSITORY=$(dirname "$E2E_DIR")
: "${E2E_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/vllm-prod-stack}" # everything that survives a run: tools, programs, images
: "${E2E_CLUSTER:=vllm-e2e}"                                      # name of the cluster; two names can run side by side
: "${HPA_SYNC:=2s}"                                               # Kubernetes' default is 15s
: "${HPA_DOWNSCALE:=10s}"                                         # Kubernetes' default is 5m
: "${PROFILE:=debug}"                                             # folder under target/ whose binaries go into the images

TOOLS=$E2E_CACHE/tools
STATE=$E2E_CACHE/cluster/$E2E_CLUSTER
LOGS=$STATE/log
RUN=/run/$E2E_CLUSTER # sockets and containerd's state: paths of sockets must be short
CONTAINERD=$RUN/containerd.sock

# 198.18.0.0/15 is the benchmarking range (RFC 2544): no real network is hidden by it.
NODE_IP=198.18.0.1
NODE_PODS=198.18.64.0/24
PODS=198.18.64.0/20
SERVICES=198.19.0.0/20
API_SERVICE_IP=198.19.0.1

KUBERNETES_VERSION=v1.35.4
ADMIN_KUBECONFIG=$STATE/pki/admin.kubeconfig

export PATH="$TOOLS/bin:$TOOLS/debian/usr/sbin:$TOOLS/debian/usr/bin:$PATH:/usr/sbin:/sbin"

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
# The clock of progress lines: seconds since this script started.
timed() { # label command...
  local label=$1 from=$SECONDS; shift
  say "$label …"
  "$@" # not `|| fail`: that would switch errexit off inside
  say "$label: $((SECONDS - from)) s"
}
