# What tour.sh and test.sh share: the system's Python, a virtual environment, Debian packages.
#
# Sourced, never run. Works with dash under `set -eu`. Nothing is said and little is done when
# everything is there; whatever is made or installed is named first, on standard error.
#
# After `find_python` and `make_environment KIND`:
#   NSCTL_ROOT   the sources
#   python       the system's Python
#   venv         the virtual environment, with nsctl installed from NSCTL_ROOT
#   scratch      a directory that goes with this run, empty unless one was made
# shellcheck shell=sh

NSCTL_ROOT=$(cd -P -- "$(dirname -- "$0")/.." && pwd)

scratch=

# The programs of root's directories (ip, nft, losetup) answer some questions to anybody.
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/sbin:/sbin
export PATH

# Root working in somebody else's checkout leaves no files there which its owner cannot remove.
if [ "$(stat -c %u "$NSCTL_ROOT")" -ne "$(id -u)" ]; then
    export PYTHONDONTWRITEBYTECODE=1
fi

say() {
    printf 'nsctl: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}

# --- Debian packages ---------------------------------------------------------------------------

# The program by which a package is known where there is no dpkg to ask.
program_of() {
    case $1 in
        python3) echo python3 ;;
        busybox-static) echo busybox ;;
        gcc-aarch64-linux-gnu) echo aarch64-linux-gnu-gcc ;;
        qemu-user-static) echo qemu-aarch64-static ;;
        util-linux) echo lsns ;;
        iproute2) echo ip ;;
        procps) echo ps ;;
        *) echo "$1" ;;
    esac
}

package_there() {
    if have dpkg-query; then
        # shellcheck disable=SC2016  # dpkg-query's own variable
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
    else
        case $1 in
            libc6-dev) [ -e /usr/include/stdio.h ] ;;
            libc6-dev-arm64-cross) [ -e /usr/aarch64-linux-gnu/include/stdio.h ] ;;
            *) have "$(program_of "$1")" ;;
        esac
    fi
}

# Those of the named packages that are not there, in $missing.
find_missing() {
    missing=
    for package; do
        package_there "$package" || missing="$missing $package"
    done
    missing=${missing# }
}

# See to the named Debian packages: root installs those that are missing. What is still missing
# afterwards is in $missing, and the status is 1.
need_packages() {
    find_missing "$@"
    [ -n "$missing" ] || return 0
    is_root && have apt-get || return 1
    say "installing Debian packages: $missing"
    apt_log=$(mktemp)
    forbid_services
    # A list of packages that cannot be refreshed may still do. One package that cannot be had
    # must not cost the others, so they are tried one by one after the whole has failed.
    apt_get update || :
    # shellcheck disable=SC2086  # a list of words
    if ! apt_get --no-install-recommends install $missing; then
        for package in $missing; do
            apt_get --no-install-recommends install "$package" || :
        done
    fi
    allow_services
    find_missing "$@"
    if [ -n "$missing" ]; then
        say "could not install: $missing; the last that apt-get said:"
        tail -n 5 "$apt_log" >&2
    fi
    rm -f "$apt_log"
    [ -z "$missing" ]
}

# A package that is installed for its program must not start its daemon: invoke-rc.d(8) asks this
# policy. One that is there already is left as it is.
forbid_services() {
    forbidden=
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        forbidden=1
    fi
}

allow_services() {
    [ -z "$forbidden" ] || rm -f /usr/sbin/policy-rc.d
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" \
        </dev/null >>"$apt_log" 2>&1 9<&-
}

how_to_install() {
    if have apt-get; then
        echo "as root: apt-get install $*"
    else
        echo "with this system's package manager (Debian's names are given)"
    fi
}

# --- Python ------------------------------------------------------------------------------------

new_enough() {
    "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# The system's Python first: a private build below somebody's home cannot be read by the ordinary
# user that tests and tour also play, nor by a user namespace's root.
find_python() {
    [ -x /usr/bin/python3 ] || have python3 || need_packages python3 || :
    for python in /usr/bin/python3 /usr/bin/python3.[1-9][0-9] "$(command -v python3 || :)"; do
        if [ -n "$python" ] && [ -x "$python" ] && new_enough "$python"; then
            return 0
        fi
    done
    die "needs Python 3.11 or newer, and found none as /usr/bin/python3 or on PATH"
}

# What the environment was made for; another Python, place or pyproject.toml makes it stale.
environment_key() {
    sha256sum <"$NSCTL_ROOT/pyproject.toml"
    echo "$1" "$NSCTL_ROOT" "$python" "$("$python" -V)"
}

stamped() {
    [ -x "$1/bin/nsctl" ] && [ -r "$1/nsctl-$2.stamp" ] &&
        [ "$(cat "$1/nsctl-$2.stamp")" = "$(environment_key "$1")" ]
}

# An environment that we may make, or fill: absent and its place writable, or made from $python.
fillable() {
    if [ -e "$1" ]; then
        [ -w "$1" ] && [ "$(readlink -f "$1/bin/python3")" = "$(readlink -f "$python")" ]
    else
        [ -w "$(dirname "$1")" ]
    fi
}

# The place of the environment: what the caller says, the checkout, else the user's own cache.
choose_venv() {
    if [ -n "${NSCTL_VENV:-}" ]; then
        venv=$NSCTL_VENV
        return 0
    fi
    venv=$NSCTL_ROOT/.venv
    if stamped "$venv" "$1" || fillable "$venv"; then
        return 0
    fi
    cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}
    if mkdir -p "$cache/nsctl" 2>/dev/null; then
        venv=$cache/nsctl/venv-$(echo "$NSCTL_ROOT" | sha256sum | cut -c 1-12)
        return 0
    fi
    say "can write neither to $NSCTL_ROOT nor to a home directory: set up for this run alone"
    make_scratch
    venv=$scratch/venv
}

# A directory for this run alone, $scratch. Sourced scripts end with `exit`, so this trap is theirs.
make_scratch() {
    [ -z "$scratch" ] || return 0
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/nsctl.XXXXXXXX")
    trap 'rm -rf -- "$scratch"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 141' PIPE
    trap 'exit 143' TERM
}

# make_environment KIND [GROUP..]: $venv with nsctl and the dependency groups of pyproject.toml.
make_environment() {
    kind=$1
    shift
    stamped "$venv" "$kind" && return 0
    # An environment without pip is one whose making was interrupted.
    if ! "$venv/bin/python" -I -c 'import pip' 2>/dev/null; then
        if ! "$python" -I -c 'import ensurepip' 2>/dev/null; then
            need_packages python3-venv ||
                die "needs python3-venv to set itself up; $(how_to_install python3-venv)"
        fi
        say "making a virtual environment of $python in $venv"
        (umask 022 && "$python" -m venv "$venv") || die "could not make $venv"
    fi
    say "installing nsctl${*:+ and the tools of: $*} into it"
    wanted_list=$venv/nsctl-$kind.txt
    (umask 022 && dependency_groups "$@" >"$wanted_list") || die "could not read pyproject.toml"
    # Without a home of one's own there is no place for pip's cache.
    no_cache=
    [ -O "${HOME:-/nonexistent}" ] || no_cache=--no-cache-dir
    # The lock (descriptor 9) is not for pip's children. $no_cache may be no word at all.
    # shellcheck disable=SC2086
    (umask 022 && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-input $no_cache --editable "$NSCTL_ROOT" --requirement "$wanted_list" 9<&-) ||
        die "pip could not install what is needed (its words are above)"
    # Who may not write here would compile every module at every start: 200 ms for a list.
    if [ -z "${PYTHONDONTWRITEBYTECODE:-}" ] && [ -w "$NSCTL_ROOT/src/nsctl" ]; then
        (umask 022 && "$venv/bin/python" -I -m compileall -q "$NSCTL_ROOT/src") || :
    fi
    (umask 022 && environment_key "$venv" >"$venv/nsctl-$kind.stamp")
}

# pip learnt to read dependency groups in 25.1; Debian 12 has 23.0.
dependency_groups() {
    "$python" -I - "$NSCTL_ROOT/pyproject.toml" "$@" <<'PYTHON'
import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    groups = tomllib.load(file)["dependency-groups"]


def show(name):
    for entry in groups[name]:
        if isinstance(entry, dict):
            show(entry["include-group"])
        else:
            print(entry)


for name in sys.argv[2:]:
    show(name)
PYTHON
}

# Two runs at once must not fill one environment. The directory itself is the lock.
lock() {
    have flock || return 0
    exec 9<"$1"
    if ! flock -n 9; then
        say "waiting for another run in $1"
        flock 9
    fi
}

unlock() {
    exec 9<&-
}
