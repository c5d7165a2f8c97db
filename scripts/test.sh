#!/bin/sh
# The README's second command: sets up what the tests need, then runs them.
#
#   sh scripts/test.sh [tier..] [-- option of pytest (or of bench/run.py)..]
#   sh scripts/test.sh --clean      removes what it has set up
#
# Tiers, all of them but the last unless some are named:
#   lint        ruff, mypy, and who imports whom
#   native      the C objects in the package are what their source gives
#   unit docs cli userns           as an ordinary user, also when root starts them
#   cli privileged engines         as root
#   bench       nsctl and its peers in turn on the same load
#
# A need that is not met is a skipped test which says what is missing. NSCTL_TEST_REQUIRE=all, or
# a list of tiers with commas, makes it a failure. CONTRIBUTING.md describes the other variables.
set -eu
. "$(dirname -- "$0")/setup.sh"

ordinary=23456 # as in tests/support/users.py
tiers='lint native unit docs cli userns privileged engines'
place=/var/tmp/nsctl-test-$(echo "$NSCTL_ROOT" | sha256sum | cut -c 1-12)

wanted=
while [ $# -gt 0 ]; do
    case $1 in
        --)
            shift
            break
            ;;
        -h | --help)
            sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        --clean)
            rm -rf "$NSCTL_ROOT/.venv"
            # In a directory that is anybody's, only root's own is removed.
            if is_root && [ ! -h "$place" ] && [ "$(stat -c %u "$place" 2>/dev/null)" = 0 ]; then
                rm -rf "$place"
            fi
            exit 0
            ;;
        *)
            case " $tiers bench " in
                *" $1 "*) wanted="$wanted $1" ;;
                *)
                    say "no tier is called '$1'; there are: $tiers bench"
                    exit 2
                    ;;
            esac
            shift
            ;;
    esac
done
[ -n "$wanted" ] || wanted=$tiers

is_wanted() {
    case " $wanted " in *" $1 "*) ;; *) return 1 ;; esac
}

all_required() {
    case ",${NSCTL_TEST_REQUIRE:-}," in *,all,*) ;; *) return 1 ;; esac
}

# --- Who runs the tests, and from where -------------------------------------------------------

# A command as an ordinary user, who has a home of its own and nothing else of the caller's.
as_ordinary() {
    if is_root; then
        as="setpriv --reuid=$ordinary --regid=$ordinary --clear-groups --inh-caps=-all"
    else
        as=
    fi
    # shellcheck disable=SC2086  # a list of words, perhaps empty
    env -i PATH="$PATH" HOME="$home" TMPDIR="$home/tmp" XDG_RUNTIME_DIR="$home/run" \
        HYPOTHESIS_STORAGE_DIRECTORY="$home/hypothesis" PYTHONDONTWRITEBYTECODE=1 \
        LANG=C.UTF-8 TERM="${TERM:-dumb}" COLUMNS="${COLUMNS:-100}" \
        NSCTL_TEST_REQUIRE="${NSCTL_TEST_REQUIRE:-}" \
        NSCTL_TEST_PROFILE="${NSCTL_TEST_PROFILE:-}" \
        NSCTL_TEST_EXAMPLES="${NSCTL_TEST_EXAMPLES:-}" \
        NSCTL_TEST_SEED="${NSCTL_TEST_SEED:-}" \
        NSCTL_TEST_ALONE="${NSCTL_TEST_ALONE:-}" \
        NSCTL_TEST_GRACE="${NSCTL_TEST_GRACE:-}" \
        NSCTL_TEST_LIMIT="${NSCTL_TEST_LIMIT:-}" \
        $as "$@"
}

make_home() {
    home=$scratch/home
    mkdir -m 700 "$home" "$home/tmp" "$home/run"
    if is_root; then
        chmod 755 "$scratch"
        chown -R "$ordinary:$ordinary" "$home"
    fi
}

# Whether everything below a directory, and the way to it, can be read by an ordinary user.
ordinary_reads() {
    as_ordinary sh -c '
        cd "$1" 2>/dev/null && test -r pyproject.toml &&
            test -z "$(find . \( -name ".?*" -o -name __pycache__ -o -name build \) -prune \
                -o ! -readable -print 2>&1 | head -n 1)"
    ' sh "$1"
}

# Root's checkout may lie below a directory that is closed to others (/root). Then everything is
# run from a copy which is open to them. Its name is known beforehand and /var/tmp is anybody's,
# so a directory that is there already is used only if it is root's own and no link.
move_to_open_place() {
    moved=yes
    if ! mkdir -m 755 "$place" 2>/dev/null; then
        if [ -h "$place" ] || [ "$(stat -c '%F %u %a' "$place")" != 'directory 0 755' ]; then
            die "$place is in the way, and is not root's own"
        fi
    fi
    say "an ordinary user cannot read $NSCTL_ROOT: testing a copy in $place"
    lock "$place"
    rm -rf "$place/tree"
    mkdir -m 755 "$place/tree"
    tar -C "$NSCTL_ROOT" --exclude=./.git --exclude=./.venv --exclude=./build \
        --exclude='./.*_cache' --exclude=__pycache__ -cf - . |
        tar -C "$place/tree" --no-same-owner -xf -
    chmod -R go+rX,go-w "$place/tree"
    NSCTL_ROOT=$place/tree
    NSCTL_VENV=$place/venv
    # A machine that exists for one run keeps nothing of it.
    [ "${CI:-}" != true ] || trap 'rm -rf -- "$scratch" "$place"' EXIT
}

# --- Set-up ------------------------------------------------------------------------------------

set_up() {
    find_python
    choose_venv test
    make_environment test test lint engines
}

environment_serves_ordinary() {
    as_ordinary "$venv/bin/python" -c 'import nsctl, pytest, hypothesis, jsonschema' 2>"$scratch/why"
}

make_scratch
make_home
moved=
lock "$NSCTL_ROOT"
if is_root && ! ordinary_reads "$NSCTL_ROOT"; then
    move_to_open_place
fi
set_up
if ! environment_serves_ordinary && is_root && [ -z "$moved" ]; then
    move_to_open_place
    set_up
fi
environment_serves_ordinary ||
    die "an ordinary user cannot use the environment $venv: $(tail -n 1 "$scratch/why")"
engine_packages=
! is_wanted engines ||
    engine_packages='bubblewrap catatonit conmon containerd containernetworking-plugins crun docker.io
        iptables lxc podman rootlesskit runc systemd-container uidmap'
# shellcheck disable=SC2086  # a list of words
need_packages busybox-static clang fish fzf gcc gcc-aarch64-linux-gnu gdb iproute2 libc6-dev \
    libc6-dev-arm64-cross make procps qemu-user-static strace tcpdump tmux util-linux zsh $engine_packages ||
    say "missing: $missing; $(how_to_install "$missing")"
cd "$NSCTL_ROOT"
# A copy is made anew by each run, so the next one has to wait.
[ -n "$moved" ] || unlock

# Caches lie in the environment when they can: the checkout stays as it was.
cache=$venv/cache
mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || cache=$scratch
export RUFF_CACHE_DIR="$cache/ruff" MYPY_CACHE_DIR="$cache/mypy"
export HYPOTHESIS_STORAGE_DIRECTORY="$cache/hypothesis"

# --- The tiers ---------------------------------------------------------------------------------

outcomes=
failures=0

outcome() { # STATUS NAME: notes how it went, and says so at the end
    case $1 in
        0) outcomes="$outcomes
  passed  $2" ;;
        *) outcomes="$outcomes
  FAILED  $2" failures=$((failures + 1)) ;;
    esac
}

attempt() { # NAME COMMAND..: descriptor 9 is the lock, and nobody's business
    name=$1
    shift
    say "$name"
    status=0
    "$@" 9<&- || status=$?
    outcome "$status" "$name"
}

# attempt_pytest NAME RUNNER TIERS MARKS [OPTION..]: one run of pytest over the wanted tiers.
attempt_pytest() {
    name=$1 runner=$2 marks=$4 chosen=
    for tier in $3; do
        if is_wanted "$tier" && [ -n "$(find "tests/$tier" -name 'test_*.py' 2>/dev/null)" ]; then
            chosen="$chosen tests/$tier"
        fi
    done
    shift 4
    [ -n "$chosen" ] || return 0
    say "$name:$chosen"
    status=0
    # shellcheck disable=SC2086  # a list of words
    "$runner" "$venv/bin/python" -m pytest -p no:cacheprovider -m "$marks" $chosen "$@" 9<&- ||
        status=$?
    # 5: no test was selected, which is normal when the caller selects some.
    if [ "$status" -ne 5 ] || [ $# -eq 0 ]; then
        outcome "$status" "$name:$chosen"
    fi
}

as_root() {
    "$@"
}

if is_wanted lint; then
    attempt 'ruff check' "$venv/bin/ruff" check --quiet .
    attempt 'ruff format' "$venv/bin/ruff" format --check --quiet .
    attempt 'mypy' "$venv/bin/mypy" --no-error-summary
    attempt 'lint-imports' "$venv/bin/lint-imports" --no-logo --cache-dir "$cache/import-linter"
fi
if is_wanted native && [ -e src/nsctl/native/build.mk ]; then
    if have make && have gcc && have aarch64-linux-gnu-gcc && have clang; then
        attempt 'native objects' make --no-print-directory --silent native-check
    else
        say 'native objects: skipped, make, gcc, aarch64-linux-gnu-gcc or clang is missing'
        ! all_required || outcome 1 'native objects'
    fi
fi
if is_root; then
    attempt_pytest 'as an ordinary user' as_ordinary 'unit docs cli userns' \
        'not privileged and not engines' "$@"
    attempt_pytest 'as root' as_root 'cli privileged engines' 'not userns' "$@"
else
    attempt_pytest 'as an ordinary user' as_ordinary 'unit docs cli userns privileged engines' \
        '' "$@"
fi

if is_wanted bench; then
    attempt 'bench' "$venv/bin/python" bench/run.py "$@"
fi

[ -n "$outcomes" ] || die 'nothing was selected'
say "outcome:$outcomes"
[ "$failures" -eq 0 ]
