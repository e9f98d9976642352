# Starts a one-node Kubernetes inside a network namespace; sourced by cluster.sh.
# shellcheck shell=bash

# nsenter and not `ip netns exec`: that one remounts /sys and hides the cgroups from kubelet.
inside() { nsenter --net="/run/netns/$E2E_CLUSTER" "$@"; }
cluster_kubectl() { inside kubectl --kubeconfig "$ADMIN_KUBECONFIG" "$@"; }

start() { # name program arguments...
  local name=$1
  shift
  setsid nsenter --net="/run/netns/$E2E_CLUSTER" "$@" >"$LOGS/$name.log" 2>&1 </dev/null 9>&- &
  echo $! >"$STATE/pids/$name"
  disown
}

# Waits for a command to succeed; ends at once when the program it waits for is gone.
wait_for() { # name seconds command...
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$(cat "$STATE/pids/$name")" 2>/dev/null; then
      tail -n 20 "$LOGS/$name.log" >&2
      fail "$name ended; its log is $LOGS/$name.log"
    fi
    [ $SECONDS -lt $deadline ] || { tail -n 20 "$LOGS/$name.log" >&2; fail "$name is not ready; its log is $LOGS/$name.log"; }
    sleep 0.1
  done
}

make_network() {
  ip netns add "$E2E_CLUSTER"
  ip -n "$E2E_CLUSTER" link set lo up
  ip -n "$E2E_CLUSTER" link add node0 type bridge # a bridge, since not every kernel has dummy devices
  ip -n "$E2E_CLUSTER" addr add $NODE_IP/24 dev node0
  ip -n "$E2E_CLUSTER" link set node0 up
  ip -n "$E2E_CLUSTER" route add default via $NODE_IP dev node0
  inside sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
}

# A cgroup of our own: what is in it is ours, so `down` finds every container even after a crash.
make_cgroups() {
  local controller file
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$E2E_CLUSTER"
    for controller in cpu cpuset memory pids io hugetlb; do
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
      echo "+$controller" >"/sys/fs/cgroup/$E2E_CLUSTER/cgroup.subtree_control" 2>/dev/null || true
    done
    return
  fi
  for controller in /sys/fs/cgroup/*/; do
    [ -f "$controller/cgroup.procs" ] || continue
    mkdir -p "$controller$E2E_CLUSTER"
    for file in cpuset.cpus cpuset.mems; do
      if [ -f "$controller$file" ]; then cat "$controller$file" >"$controller$E2E_CLUSTER/$file"; fi
    done
  done
}

start_etcd() {
  start etcd "$(program etcd)" --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380
}

start_apiserver() {
  local pki=$STATE/pki
  # The requestheader and proxy-client flags are what gives aggregated APIs the identity of their callers.
  start apiserver "$(program kube-apiserver)" --etcd-servers=http://127.0.0.1:2379 --advertise-address=$NODE_IP --secure-port=6443 \
    --service-cluster-ip-range=$SERVICES --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --service-account-key-file="$pki/service-account.pub" --service-account-signing-key-file="$pki/service-account.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
    --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group --requestheader-username-headers=X-Remote-User \
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key"
}

start_controllers() {
  local pki=$STATE/pki
  # A grace period of minutes: on a busy machine a late heartbeat must not turn every pod NotReady.
  start controller-manager "$(program kube-controller-manager)" --use-service-account-credentials=true --leader-elect=false \
    --kubeconfig="$pki/controller-manager.kubeconfig" --authentication-kubeconfig="$pki/controller-manager.kubeconfig" \
    --authorization-kubeconfig="$pki/controller-manager.kubeconfig" --service-account-private-key-file="$pki/service-account.key" \
    --root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --cluster-cidr=$PODS --allocate-node-cidrs=true --node-cidr-mask-size=24 --node-monitor-grace-period=5m \
    --horizontal-pod-autoscaler-sync-period="$HPA_SYNC" --horizontal-pod-autoscaler-downscale-stabilization="$HPA_DOWNSCALE"
  start scheduler "$(program kube-scheduler)" --kubeconfig="$pki/scheduler.kubeconfig" --leader-elect=false
}

start_dns() {
  cat >"$STATE/config/Corefile" <<X
.:53 {
  bind $NODE_IP
  errors
  kubernetes cluster.local {
    kubeconfig $ADMIN_KUBECONFIG
    pods verified
  }
  cache 5
}
X
  start coredns "$(program coredns)" -conf "$STATE/config/Corefile"
}

start_containerd() {
  cat >"$STATE/config/containerd.toml" <<X
version = 2
root = "$STATE/containerd"
state = "$RUN/containerd"
[grpc]
  address = "$CONTAINERD"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true        # in a sandbox without CAP_SYS_RESOURCE runc fails otherwise
  netns_mounts_under_state_dir = true  # so that "down" finds them
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$TOOLS/debian/usr/lib/cni"
    conf_dir = "$STATE/cni"
X
  cat >"$STATE/cni/10-bridge.conflist" <<X
{"cniVersion": "1.0.0", "name": "$E2E_CLUSTER-pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$STATE/cni/addresses", "ranges": [[{"subnet": "$NODE_PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
X
  start containerd containerd --config "$STATE/config/containerd.toml"
}

start_kubelet() {
  cat >"$STATE/config/kubelet.yaml" <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $STATE/pki/node.crt
tlsPrivateKeyFile: $STATE/pki/node.key
containerRuntimeEndpoint: unix://$CONTAINERD
cgroupDriver: cgroupfs
cgroupRoot: /$E2E_CLUSTER
failCgroupV1: false
failSwapOn: false
podLogsDir: $STATE/pods
clusterDNS: [$NODE_IP]
clusterDomain: cluster.local
resolvConf: ""
oomScoreAdj: 0
localStorageCapacityIsolation: false
enforceNodeAllocatable: [none]
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
maxPods: 200
X
  start kubelet "$(program kubelet)" --config="$STATE/config/kubelet.yaml" --kubeconfig="$STATE/pki/node.kubeconfig" \
    --hostname-override=node1 --node-ip=$NODE_IP --root-dir="$STATE/kubelet" --cert-dir="$STATE/kubelet/pki"
}

start_kube_proxy() {
  cat >"$STATE/config/kube-proxy.yaml" <<X
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $PODS
hostnameOverride: node1
clientConnection: {kubeconfig: $STATE/pki/proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0}
X
  start kube-proxy "$(program kube-proxy)" --config="$STATE/config/kube-proxy.yaml"
}

load_image() { ctr -a "$CONTAINERD" -n k8s.io images import "$1" >/dev/null; }

check_host() {
  local command missing=()
  [ "$(id -u)" = 0 ] || fail "the cluster needs root (network namespaces, containers); without root use a cluster of yours: E2E_KUBECONFIG=FILE"
  for command in containerd runc ctr ip nft iptables conntrack nsenter openssl buildah kubectl; do
    command -v $command >/dev/null || missing+=("$command")
  done
  [ -x "$TOOLS/debian/usr/lib/cni/bridge" ] || missing+=(containernetworking-plugins)
  [ ${#missing[@]} = 0 ] || fail "missing: ${missing[*]}. Run e2e/install-tools.sh cluster"
}

create_cluster() {
  mkdir -p "$STATE"/{pids,cni,kubelet,pods,config} "$RUN" "$LOGS"
  rm -f "$LOGS"/*.log
  make_network
  make_cgroups
  make_pki
  start_etcd
  start_apiserver
  start_containerd
  wait_for apiserver 90 cluster_kubectl get --raw /readyz
  start_controllers
  start_dns
  wait_for containerd 30 ctr -a "$CONTAINERD" version
  load_image "$(pause_image)"
  start_kubelet
  wait_for kubelet 60 cluster_kubectl get node node1
  start_kube_proxy
  wait_for kubelet 60 cluster_kubectl wait --for=condition=Ready --timeout=1s node/node1
}
