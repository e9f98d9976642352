# Ends a cluster and what is left of one that was killed; sourced by cluster.sh.
# shellcheck shell=bash

# A process id from a file may belong to somebody else by now: kill it only if its command line names our state.
stop_program() { # name
  local pid file=$STATE/pids/$1
  [ -f "$file" ] || return 0
  pid=$(cat "$file")
  if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -e "$STATE" -e "$RUN"; then kill -KILL "$pid" 2>/dev/null; fi
  rm -f "$file"
}

stop_containers() {
  local pid
  cat /sys/fs/cgroup/*/"$E2E_CLUSTER"/{,**/}cgroup.procs /sys/fs/cgroup/"$E2E_CLUSTER"/{,**/}cgroup.procs 2>/dev/null | sort -un \
    | while read -r pid; do kill -KILL "$pid" 2>/dev/null; done
  for pid in $(pgrep -x containerd-shim); do
    if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$CONTAINERD"; then kill -KILL "$pid" 2>/dev/null; fi
  done
}

unmount_all() {
  awk -v state="$STATE/" -v run="$RUN/" 'index($2, state) == 1 || index($2, run) == 1 {print $2}' /proc/mounts | sort -r \
    | while read -r path; do umount -l "$path"; done
}

remove_cgroups() {
  local root
  for root in /sys/fs/cgroup/*/"$E2E_CLUSTER" /sys/fs/cgroup/"$E2E_CLUSTER"; do
    [ -d "$root" ] && find "$root" -depth -type d -exec rmdir {} + 2>/dev/null
  done
}

# Everything that `up` made, whether it was finished or not. Built programs, images and the last logs stay.
remove_cluster() (
  set +e # most of it may be gone already
  shopt -s globstar nullglob
  # The API server first, and not gently: once etcd is gone its graceful stop hangs for minutes.
  for name in apiserver kubelet controller-manager scheduler kube-proxy coredns; do stop_program $name; done
  stop_containers
  stop_program containerd
  stop_program etcd
  unmount_all
  if [ -e "/run/netns/$E2E_CLUSTER" ]; then ip netns del "$E2E_CLUSTER"; fi
  remove_cgroups
  for link in /var/log/containers/*.log; do
    case $(readlink "$link") in "$STATE"/*) rm -f "$link" ;; esac
  done
  rm -rf "$RUN" "$RUN-buildah" /var/lib/cni/results/"$E2E_CLUSTER"-* "$STATE"/{etcd,kubelet,containerd,cni,pids,pki,pods,config}
)
