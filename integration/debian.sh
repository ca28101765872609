# Sourced by what takes programs from another release of Debian than the one that runs: apt, with lists and sources of its
# own, through the archive that this machine's apt already uses. Nothing is installed, so no root is needed. The sourcing
# script has `fail`.

# own_apt_in FOLDER RELEASE ARCHITECTURE TYPE…: reads what the release has into FOLDER, and sets `own_apt`. TYPE is deb, or
# deb-src as well. Its failures are the caller's to tell, but for a machine that has no archive.
own_apt_in() {
    local folder=$1 release=$2 architecture=$3 archive keys
    shift 3
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" || fail "cannot write to $folder"
    # apt knows where it got the running release from; the archive carries the others beside it.
    # shellcheck disable=SC2016  # apt fills these in
    archive=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }')
    [ -n "$archive" ] || fail "apt names no Debian archive: run \`apt-get update\` first"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$keys" ] || fail "$keys is missing: install debian-archive-keyring"
    printf "%s [signed-by=$keys] $archive $release main\n" "$@" >"$folder/sources.list"
    # shellcheck disable=SC2034  # the sourcing script uses it
    own_apt=(apt-get -qq
        -o APT::Architecture="$architecture" -o APT::Architectures="$architecture"
        -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder/cache"
        -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)")
}
