#!/usr/bin/env bash
# Puts what developers of a board's software have on their computers into integration/.cache/tools, and prints that path:
# mpremote and mypy in its bin, and the type stubs of MicroPython in its typings. From PyPI, or the index that pip is set up
# with.
set -euo pipefail

home=$(cd "$(dirname "$0")" && pwd)/.cache/tools
packages=(mpremote==1.29.0 mypy==2.4.1)
stubs=micropython-esp32-stubs==1.29.0.post1

fail() { echo "tools.sh: $*" >&2; exit 1; }

if [ "$(cat "$home/packages" 2>/dev/null)" != "${packages[*]} typings/$stubs" ]; then
    echo "tools.sh: taking ${packages[*]} $stubs from pip's index into $home" >&2
    rm -rf "$home"
    mkdir -p "$(dirname "$home")"
    python3 -m venv "$home" >&2 || fail "no Python 3 that can make a virtual environment (Debian: python3-venv)"
    "$home/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" >&2 || fail "pip cannot get them"
    "$home/bin/pip" install --quiet --disable-pip-version-check --target "$home/typings" "$stubs" >&2 ||
        fail "pip cannot get $stubs"
    echo "${packages[*]} typings/$stubs" >"$home/packages"
fi
echo "$home"
