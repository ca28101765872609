#!/usr/bin/env bash
# Puts a Python with paho-mqtt and aiomqtt at integration/.cache/paho/bin/python, and prints that path: what
# the benchmark compares `mqtt-ota send` with, and what the client is tested with on CPython.
set -euo pipefail

home=$(cd "$(dirname "$0")/.." && pwd)/.cache/paho
python=$home/bin/python

fail() { echo "paho.sh: $*" >&2; exit 1; }
works() { "$python" -c 'import aiomqtt, paho.mqtt.client' 2>/dev/null; }

if ! works; then
    rm -rf "$home"
    mkdir -p "$(dirname "$home")"
    python3 -m venv "$home" >&2 || fail "no Python 3 that can make a virtual environment (Debian: python3-venv)"
    "$home/bin/pip" install --quiet --disable-pip-version-check 'paho-mqtt>=2,<3' 'aiomqtt>=2,<3' >&2 ||
        fail "pip cannot get paho-mqtt and aiomqtt"
    works || fail "paho-mqtt and aiomqtt were installed and cannot be imported"
fi
echo "$python"
