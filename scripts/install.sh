#!/usr/bin/env bash
# Installs Vedette as a service, upgrades it, or takes it away. docs/install.md explains it.
set -euo pipefail

usage() {
    cat <<'END'
Usage: sudo scripts/install.sh [--from PATH] [--extra NAME]... [--wheelhouse DIR] [--no-start] [--wait SECONDS]
       sudo scripts/install.sh --uninstall [--purge]

Installs Vedette as a service, or upgrades it: the new version is built beside the old one, checked with your
configuration, and started. If it is not healthy in time, the old one is put back and started again.

  --from PATH        what to install: a checkout, a wheel, or a folder with Vedette's wheel (default: where this script is)
  --extra NAME       with an optional part: onnx or tflite-runtime; may be repeated
  --wheelhouse DIR   install from the wheels in this folder alone, without a network
  --no-start         leave the service as it is: neither start nor restart it
  --wait SECONDS     how long the new version may take to be healthy (default: 60)
  --uninstall        take the program and its unit away; configuration, keys and results stay
  --purge            with --uninstall: those, too
END
}

HOME_DIR=/opt/vedette
VERSIONS=$HOME_DIR/versions
CONFIG_DIR=/etc/vedette
UNIT_DIR=/etc/systemd/system
STATE_DIR=/var/lib/vedette
COMMAND=/usr/local/bin/vedette
STEADY_S=10  # of these seconds, none may bring a restart
NEED_MB=1000 # a version takes about 450, and pip as much again while it builds it

say() { echo "vedette: $*"; }
fail() { echo "vedette: $*" >&2; exit 1; }

# --- What this machine is. Each takes the root of a system.

# debian 12, debian 13, ubuntu 22.04, ubuntu 24.04, ... Raspberry Pi OS of 64 bits is debian, JetPack is ubuntu.
system_of() {
    local name version
    name=$(sed -n 's/^ID="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$1/etc/os-release" 2>/dev/null)
    version=$(sed -n 's/^VERSION_ID="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$1/etc/os-release" 2>/dev/null)
    echo "${name:-unknown} $version"
}

# pi, jetson or other.
board_of() {
    if [ -e "$1/etc/nv_tegra_release" ]; then echo jetson
    elif grep -qa '^Raspberry Pi' "$1/proc/device-tree/model" 2>/dev/null; then echo pi
    else echo other
    fi
}

# 32 or 64: those of the programs, for a 32-bit system may run on a 64-bit kernel. The fifth byte of an ELF file is its class.
bits_of() {
    case $(od -An -tu1 -j4 -N1 "$1/bin/sh" 2>/dev/null | tr -d ' ') in
    1) echo 32 ;;
    2) echo 64 ;;
    *) echo unknown ;;
    esac
}

# Why Vedette cannot run here; nothing where it can.
obstacle_of() {
    local system
    system=$(system_of "$1")
    if [ "$(bits_of "$1")" = 32 ]; then
        echo "this system is of 32 bits, for which no model runtime is built; install the 64-bit edition, on a Raspberry Pi: Raspberry Pi OS (64-bit)"
    elif [ "$(board_of "$1")" = jetson ] && grep -qE '^# R([0-9]|[12][0-9]|3[0-5]) ' "$1/etc/nv_tegra_release"; then
        echo "JetPack 5 and older have a Python that is too old; install JetPack 6 or 7"
    else
        case $system in
        "debian "[1-9] | "debian 1"[01] | "ubuntu 1"* | "ubuntu 20."*)
            echo "$system has a Python that is too old; Debian 12 and 13 and Ubuntu 22.04 and 24.04 are supported"
            ;;
        esac
    fi
}

is_known() {
    case $(system_of "$1") in
    "debian 12" | "debian 13" | "ubuntu 22.04" | "ubuntu 24.04") ;;
    *) return 1 ;;
    esac
}

# --- What is installed from. SOURCE is a checkout or a wheel.

# Sets SOURCE, and WHEELHOUSE where a folder has everything.
find_source() {
    local from=$1 wheels
    if [ -f "$from" ] && [[ $from == *.whl ]] || [ -f "$from/pyproject.toml" ]; then
        SOURCE=$(realpath "$from")
        return
    fi
    mapfile -t wheels < <(find "$from" -maxdepth 1 -name 'vedette-*.whl' 2>/dev/null | sort -V)
    [ ${#wheels[@]} -gt 0 ] || fail "$from is no checkout, no wheel, and no folder with a vedette-*.whl; name one with --from"
    SOURCE=$(realpath "${wheels[-1]}")
}

version_of() {
    if [ -d "$1" ]; then
        sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$1/agent/__init__.py"
    else
        basename "$1" | cut -d- -f2
    fi
}

# All that makes one installation differ from another, as one line.
stamp_of() {
    local content
    if [ -d "$1" ]; then
        content=$(cd "$1" && find pyproject.toml agent models/shapes systemd config -type f ! -name '*.pyc' -print0 |
            sort -z | xargs -0 sha256sum | sha256sum)
    else
        content=$(sha256sum <"$1")
    fi
    content="${content%% *} $("$PYTHON" -V) plugins:$(plugins_of "$CONFIG_DIR" | xargs -rd '\n' sha256sum | sha256sum | cut -c1-12)"
    echo "$content extras:${EXTRAS:-none} system-packages:$(needs_system_packages && echo yes || echo no)"
}

# Wheels of plugins, which every version gets: docs/plugins.md.
plugins_of() { find "$1/plugins" -maxdepth 1 -name '*.whl' 2>/dev/null | sort || true; }

# JetPack's TensorRT is made for the system's Python. Cameras need none of this: a reader with the system's Python serves.
needs_system_packages() {
    [ "$(board_of /)" = jetson ] && "$PYTHON" -c 'import tensorrt' 2>/dev/null
}

# --- Building a version.

# The system's own: its camera libraries and TensorRT are made for it, and the unit hides those in home folders.
need_python() {
    PYTHON=/usr/bin/python3
    "$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null ||
        fail "needs Python 3.10 to 3.13 as $PYTHON, and there is $("$PYTHON" -V 2>&1 || echo none)"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null && return
    [ -z "${DPKG_MAINTSCRIPT_NAME:-}" ] || fail "needs the package python3-venv"
    say "installing python3-venv"
    { apt-get update -q && apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends python3-venv; } >&2 ||
        fail "could not install python3-venv; install it, then run this again"
}

need_room() {
    local free_mb
    free_mb=$(df --output=avail -BM "$HOME_DIR" | tail -n 1 | tr -dc 0-9)
    [ "$free_mb" -ge "$NEED_MB" ] || fail "$HOME_DIR has $free_mb MB free, and a version needs $NEED_MB for a while; free some space"
}

# The folder of the next one: VERSION-N.
next_folder() {
    local n=1
    while [ -e "$VERSIONS/$1-$n" ]; do n=$((n + 1)); done
    echo "$VERSIONS/$1-$n"
}

build() {
    local folder=$1 options=() index=() plugins
    mapfile -t plugins < <(plugins_of "$CONFIG_DIR")
    ! needs_system_packages || options=(--system-site-packages)
    [ -z "$WHEELHOUSE" ] || index=(--no-index --find-links "$WHEELHOUSE")
    "$PYTHON" -m venv "${options[@]}" "$folder"
    mkdir "$folder/tmp" # Debian 13 has /tmp in memory, of which a small board has too little for all the wheels
    TMPDIR=$folder/tmp "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir "${index[@]}" \
        "$SOURCE${EXTRAS:+[$EXTRAS]}" "${plugins[@]}" >&2 || {
        rm -rf "$folder"
        fail "the new version could not be built; what runs here was not touched"
    }
    rm -r "$folder/tmp"
    stamp_of "$SOURCE" >"$folder/vedette-installed" # last: without it the folder is a ruin
}

# What an installation that was cut off has left behind.
clear_ruins() {
    local folder
    for folder in "$VERSIONS"/*/; do
        [ -e "$folder/vedette-installed" ] || rm -rf "$folder"
    done
}

# What comes with a version: its unit and configurations.
parts_of() {
    "$1/bin/python" -I -c 'import agent, pathlib; print(pathlib.Path(agent.__file__).parent / "_shipped")'
}

# --- Putting it in place.

put_config() {
    local parts=$1
    install -d -m 0755 "$CONFIG_DIR"
    install -d -m 0700 "$CONFIG_DIR/credentials"
    install -m 0644 "$parts/config/vedette.example.yaml" "$CONFIG_DIR/vedette.example.yaml"
    [ -e "$CONFIG_DIR/vedette.yaml" ] || install -m 0644 "$parts/config/vedette.start.yaml" "$CONFIG_DIR/vedette.yaml"
}

put_unit() {
    local parts=$1 drop_in=$UNIT_DIR/vedette.service.d/jetson.conf
    getent group video >/dev/null || groupadd --system video # the unit names it; its user is made by systemd at each start
    install -D -m 0644 "$parts/systemd/vedette.service" "$UNIT_DIR/vedette.service"
    if [ "$(board_of /)" = jetson ]; then
        install -D -m 0644 "$parts/systemd/vedette.service.d/jetson.conf" "$drop_in"
    fi
    if has_systemd; then systemctl daemon-reload; fi
    if command -v systemctl >/dev/null; then systemctl --quiet enable vedette; fi
}

# Never a moment without: rename(2) replaces a link in one step.
point_to() {
    ln -sfn "$1" "$HOME_DIR/current.new"
    mv -T "$HOME_DIR/current.new" "$HOME_DIR/current"
}

put_links() {
    [ -e "$HOME_DIR/bin" ] || ln -s current/bin "$HOME_DIR/bin"
    if [ ! -e "$COMMAND" ] || [ -L "$COMMAND" ]; then ln -sfn "$HOME_DIR/bin/vedette" "$COMMAND"; fi
}

switch_to() {
    local folder=$1
    point_to "versions/$(basename "$folder")"
    put_links
    put_unit "$(parts_of "$folder")"
}

# The last two stay: the one that runs, and the one before it.
keep_two() {
    local folder
    for folder in "$VERSIONS"/*/; do
        folder=${folder%/}
        [ "$folder" = "$1" ] || [ "$folder" = "$2" ] || rm -rf "$folder"
    done
}

# --- The service.

has_systemd() { [ -d /run/systemd/system ]; }

property() { systemctl show vedette --property="$1" --value; }

# Starts what `current` is, and waits until it has been ready and without a restart for a while; 1: it is not well.
start_and_watch() {
    local until=$((SECONDS + WAIT_S)) ready='' state
    systemctl reset-failed vedette 2>/dev/null || true
    systemctl start --no-block vedette
    while :; do
        sleep 1
        state=$(property ActiveState)
        if [ "$(property NRestarts)" != 0 ] || [ "$state" = failed ]; then return 1; fi
        if [ "$state" = inactive ] && [ -z "$(property Job)" ]; then [ "$(property Result)" = success ]; return; fi
        if [ "$state" != active ]; then ready=''; elif [ -z "$ready" ]; then ready=$SECONDS; fi
        if [ -n "$ready" ] && [ $((SECONDS - ready)) -ge "$STEADY_S" ]; then return 0; fi
        if [ -z "$ready" ] && [ "$SECONDS" -ge "$until" ]; then return 1; fi
    done
}

last_words() {
    journalctl --unit vedette --lines 20 --output cat --no-pager 2>/dev/null | sed 's/^/    /' >&2
}

# From NEW to OLD. Whatever ends this script while the new version is on trial comes here.
roll_back() {
    trap - EXIT INT TERM
    echo "vedette: $(basename "$NEW") did not become healthy. The last that the service said:" >&2
    last_words
    systemctl stop vedette
    if [ -z "$OLD" ]; then
        fail "there is no older version to go back to; mend that, then run this again, or look with: sudo vedette doctor"
    fi
    switch_to "$OLD"
    rm -rf "$NEW"
    if start_and_watch; then
        fail "went back to $(basename "$OLD"), which runs again; your configuration and results were not touched"
    fi
    fail "went back to $(basename "$OLD"), but that is not healthy either: journalctl -u vedette"
}

# --- The commands.

# The folder of the version in use; empty: none.
current() {
    if [ -L "$HOME_DIR/current" ]; then realpath "$HOME_DIR/current"; fi
}

install_or_upgrade() {
    find_source "$FROM"
    need_python
    mkdir -p "$VERSIONS"
    if [ -e "$HOME_DIR/pyvenv.cfg" ]; then
        fail "$HOME_DIR is an installation made by hand; take it away first: sudo rm -r $HOME_DIR (configuration and results are elsewhere)"
    fi
    clear_ruins
    OLD=$(current)
    if [ -n "$OLD" ] && [ "$(cat "$OLD/vedette-installed")" = "$(stamp_of "$SOURCE")" ]; then
        leave_as_it_is "$OLD"
        return
    fi
    need_room
    NEW=$(next_folder "$(version_of "$SOURCE")")
    say "building $(basename "$NEW"); this takes a few minutes on a small board"
    build "$NEW"
    put_config "$(parts_of "$NEW")"
    "$NEW/bin/vedette" check "$CONFIG_DIR/vedette.yaml" || {
        rm -rf "$NEW"
        fail "the new version does not accept $CONFIG_DIR/vedette.yaml (see above); mend it, then run this again"
    }
    replace
    keep_two "$NEW" "$OLD"
}

# The same version again: only what is missing is put back.
leave_as_it_is() {
    local parts
    parts=$(parts_of "$1")
    put_config "$parts"
    put_links
    put_unit "$parts"
    say "$(basename "$1") is installed already: nothing to do"
    if [ "$START" = yes ] && has_systemd && [ "$(property ActiveState)" != active ]; then
        start_and_watch || { last_words; fail "but it is not healthy; look with: sudo vedette doctor"; }
        say "it did not run, and was started"
    fi
}

# OLD, if there is one, by NEW.
replace() {
    if [ "$START" = no ] || ! has_systemd; then
        switch_to "$NEW"
        say "$(basename "$NEW") is installed, and was not started: sudo systemctl restart vedette"
    else
        trap roll_back EXIT
        trap 'exit 1' INT TERM
        systemctl stop vedette 2>/dev/null || true
        switch_to "$NEW"
        start_and_watch || exit 1
        trap - EXIT INT TERM
        say "$(basename "$NEW") runs: systemctl status vedette"
    fi
    [ -n "$OLD" ] || say "configure it in $CONFIG_DIR/vedette.yaml, then: sudo systemctl restart vedette"
}

uninstall() {
    if has_systemd; then systemctl --quiet disable --now vedette 2>/dev/null || true; fi
    rm -f "$UNIT_DIR/vedette.service" "$UNIT_DIR/vedette.service.d/jetson.conf" \
        "$UNIT_DIR/multi-user.target.wants/vedette.service"
    rmdir "$UNIT_DIR/vedette.service.d" 2>/dev/null || true
    rm -rf "$HOME_DIR"
    [ "$(readlink "$COMMAND")" != "$HOME_DIR/bin/vedette" ] || rm -f "$COMMAND"
    if [ "$PURGE" = yes ]; then
        rm -rf "$CONFIG_DIR" "$UNIT_DIR/vedette.service.d" "$STATE_DIR" "/var/lib/private/$(basename "$STATE_DIR")"
        say "is gone, with its configuration, keys and results"
    else
        say "is gone; $CONFIG_DIR and $STATE_DIR stay (--purge removes them)"
    fi
    if has_systemd; then systemctl daemon-reload; fi
}

parse() {
    FROM=$(default_source) EXTRAS='' WHEELHOUSE='' START=yes WAIT_S=60 UNINSTALL=no PURGE=no
    while [ $# -gt 0 ]; do
        case $1 in
        --from) FROM=${2:?--from needs a path} && shift ;;
        --extra)
            case ${2:-} in
            onnx | tflite-runtime) EXTRAS=${EXTRAS:+$EXTRAS,}$2 && shift ;;
            *) fail "--extra is onnx or tflite-runtime, not '${2:-}'" ;;
            esac
            ;;
        --wheelhouse) WHEELHOUSE=$(realpath -e "${2:?--wheelhouse needs a folder}") && shift ;;
        --no-start) START=no ;;
        --wait) WAIT_S=${2:?--wait needs seconds} && shift ;;
        --uninstall) UNINSTALL=yes ;;
        --purge) PURGE=yes ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && fail "there is no option $1" ;;
        esac
        shift
    done
    [[ $WAIT_S =~ ^[0-9]+$ ]] || fail "--wait is a whole number of seconds, not '$WAIT_S'"
    [ "$PURGE" = no ] || [ "$UNINSTALL" = yes ] || fail "--purge goes with --uninstall"
}

# The checkout around this script, or the folder it is in.
default_source() {
    local here
    here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
    if [ -f "$here/../pyproject.toml" ]; then realpath "$here/.."; else echo "$here"; fi
}

main() {
    local obstacle
    parse "$@"
    [ "$(id -u)" = 0 ] || fail "needs root: sudo $0 $*"
    umask 022
    exec 9>/run/vedette-install.lock
    flock -n 9 || fail "another installation is under way"
    if [ "$UNINSTALL" = yes ]; then
        uninstall
        return
    fi
    obstacle=$(obstacle_of /)
    [ -z "$obstacle" ] || fail "$obstacle"
    is_known / || say "$(system_of /) is not one that this was made for; going on"
    install_or_upgrade
}

# Sourced by its tests, for the functions alone.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
