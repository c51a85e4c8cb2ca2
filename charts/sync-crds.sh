#!/usr/bin/env bash
# Copy crds/ into the chart, which must hold all that it installs. A test compares the two.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -f charts/currant/files/crds/*.yaml
cp crds/*.yaml charts/currant/files/crds/
