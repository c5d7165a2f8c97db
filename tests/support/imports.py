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
    nsctl.model.namespace nsctl.model.owner nsctl.model.part nsctl.model.task nsctl.model.words
    nsctl.model.container nsctl.model.snapshot nsctl.model.mount nsctl.model.remember
    nsctl.model.words
    nsctl.relate nsctl.relate.debugged nsctl.relate.groups nsctl.relate.listing nsctl.relate.members
    nsctl.relate.services nsctl.relate.was
    nsctl.report nsctl.report.escape nsctl.report.jsonout nsctl.report.note nsctl.report.style
    nsctl.report.table nsctl.report.tree
"""
_ENTER = "nsctl.cli.enter nsctl.cli.getopt"

ENTERED = frozenset(
    f"""
    {_START} {_ENTER} nsctl.ahead
    nsctl.child nsctl.child.plan nsctl.child.readers nsctl.child.relay nsctl.child.report
    nsctl.child.stage2 nsctl.confine nsctl.confine.apply nsctl.confine.confinement
    nsctl.confine.filters nsctl.discovery nsctl.discovery.containers nsctl.discovery.draft
    nsctl.discovery.reader nsctl.discovery.reference nsctl.discovery.tasks nsctl.engines
    nsctl.engines.docker nsctl.engines.exec_spec nsctl.engines.fields nsctl.engines.likely
    nsctl.engines.live_survey nsctl.engines.own nsctl.engines.shims nsctl.engines.state_files
    nsctl.engines.survey nsctl.enter nsctl.enter.ahead nsctl.enter.entry nsctl.enter.joining nsctl.enter.request
    nsctl.enter.session nsctl.enter.surroundings nsctl.host nsctl.kernel nsctl.kernel.below
    nsctl.kernel.cgroup nsctl.kernel.executable nsctl.kernel.mountinfo nsctl.kernel.pidfd
    nsctl.kernel.procfs nsctl.kernel.procstatus nsctl.kernel.scm nsctl.kernel.signals
    nsctl.model.capabilities nsctl.model.container nsctl.model.execution nsctl.model.mount
    nsctl.model.namespace nsctl.model.part nsctl.model.snapshot nsctl.model.target
    nsctl.model.task nsctl.model.words nsctl.relate nsctl.relate.choose nsctl.targets
    nsctl.targets.execution nsctl.targets.live nsctl.targets.syntax
    """.split()
)
"""What runs a command in a container of Docker's by its name."""

ENTERED_STANDARD = frozenset(
    [
        "__future__",
        "_collections",
        "_json",
        "_signal",
        "_socket",
        "_struct",
        "errno",
        "fcntl",
        "gc",
        "select",
        "struct",
    ]
)
"""What that imports besides, and what the interpreter has not imported itself."""

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
