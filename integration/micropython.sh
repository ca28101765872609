#!/usr/bin/env bash
# Puts a real MicroPython (unix port, 1.25) at integration/.cache/micropython/bin/micropython, and
# prints that path. Debian 13 packages it. On an older Debian its package and the libraries that it
# needs are taken from Debian 13, through the archive that this machine's apt already uses, and
# unpacked there: nothing is installed, so no root is needed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=$here/.cache/micropython
micropython=$home/bin/micropython
release=trixie
packages=(micropython libc6 libffi8 libmbedcrypto16 libmbedtls21 libmbedx509-7)

say() { echo "micropython.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

version() { "$1" -c 'import sys; print("%d.%d" % sys.implementation[1][:2])' 2>/dev/null; }
is_wanted() { [ -x "$1" ] && [ "$(version "$1")" = 1.25 ]; }

if is_wanted "$micropython"; then
    echo "$micropython"
    exit
fi
mkdir -p "$home/bin"
if on_path=$(command -v micropython) && is_wanted "$on_path"; then
    ln -sf "$on_path" "$micropython"
    echo "$micropython"
    exit
fi

command -v apt-get >/dev/null || fail "no MicroPython 1.25 on the PATH, and no apt-get to get one with: build the unix port and put \`micropython\` on the PATH"

work=$home/apt
rm -rf "$work" "$home/root"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/packages" "$home/root"

# apt knows where it got the running release from; the archive carries the others beside it.
archive=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }')
[ -n "$archive" ] || fail "apt names no Debian archive: run \`apt-get update\` first"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keys" ] || fail "$keys is missing: install debian-archive-keyring"
printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$archive" "$release" >"$work/sources.list"

own_apt() {
    apt-get -qq \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)" "$@"
}
say "taking MicroPython from Debian's $release into $home"
own_apt update >&2
(cd "$work/packages" && own_apt download "${packages[@]}" >&2)
for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$home/root"
done

loader=$(find "$home/root/usr/lib" -name 'ld-linux*.so*' -print -quit)
[ -n "$loader" ] || fail "the C library of $release has no loader that this script knows"
cat >"$micropython" <<WRAPPER
#!/bin/sh
exec '$loader' --library-path '$(dirname "$loader")' '$home/root/usr/bin/micropython' "\$@"
WRAPPER
chmod +x "$micropython"
rm -rf "$work"

is_wanted "$micropython" || fail "what Debian's $release holds is not MicroPython 1.25: $("$micropython" -c 'import sys; print(sys.version)' 2>&1 | tail -1)"
echo "$micropython"
