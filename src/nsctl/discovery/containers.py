"""What the engines say of their containers; which engines there are is handed in."""

from __future__ import annotations

from nsctl.discovery.draft import Draft, Step
from nsctl.errors import NsctlError
from nsctl.model.part import Gap, Part, PartState


def _run(draft: Draft) -> None:
    for name, source in draft.sources.items():
        try:
            draft.containers.extend(source())
        except NsctlError as error:
            draft.gaps.append(
                Gap(
                    Part.CONTAINERS,
                    name,
                    f"containers of {name}",
                    PartState.UNREADABLE,
                    error.sentence,
                )
            )


STEP = Step(Part.CONTAINERS, (Part.TASKS,), _run)
