#!/usr/bin/env bash
# Build Currant's images: with a Docker engine from their Dockerfiles, without one the same root file systems natively.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")

usage() {
    cat <<'TEXT'
usage: worker-image/build.sh [OPTION]... worker|operator|shop|postgres|all
  --engine docker|none|auto  none: no engine, no registry (Debian, as root); auto (the default): docker when it answers
  --out DIR                  write DIR/currant-NAME.tar, for `e2e/cluster load-image`, `kind load image-archive` or
                             `docker load`; with engine none .cluster/images is the default, with docker no archive is
  --repository R, --tag T    the name is R/currant-NAME:T; by default currant.local/currant-NAME:dev
  --wheel FILE               with engine none: put this wheel of Currant into the images, and build none
  --fresh                    with engine none: take the newest Debian and Python packages, not those kept from last time
operator and shop are built on worker, so they build it too. With docker, base images are $RUST_IMAGE and $PYTHON_IMAGE
when these are set, and $DOCKER_BUILD_OPTIONS goes to `docker build`.
TEXT
}

fail() { echo "error: $*" >&2; exit 1; }

engine=auto out="" repository=currant.local tag=dev wheel="" fresh="" images=()
while [ $# -gt 0 ]; do
    case $1 in
        --engine | --out | --repository | --tag | --wheel) [ $# -ge 2 ] || fail "$1 needs a value" ;;&
        --engine) engine=$2; shift ;;
        --out) out=$2; shift ;;
        --repository) repository=$2; shift ;;
        --tag) tag=$2; shift ;;
        --wheel) wheel=$2; shift ;;
        --fresh) fresh=yes ;;
        -h | --help) usage; exit ;;
        worker | operator | shop | postgres) images+=("$1") ;;
        all) images+=(worker operator shop postgres) ;;
        *) usage >&2; fail "$1 is not known" ;;
    esac
    shift
done
[ ${#images[@]} -gt 0 ] || { usage >&2; fail "say which image"; }
case $engine in
    auto) if docker info >/dev/null 2>&1; then engine=docker; else engine=none; fi ;;
    docker | none) ;;
    *) fail "--engine is docker, none or auto, not $engine" ;;
esac

image_name() { echo "$repository/currant-$1:$tag"; }

# Dockerfile, then the directory that is its context, both under the top of the checkout.
dockerfile_of() {
    case $1 in
        worker) echo worker-image/Dockerfile . ;;
        operator) echo operator/Dockerfile operator ;;
        shop) echo examples/kubernetes/Dockerfile examples/kubernetes ;;
        postgres) echo e2e/images/postgres/Dockerfile e2e/images/postgres ;;
    esac
}

# An image must be built after the image that it is built on.
with_their_bases() {
    local image
    for image in "$@"; do
        case $image in operator | shop) echo worker ;; esac
        echo "$image"
    done | awk '!seen[$0]++'
}

version() { sed -n 's/^version = "\(.*\)"/\1/p' "$top/core/Cargo.toml" | head -1; }
revision() { git -C "$top" describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown; }

# The build arguments, one NAME=VALUE a line.
build_arguments() {
    echo "VERSION=$(version)"
    echo "REVISION=$(revision)"
    echo "WORKER_IMAGE=$(image_name worker)"
    if [ -n "${RUST_IMAGE:-}" ]; then echo "RUST_IMAGE=$RUST_IMAGE"; fi
    if [ -n "${PYTHON_IMAGE:-}" ]; then echo "PYTHON_IMAGE=$PYTHON_IMAGE"; fi
}

docker_build() {
    local image=$1 file context options=() argument
    read -r file context < <(dockerfile_of "$image")
    while read -r argument; do
        # An argument that a Dockerfile does not declare is a warning: leave it out.
        if grep -q "^ARG ${argument%%=*}\b" "$top/$file"; then options+=(--build-arg "$argument"); fi
    done < <(build_arguments)
    # shellcheck disable=SC2086  # several words are meant
    docker build ${DOCKER_BUILD_OPTIONS:-} "${options[@]}" -t "$(image_name "$image")" -f "$top/$file" "$top/$context"
    [ -z "$out" ] || docker save -o "$out/currant-$image.tar" "$(image_name "$image")"
}

if [ "$engine" = none ]; then
    # shellcheck source=worker-image/native.sh
    . "$here/native.sh"
    native_prepare "$fresh"
    out=${out:-$top/.cluster/images}
fi
[ -z "$out" ] || mkdir -p "$out"
while read -r image; do
    start=$SECONDS
    "${engine/none/native}_build" "$image"
    echo "$(image_name "$image"): built in $((SECONDS - start)) s with engine $engine${out:+, $out/currant-$image.tar}"
done < <(with_their_bases "${images[@]}")
