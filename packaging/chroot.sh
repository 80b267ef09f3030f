# Chroots of this machine's Debian for check-deb and check-rpm, in which they do what they like with
# packages. To be sourced by bash in the top folder; makes the folder $work, which goes with the
# process, and in it a copy of the tracked files as they are.
# shellcheck shell=bash

set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

[ "$(id -u)" -eq 0 ] || {
    echo "$0: only root can make chroots" >&2
    exit 1
}
command -v mmdebstrap >/dev/null || {
    echo "$0: mmdebstrap is missing: apt-get install mmdebstrap" >&2
    exit 1
}

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' INT TERM

mkdir -p "$work/source/storescpd"
git ls-files -z | tar --create --null --files-from=- |
    tar --extract --no-same-owner --directory "$work/source/storescpd"

step() { printf '== %s\n' "$*"; }

fail() {
    printf 'FAIL: %s\n' "$*" >&2
    exit 1
}

# quietly COMMAND...: runs a command, what it prints is shown only when it fails, which ends all.
quietly() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        fail "$*"
    }
}

# make_chroot DIRECTORY OPTION...: a small Debian with the source tree in /source/storescpd.
# OPTIONs are mmdebstrap's.
make_chroot() {
    local root=$1
    shift
    mmdebstrap --quiet --variant=apt --skip=cleanup/apt \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Dpkg::Use-Pty "false"' \
        --aptopt='quiet "1"' --include=iproute2 \
        --customize-hook="copy-in '$work/source' /" "$@" "$suite" "$root"
}

# inside DIRECTORY COMMAND...: runs a command in a chroot, without a network but loopback, and
# in a PID namespace of its own, so that nothing that it starts survives it.
inside() {
    local root=$1
    shift
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --net --ipc bash -euc '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        chroot "$root" ip link set lo up
        exec chroot "$root" "$@"' -- "$root" env --ignore-environment HOME=/root \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL="$LC_ALL" DEBIAN_FRONTEND=noninteractive "$@"
}
