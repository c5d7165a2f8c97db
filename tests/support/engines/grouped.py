"""Commands that start in a control group, for engines that leave what they start where they are."""

from __future__ import annotations

from collections.abc import Sequence

# Hierarchies of both versions, as far as there are any: what is started has these groups too.
_SCRIPT = r"""
for top in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ ! -e "$top/cgroup.procs" ] || { mkdir -p "$top$1" && echo $$ > "$top$1/cgroup.procs"; }
done
shift
exec "$@"
"""


def in_group(group: str, command: Sequence[str]) -> list[str]:
    """Make a command one that first moves into a group, which need not exist yet."""
    return ["sh", "-c", _SCRIPT, "sh", group, *command]
