"""Names of containers of our own, and namespaces that no process is in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.errors import TargetError, UnknownTarget
from nsctl.kernel import nsfs
from nsctl.model.namespace import NamespaceType
from nsctl.run import lifecycle
from nsctl.targets import live
from nsctl.targets.live import HeldNamespace, Process
from support.containers import Box, box_in
from support.holding import holding

pytestmark = pytest.mark.privileged


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with box_in(tmp_path) as made:
        yield made


def test_a_container_s_name_and_id_lead_to_its_first_process(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = box.detach(name="web")
    monkeypatch.setattr("nsctl.engines.own.directory_of", lambda *_: box.store.state)
    # Digits alone would be a PID.
    begin = next(made.id[:size] for size in range(9, 33) if not made.id[:size].isdecimal())
    for text in ("web", "nsctl://web", made.id, begin):
        found = live.resolve(text)
        assert isinstance(found, Process)
        found.close()
        assert found.container is not None
        assert (found.pid, found.container.id) == (made.pid, made.id)
    lifecycle.stop("web", box.store, grace=0.1)
    with pytest.raises(TargetError, match="nsctl://web does not run"):
        live.resolve("web")


_HELD = {
    "descriptor": "ino, fd = elsewhere(NET, 'net', lambda: own('net'))\nready(ino=ino)",
    "socket": "ino, made = elsewhere(NET, 'net', socket.socket)\nready(ino=ino)",
    "bind": """
unshare(MNT)
mount("none", "/", None, 0x44000)
mount("none", sys.argv[1], "tmpfs", 0)
place = sys.argv[1] + "/ns"
open(place, "w").close()
ino, _ = elsewhere(NET, "net", lambda: mount("/proc/thread-self/ns/net", place, None, 4096))
ready(ino=ino)
""",
}


@pytest.mark.parametrize("held_by", _HELD)
def test_a_namespace_without_a_process_is_opened(tmp_path: Path, held_by: str) -> None:
    with holding(_HELD[held_by], str(tmp_path)) as (_, made, _):
        found = live.resolve(f"net:[{made['ino']}]")
        assert isinstance(found, HeldNamespace)
        assert (nsfs.inode(found.fd), found.type) == (made["ino"], NamespaceType.NET)
        found.close()


def test_what_nothing_leads_to_is_unknown() -> None:
    with pytest.raises(UnknownTarget, match=r"nothing seen here leads to it"):
        live.resolve("net:[1]")
