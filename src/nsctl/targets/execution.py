"""How the engine of a TARGET would start a command in it."""

from __future__ import annotations

from nsctl.model.execution import Execution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.targets.live import Process


def execution_of(process: Process) -> Execution | None:
    """Ask the configuration of the container that a process is the first of.

    Args:
        process: what a TARGET led to.

    Returns:
        What it says; None for a process that was named otherwise, and where there is no
        configuration that is to be believed.
    """
    if process.container is None:
        return None
    from nsctl.engines import exec_spec

    return exec_spec.of_container(process.container, process.proc)
