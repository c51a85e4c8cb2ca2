#!/usr/bin/env bash
# The tests on a real Kubernetes that is made for them and removed after them; prints how long each part took. With KUBECONFIG set
# they run on that cluster, which must have the images (worker-image/build.sh) and is left as it was. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
images=.cluster/images
report=()

part() { # part NAME COMMAND...
    local name=$1 start=$SECONDS code=0
    shift
    echo "=== e2e: $name"
    "$@" || code=$?
    report+=("$(printf '%-8s %4d s%s' "$name" $((SECONDS - start)) "$([ $code -eq 0 ] || echo '  FAILED')")")
    return $code
}

summary() { printf 'e2e: %s\n' "${report[@]}"; }

take_down() {
    part down e2e/cluster down || true
    summary
}

build_images() { worker-image/build.sh --out $images all; }
# The node's own tests, and those that need the images' file systems but no cluster.
test_tools() {
    if [ "$(id -u)" -ne 0 ]; then
        scripts/leave-out.sh "the native node, and the images' file systems by themselves" "run make e2e as root"
        return
    fi
    scripts/pytest.sh -c e2e/pytest.ini e2e/cluster_tool/tests/node &&
        scripts/pytest.sh -c worker-image/pytest.ini worker-image/tests/smoke --images $images
}
load_images() { e2e/cluster load-image $images/*.tar; }

if [ -n "${KUBECONFIG:-}" ]; then
    trap summary EXIT
    part tests scripts/pytest.sh -c e2e/tests/pytest.ini e2e/tests "$@"
    exit
fi
part build e2e/cluster build
part images build_images
part tools test_tools
trap take_down EXIT
part up e2e/cluster up
eval "$(e2e/cluster env)"
part load load_images
part tests scripts/pytest.sh -c e2e/tests/pytest.ini e2e/tests "$@"
