#!/bin/sh
# The README's first command: sets nsctl up if it has to, then gives the tour.
#
#   sh scripts/tour.sh [option of nsctl tour..]
#
# Root gets the whole tour, and missing Debian packages are installed (they are named first). An
# ordinary user gets what an ordinary user can do, and is told what was left out.
set -eu
. "$(dirname -- "$0")/setup.sh"

lock "$NSCTL_ROOT"
find_python
choose_venv tour
make_environment tour
unlock

need_packages busybox-static ||
    say "missing for the whole tour: $missing; $(how_to_install "$missing")"

if [ -n "$scratch" ]; then
    "$venv/bin/nsctl" tour "$@" # not exec: the environment goes when the tour ends
else
    exec "$venv/bin/nsctl" tour "$@"
fi
