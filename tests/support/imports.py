"""What the first commands may import: written down here, so that it grows on purpose only.

Each module costs every call of the command. ``nsctl`` modules are listed exactly; of the standard
library nothing but `STANDARD` may come in, since its inner modules differ from version to version.
"""

from __future__ import annotations

from typing import NamedTuple

_START = (
    "nsctl nsctl.cli nsctl.cli.commands nsctl.cli.main nsctl.errors nsctl.model nsctl.model.record"
)
_LS = """
    nsctl.cli.common nsctl.cli.getopt nsctl.cli.ls nsctl.cli.ls_columns
    nsctl.model.namespace nsctl.model.owner nsctl.model.part nsctl.model.task
    nsctl.model.container nsctl.model.snapshot nsctl.model.mount
    nsctl.relate nsctl.relate.debugged nsctl.relate.groups nsctl.relate.listing nsctl.relate.members
    nsctl.relate.services nsctl.relate.was
    nsctl.report nsctl.report.escape nsctl.report.jsonout nsctl.report.note nsctl.report.style
    nsctl.report.table nsctl.report.tree
"""
_ENTER = "nsctl.cli.enter nsctl.cli.getopt"

_STANDARD = """
    __future__ _collections _functools _operator _struct _types collections contextlib copyreg enum
    errno fcntl functools gc importlib itertools keyword operator pwd reprlib struct types warnings
"""
STANDARD = frozenset(_STANDARD.split())
"""Of the standard library, by the names of its packages."""

_DEAR = """
    argparse asyncio base64 ctypes dataclasses datetime difflib hashlib inspect json locale logging
    msgspec pathlib random re selectors shutil socket subprocess tempfile threading traceback typing
    zlib
"""
DEAR = frozenset(_DEAR.split())
"""What costs more than a millisecond, and what a list of namespaces never needs."""


class Budget(NamedTuple):
    """What a command line may import.

    Attributes:
        words: the command line; it stops before anything of the host is read.
        modules: those of nsctl, all of them.
    """

    words: tuple[str, ...]
    modules: frozenset[str]


BUDGETS = {
    "nothing": Budget(("--version",), frozenset(_START.split())),
    "ls": Budget(("ls", "--help"), frozenset(f"{_START} {_LS}".split())),
    "enter": Budget(("enter", "--help"), frozenset(f"{_START} {_ENTER}".split())),
}
"""By the command's name. A command of which start-up is a budget has its line here."""
