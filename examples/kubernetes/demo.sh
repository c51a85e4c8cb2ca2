#!/usr/bin/env bash
# make demo-k8s: a cluster, the images, the chart with its demo Postgres, a pool of workers, the shop, and orders; then how
# to look around. With KUBECONFIG set it uses that cluster, which must have the images (worker-image/build.sh all).
set -euo pipefail
cd "$(dirname "$0")/../.."
release=currant
system=${DEMO_SYSTEM_NAMESPACE:-currant-system} # where the operator runs
namespace=${DEMO_NAMESPACE:-shop}               # where the workers and the shop run
repository=${DEMO_REPOSITORY:-currant.local} tag=${DEMO_TAG:-dev}
images=.cluster/images

say() { printf '\n=== %s\n' "$*"; }

make_cluster() {
    say "the images"
    worker-image/build.sh --out $images --repository "$repository" --tag "$tag" all
    say "the cluster"
    e2e/cluster status >/dev/null 2>&1 || e2e/cluster up
    e2e/cluster load-image $images/currant-{operator,shop,postgres}.tar
    eval "$(e2e/cluster env)"
}

# `helm install` as a user would type it, with the names of the images built here.
install_chart() {
    say "the chart: two operators and a Postgres that is not for production"
    local persistence=true
    [ -n "$(kubectl get storageclass -o name)" ] || persistence=false
    kubectl create namespace "$namespace" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
    helm upgrade --install $release charts/currant --namespace "$system" --create-namespace --wait --timeout 5m --hide-notes \
        --set image.repository="$repository/currant-operator" --set image.tag="$tag" \
        --set demoPostgres.enabled=true --set demoPostgres.persistence.enabled=$persistence \
        --set demoPostgres.image.repository="$repository/currant-postgres" --set demoPostgres.image.tag="$tag" \
        --set "database.namespaces={$namespace}"
}

apply_shop() {
    say "a pool of workers, the rules of its workflows, and the shop"
    local file before
    before=$(kubectl get --namespace "$namespace" deployment/shop-web -o name --ignore-not-found)
    for file in workerpool workflow shop; do
        sed "s#currant.local/currant-shop:dev#$repository/currant-shop:$tag#" examples/kubernetes/$file.yaml |
            kubectl apply --namespace "$namespace" -f -
    done
    # The shop of an earlier demo may have the URL of a deleted database; the operator renews the pods of the pool itself.
    [ -z "$before" ] || kubectl rollout restart --namespace "$namespace" deployment/shop-web
    if ! kubectl wait --namespace "$namespace" --for=condition=Ready workerpool/shop --timeout=3m; then
        kubectl describe --namespace "$namespace" workerpool/shop # its conditions say what is wrong
        exit 1
    fi
    kubectl rollout status --namespace "$namespace" deployment/shop-web --timeout=3m
    kubectl get --namespace "$namespace" workerpools,workflows,pods
}

print_next() {
    local down="helm uninstall $release --namespace $system"
    printf '\nIt all goes on running. Look around:\n'
    if [ -n "${made:-}" ]; then
        down="e2e/cluster down"
        # shellcheck disable=SC2016  # it is to be typed
        echo '    eval "$(e2e/cluster env)"'
    fi
    cat <<TEXT
    kubectl config set-context --current --namespace $namespace
    kubectl get workerpools,workflows
    kubectl describe workerpool shop
    kubectl --namespace $system exec deploy/currant-cli -- currant list --roots --limit 10
    kubectl --namespace $system exec deploy/currant-cli -- currant schedules
    kubectl scale workerpool shop --replicas 4
    kubectl port-forward service/shop-web 8000        # then http://localhost:8000/docs
    helm test $release --namespace $system
Take it down:
    $down
TEXT
}

if [ -z "${KUBECONFIG:-}" ]; then
    made=yes
    make_cluster
fi
install_chart
apply_shop
say "orders"
code=0
.venv/bin/python examples/kubernetes/demo.py --namespace "$namespace" "$@" || code=$?
print_next
exit $code
