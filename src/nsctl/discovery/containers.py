"""What the engines say of their containers; which engines there are is handed in."""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.errors import NsctlError, translate
from nsctl.model.part import Gap, Part, PartState


def run(draft: Draft) -> None:
    """Ask every engine."""
    for name, source in draft.sources.items():
        try:
            draft.containers.extend(source())
        except (NsctlError, OSError) as error:
            told = translate(error, "list", name) if isinstance(error, OSError) else error
            draft.gaps.append(
                Gap(
                    Part.CONTAINERS,
                    name,
                    f"containers of {name}",
                    PartState.UNREADABLE,
                    told.sentence,
                )
            )
