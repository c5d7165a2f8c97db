"""What is remembered of names: written whole, trusted little."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import NsctlError, UsageError
from nsctl.expose import names
from nsctl.expose.record import MADE, Record, _decode, locked

pytestmark = pytest.mark.unit

RECORD = Record("web", "docker://web", 5, 6, "boot", 4, 4026532000)


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    place = str(tmp_path / "records")
    with locked(place) as records:
        records.write(RECORD)
        records.write(RECORD._replace(name="b"))
        records.write(RECORD._replace(waiter=9, waiter_start=10))
        records.note(MADE, holds=True)
    with locked(place) as records:
        assert records.all() == [
            RECORD._replace(name="b"),
            RECORD._replace(waiter=9, waiter_start=10),
        ]
        assert records.is_noted(MADE)
        records.note(MADE, holds=False)
        records.forget("b")
        records.forget("b")
        records.forget("web")
        assert records.all() == []
    assert os.listdir(place) == []


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"null", b'{"version": 2}', b'{"version": 1}', b"[" * 60000],
)
def test_a_damaged_record_is_said_to_be_one(tmp_path: Path, damage: bytes) -> None:
    place = tmp_path / "records"
    with locked(str(place)) as records:
        (place / "web.json").write_bytes(damage)
        with pytest.raises(NsctlError, match="it is damaged"):
            records.all()


@pytest.mark.parametrize(
    ("field", "value"), [("pid", "5"), ("pid", True), ("name", "../x"), ("ino", None), ("more", 1)]
)
def test_a_record_of_other_fields_is_none(tmp_path: Path, field: str, value: Any) -> None:
    place = tmp_path / "records"
    fields = {"version": 1, **RECORD._asdict(), field: value}
    with locked(str(place)) as records:
        (place / "web.json").write_text(json.dumps(fields))
        with pytest.raises(NsctlError, match="it is damaged"):
            records.all()


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_nothing_else_is_taken_for_a_record(fields: Any) -> None:
    with pytest.raises(ValueError, match=r"other|another"):
        _decode(fields, "web.json")


def test_a_directory_that_is_open_to_others_is_not_trusted(tmp_path: Path) -> None:
    place = tmp_path / "records"
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    with pytest.raises(NsctlError, match="it is not root's alone"), locked(str(place)):
        pass
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(NsctlError), locked(str(link)):
        pass


@pytest.mark.parametrize("name", ["web", "a.b-c_d", "é", "x" * 200, "pod:app", "1"])
def test_usual_names_are_good(name: str) -> None:
    assert names.check(name) == name


@given(st.text(max_size=300))
def test_every_name_that_is_taken_is_one_file_below_the_directory(name: str) -> None:
    try:
        taken = names.check(name)
    except UsageError:
        return
    path = os.path.normpath(f"{names.DIRECTORY}/{taken}")
    assert os.path.dirname(path) == names.DIRECTORY
    assert os.path.basename(path) == name
    assert name.isprintable()
