"""What the builder's steps share: descriptors, and how they speak to whoever started it."""

from __future__ import annotations

from collections.abc import Callable

from nsctl.child import plan
from nsctl.child.relay import NULL, PASS, TERMINAL
from nsctl.mounting.context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["NULL", "PASS", "TERMINAL", "Builder"]


class Builder(Context):
    """What the builder's steps share, besides mounts.

    Attributes:
        storage_outside: the container's storage, as the host sees it; -1 without one.
        others: descriptors of other containers' namespaces, by type.
        streams: for each standard stream "pass", "null" or "terminal".
        report: where the last stage says what happened.
        go: where it waits until its state is recorded.
        filters: the default filter, compiled while modules could still be imported.
        offsets: descriptor for clock offsets, opened with the powers of the start.
        parent: pidfd of the builder, in its child.
        terminal: the container's side of its terminal, -1 without one.
        send: sends a message, with descriptors, to whoever started the builder.
        serve: what the builder does as the parent of the first process, for good.
        finish: becomes the last stage, given its plan and the report.
    """

    def __init__(
        self,
        send: Callable[[dict[str, object], list[int]], None],
        serve: Callable[[int, bool], NoReturn],
        finish: Callable[[plan.Plan, int], NoReturn],
    ) -> None:
        super().__init__()
        self.storage_outside = -1
        self.others: dict[str, int] = {}
        self.streams: tuple[str, ...] = ()
        self.report = -1
        self.go = -1
        self.offsets = -1
        self.filters: tuple[plan.Filter, ...] = ()
        self.parent = -1
        self.terminal = -1
        self.send = send
        self.serve = serve
        self.finish = finish
