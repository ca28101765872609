#!/usr/bin/env bash
# Tests the MicroPython client with the firmware of a Pico W, on an emulated RP2040 and radio. Not a part of test.sh: it takes
# half an hour or more, and no package has the firmware. PICO_W_UF2 names the image, MicroPython 1.23 or newer, from MicroPython's
# download page; nothing here fetches one. Needs what test.sh installs.
#
#   PICO_W_UF2=RPI_PICO_W-20250415-v1.25.0.uf2 integration/pico-w.sh [FILTER…]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=$here/.cache/pico-w
pinned=$here/pico-w/requirements.txt

fail() { echo "pico-w.sh: $*" >&2; exit 1; }

case ${1:-} in -*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;; esac
if [ -z "${PICO_W_UF2:-}" ]; then
    echo "SKIPPED: PICO_W_UF2 names no image of MicroPython for a Pico W"
    exit
fi
[ -f "$PICO_W_UF2" ] || fail "PICO_W_UF2 names no file: $PICO_W_UF2"
PICO_W_UF2=$(realpath "$PICO_W_UF2")
export PICO_W_UF2

# The emulator, with a Python of its own.
if ! cmp -s "$pinned" "$home/requirements.txt"; then
    rm -rf "$home"
    mkdir -p "$here/.cache"
    python3 -m venv "$home" || fail "no Python 3 that can make a virtual environment (Debian: python3-venv)"
    "$home/bin/pip" install --quiet --disable-pip-version-check --requirement "$pinned" || fail "pip cannot get the emulator"
    cp "$pinned" "$home"
fi
bash "$here/umqtt.sh"

export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
cd "$here/.."
filters=()
for filter in "$@"; do filters+=("pico_w::$filter"); done
[ ${#filters[@]} -gt 0 ] || filters=(pico_w::)
cargo build --locked --workspace
# One board at a time: an emulator takes all of a core, and each time-out is for that.
cargo test --locked --workspace --test e2e -- --ignored --nocapture --test-threads=1 "${filters[@]}"
