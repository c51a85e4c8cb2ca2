#!/usr/bin/env bash
# Remove from a tree of packages what the official client brings and the operator never imports: a class for every kind and a
# method for every call, twice (118 of 139 MB). The dynamic client has no need of them. prune-client.sh DIRECTORY
set -euo pipefail
find "$1" -type d -path '*/kubernetes/*' \( -path '*/client/api' -o -path '*/client/models' \) -print0 |
    while IFS= read -r -d '' directory; do
        find "$directory" -type f \( -name '*_api.py' -o -name '*_api.*.pyc' -o -name 'v[0-9]*.py' -o -name 'v[0-9]*.pyc' \) -delete
    done
