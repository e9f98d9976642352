# Builds the project's images from built binaries, without a container engine and without pulling anything; sourced by
# cluster.sh. The same Dockerfile serves a user with Docker, who gets the binaries from its builder stage.
# shellcheck shell=bash

IMAGES=$E2E_CACHE/images
IMAGE=localhost/vllm-prod-stack:e2e
EMULATOR_IMAGE=localhost/vllm-prod-stack-emulator:e2e
PROMETHEUS_IMAGE=localhost/prometheus:e2e
PROGRAM_BINARIES=(adapter autoscaler router)
# The base image is put together from these packages of the host's own Debian.
BASE_PACKAGES=(libc6 libgcc-s1 ca-certificates netbase)
ARCHIVES=()

# Fast and small: no layer is kept twice, nothing needs a daemon.
build() { buildah --root "$IMAGES/store" --runroot "$RUN-buildah" --storage-driver vfs "$@"; }

bud() { # name folder arguments...
  local name=$1 folder=$2
  shift 2
  build bud --isolation chroot --pull-never --layers=false -q -t "$name" "$@" "$folder" >/dev/null
}

# Keeps an image as an archive named by the hash of its content, and drops it from the store.
archive() { # name file
  build push -q "$1" "oci-archive:$2.new:$1" >/dev/null
  mv "$2.new" "$2"
  build rmi -f "$1" >/dev/null
}

hash_of() { cat "$@" | sha256sum | cut -c1-12; }

# Prints the path of an archive of the image that keeps a pod's network; it does nothing but sleep.
pause_image() {
  local file=$IMAGES/pause-1.tar folder
  if [ ! -f "$file" ]; then
    mkdir -p "$IMAGES"
    folder=$(mktemp -d -p "$IMAGES")
    cp "$TOOLS/debian/bin/busybox" "$folder/"
    printf 'FROM scratch\nCOPY busybox /bin/busybox\nENTRYPOINT ["/bin/busybox", "sleep", "2147483647"]\n' >"$folder/Dockerfile"
    bud localhost/pause:1 "$folder"
    archive localhost/pause:1 "$file"
    rm -rf "$folder"
  fi
  echo "$file"
}

# A root file system of a few MB in which a glibc program runs: C library, certificates, names of ports.
base_folder() {
  local folder=$IMAGES/base package work
  if [ ! -f "$folder/.complete" ]; then
    say "making the base image from ${BASE_PACKAGES[*]}"
    rm -rf "$folder"
    mkdir -p "$folder"
    work=$(mktemp -d -p "$IMAGES")
    chmod 755 "$work"
    (cd "$work" && apt-get download -qq "${BASE_PACKAGES[@]}" >/dev/null 2>&1) || fail "cannot download ${BASE_PACKAGES[*]}: run apt-get update"
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$folder"; done
    rm -rf "$work" "$folder"/usr/share/{doc,man,locale,lintian} "$folder"/usr/lib/x86_64-linux-gnu/gconv "$folder"/usr/{sbin,bin} "$folder"/sbin
    mkdir -p "$folder/etc/ssl/certs" "$folder/tmp"
    chmod 1777 "$folder/tmp"
    find "$folder/usr/share/ca-certificates" -name '*.crt' -exec cat {} + >"$folder/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$folder/usr/share/ca-certificates"
    echo 'hosts: files dns' >"$folder/etc/nsswitch.conf"
    touch "$folder/.complete"
  fi
  echo "$folder"
}

base_image() { # makes sure localhost/base:1 is in the store
  build inspect --type image localhost/base:1 >/dev/null 2>&1 && return
  local folder
  folder=$(base_folder)
  printf 'FROM scratch\nCOPY . /\n' >"$IMAGES/base.Dockerfile"
  bud localhost/base:1 "$folder" -f "$IMAGES/base.Dockerfile"
}

# Stripped copies: debug builds carry ten times their size in symbols.
strip_binaries() { # folder binary...
  local folder=$1 binary source stamp
  shift
  for binary in "$@"; do
    source=${CARGO_TARGET_DIR:-$REPOSITORY/target}/$PROFILE/$binary
    [ -x "$source" ] || fail "$source is missing: cargo build -p $binary"
    stamp=$(stat -Lc '%n %s %y' "$source")
    [ "$stamp" = "$(cat "$folder/.$binary" 2>/dev/null)" ] && continue
    strip -o "$folder/$binary" "$source"
    echo "$stamp" >"$folder/.$binary"
  done
}

project_image() { # image target binary...
  local image=$1 target=$2 folder=$IMAGES/binaries-$PROFILE file
  shift 2
  mkdir -p "$folder"
  strip_binaries "$folder" "$@"
  file=$IMAGES/$target-$(cd "$folder" && hash_of "$@" "$REPOSITORY/Dockerfile").tar
  if [ ! -f "$file" ]; then
    base_image
    rm -f "$IMAGES/$target"-*.tar
    bud "$image" "$folder" -f "$REPOSITORY/Dockerfile" --target "$target" --build-arg BASE=localhost/base:1 --build-arg BINARIES=prebuilt
    archive "$image" "$file"
    say "built $image: $(du -m "$file" | cut -f1) MB"
  fi
  ARCHIVES+=("$file")
}

# Prometheus as a pod: it finds, scrapes and is stopped as in any cluster.
prometheus_image() {
  local binary file folder
  binary=$(program prometheus)
  file=$IMAGES/prometheus-$(hash_of "$binary").tar
  if [ ! -f "$file" ]; then
    base_image
    rm -f "$IMAGES"/prometheus-*.tar
    folder=$(mktemp -d -p "$IMAGES")
    cp "$binary" "$folder/"
    printf 'FROM localhost/base:1\nCOPY prometheus /prometheus\nUSER 65532:65532\nENTRYPOINT ["/prometheus"]\n' >"$folder/Dockerfile"
    bud $PROMETHEUS_IMAGE "$folder"
    archive $PROMETHEUS_IMAGE "$file"
    rm -rf "$folder"
  fi
  ARCHIVES+=("$file")
}

# Sets ARCHIVES to the image files, building what changed.
build_images() {
  command -v buildah >/dev/null || fail "buildah is missing: run e2e/install-tools.sh cluster"
  mkdir -p "$IMAGES"
  ARCHIVES=()
  project_image $IMAGE programs "${PROGRAM_BINARIES[@]}"
  project_image $EMULATOR_IMAGE emulator engine-emulator
  prometheus_image
}
