"""The ids that network namespaces have in the reader's, where anyone assigned one."""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.discovery.members import Members
from nsctl.kernel.rtnetlink import NetnsIds
from nsctl.model.namespace import NamespaceType
from nsctl.model.part import Gap, Part, PartState


def run(draft: Draft) -> None:
    """Ask for the id of every network namespace."""
    members = Members(draft)
    try:
        with NetnsIds() as ids:
            for (kind, ino), namespace in draft.namespaces.items():
                if kind is NamespaceType.NET:
                    with members.open(kind, ino) as fd:
                        if fd is not None:
                            draft.namespaces[kind, ino] = namespace._replace(netnsid=ids.of(fd))
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else None
        draft.gaps.append(
            Gap(
                Part.NETNSIDS,
                "rtnetlink",
                "ids of network namespaces",
                PartState.PARTIAL,
                cause or str(error),
            )
        )
    draft.note_unopened(Part.NETNSIDS, "network ids", members.refused)
