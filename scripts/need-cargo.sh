#!/usr/bin/env bash
# Say what is missing before a build fails in the middle.
if ! command -v cargo >/dev/null; then
    echo "error: no cargo found; install Rust 1.90 or later (https://rustup.rs), then try again" >&2
    exit 1
fi
if ! command -v cc >/dev/null; then
    echo "error: no C compiler (cc) found; on Debian and Ubuntu: apt-get install gcc libc6-dev" >&2
    exit 1
fi
