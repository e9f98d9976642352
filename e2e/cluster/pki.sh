# Keys and kubeconfigs of one cluster, made anew at each start; sourced by cluster.sh.
# shellcheck shell=bash

make_ca() { # name common-name
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$2" -keyout "$1.key" -out "$1.crt" 2>/dev/null
}

make_certificate() { # name ca subject usage [alternative names]
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$3" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 30 -out "$1.crt" 2>/dev/null -extfile <(
    echo "basicConstraints=CA:FALSE"
    echo "keyUsage=digitalSignature"
    echo "extendedKeyUsage=$4"
    if [ -n "${5:-}" ]; then echo "subjectAltName=$5"; fi
  )
  rm "$1.csr"
}

make_kubeconfig() { # name
  cat >"$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "https://$NODE_IP:6443", certificate-authority: $PWD/ca.crt}}]
users: [{name: $1, user: {client-certificate: $PWD/$1.crt, client-key: $PWD/$1.key}}]
contexts: [{name: e2e, context: {cluster: e2e, user: $1}}]
current-context: e2e
YAML
}

make_pki() (
  mkdir -p "$STATE/pki" && chmod 700 "$STATE/pki" && cd "$STATE/pki" || exit 1
  make_ca ca kubernetes-ca
  # A CA of its own for the front proxy: an aggregated API trusts user headers only from certificates signed by it.
  make_ca front-proxy-ca front-proxy-ca
  make_certificate front-proxy-client front-proxy-ca /CN=front-proxy-client clientAuth
  make_certificate apiserver ca /CN=kube-apiserver serverAuth \
    "IP:$NODE_IP,IP:$API_SERVICE_IP,IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  make_certificate kubelet-client ca /O=system:masters/CN=apiserver-kubelet-client clientAuth
  make_certificate admin ca /O=system:masters/CN=admin clientAuth
  make_certificate controller-manager ca /CN=system:kube-controller-manager clientAuth
  make_certificate scheduler ca /CN=system:kube-scheduler clientAuth
  make_certificate node ca /O=system:nodes/CN=system:node:node1 clientAuth,serverAuth "IP:$NODE_IP,DNS:node1"
  make_certificate proxy ca /CN=system:kube-proxy clientAuth
  openssl ecparam -genkey -name prime256v1 -noout -out service-account.key 2>/dev/null
  openssl ec -in service-account.key -pubout -out service-account.pub 2>/dev/null
  local user
  for user in admin controller-manager scheduler node proxy; do make_kubeconfig "$user"; done
)
