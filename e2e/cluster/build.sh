# Builds Kubernetes, etcd, CoreDNS and Prometheus from their Go modules; sourced by cluster.sh.
# shellcheck shell=bash
#
# A folder per module, named by the hash of all that decides its content: a second run builds nothing, two checkouts with
# different versions do not disturb each other.

declare -A PROGRAMS=(
  [etcd]="go.etcd.io/etcd/server/v3:etcd"
  [coredns]=".:coredns"
  [prometheus]="github.com/prometheus/prometheus/cmd/prometheus"
  [kubernetes]="k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kube-scheduler k8s.io/kubernetes/cmd/kubelet k8s.io/kubernetes/cmd/kube-proxy"
)
# Debian's Prometheus has no kubernetes_sd, so the tests bring their own, without the thirty other discoveries.
declare -A TAGS=([prometheus]=remove_all_sd,enable_kubernetes_sd)

module_folder() { # module
  local key
  key=$(cd "$E2E_DIR/cluster/$1" && cat ./*.mod ./*.sum $(ls ./*.go 2>/dev/null) <(echo "$KUBERNETES_VERSION ${TAGS[$1]:-}") | sha256sum | cut -c1-12)
  echo "$E2E_CACHE/bin/$1-$key"
}

program() { # name: the path of a built program
  local module
  for module in "${!PROGRAMS[@]}"; do
    case " ${PROGRAMS[$module]} " in *[:/]"$1 "*) echo "$(module_folder "$module")/$1"; return ;; esac
  done
  fail "no program $1"
}

build_module() { # module
  local folder entry package name version=k8s.io/component-base/version
  folder=$(module_folder "$1")
  mkdir -p "$folder"
  for entry in ${PROGRAMS[$1]}; do
    package=${entry%%:*} name=${entry##*[:/]}
    [ -x "$folder/$name" ] && continue
    # Nobody debugs these: what is not written for a debugger needs no time.
    # Without gitVersion the API server calls itself v0.0.0 and clients misjudge what it can do.
    build_program() {
      (cd "$E2E_DIR/cluster/$1" && CGO_ENABLED=0 go build -trimpath -gcflags=all=-dwarf=false -tags "${TAGS[$1]:-}" \
        -ldflags "-s -w -X $version.gitVersion=$KUBERNETES_VERSION -X $version.gitMajor=1 -X $version.gitMinor=35" \
        -o "$folder/.$name" "$package") && mv "$folder/.$name" "$folder/$name"
    }
    timed "building $name" build_program "$1"
  done
}

build_all() {
  local module entry missing=0
  for module in "${!PROGRAMS[@]}"; do
    for entry in ${PROGRAMS[$module]}; do [ -x "$(module_folder "$module")/${entry##*[:/]}" ] || missing=$((missing + 1)); done
  done
  [ $missing = 0 ] && return
  command -v go >/dev/null || fail "go is missing: run e2e/install-tools.sh cluster"
  say "$missing programs to build from their Go modules (all of them: about 15 min on two idle cores, once)"
  for module in "${!PROGRAMS[@]}"; do build_module "$module"; done
}
