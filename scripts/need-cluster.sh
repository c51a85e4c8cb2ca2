#!/usr/bin/env bash
# Check what `make e2e` and `make demo-k8s` need before anything is built: the cluster that KUBECONFIG names, or the programs for one
# of our own.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${KUBECONFIG:-}" ]; then
    scripts/need.sh --or-error python compiler cargo kubectl helm
    answer=$(kubectl --request-timeout=10s get --raw /readyz 2>&1 </dev/null) || {
        echo "error: the cluster that KUBECONFIG names ($KUBECONFIG) does not answer: ${answer##*$'\n'}" >&2
        exit 1
    }
else
    scripts/need.sh --or-error python compiler cargo go
    e2e/cluster check
fi
