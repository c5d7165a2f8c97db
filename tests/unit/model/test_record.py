"""Rows: what `nsctl.model.record` makes is what `collections.namedtuple` makes."""

from __future__ import annotations

import copy
import keyword
import pickle
import re
import subprocess
import sys
from collections import namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model import record
from nsctl.model.part import Gap
from nsctl.model.task import Task

pytestmark = pytest.mark.unit

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)


def make(fields: list[str], defaults: list[int]) -> type[Any]:
    """A class of these fields, the last of which have defaults."""
    body: dict[str, Any] = {"__annotations__": dict.fromkeys(fields, "int")}
    body |= dict(zip(fields[len(fields) - len(defaults) :], defaults, strict=True))
    base: Any = record.NamedTuple
    made: type[Any] = type(base)("Row", (base,), body)
    return made


@given(st.lists(NAMES, unique=True, max_size=8), st.data())
def test_a_row_is_made_as_a_named_tuple_is(fields: list[str], data: st.DataObject) -> None:
    defaults = data.draw(st.lists(st.integers(), max_size=len(fields)))
    reference: Any = namedtuple  # noqa: PYI024  (it is what rows are compared with)
    theirs: Any = reference("Row", fields, defaults=defaults)
    ours = make(fields, defaults)
    given_by_place = data.draw(st.lists(st.integers(), max_size=len(fields) + 1))
    given_by_name = data.draw(st.dictionaries(st.sampled_from([*fields, "zz"]), st.integers()))
    for _ in range(2):  # a class's first call is the one that compiles its constructor
        try:
            expected = theirs(*given_by_place, **given_by_name)
        except TypeError as error:
            with pytest.raises(TypeError, match=re.escape(str(error))):
                ours(*given_by_place, **given_by_name)
            continue
        made = ours(*given_by_place, **given_by_name)
        assert (made, repr(made), made._asdict()) == (expected, repr(expected), expected._asdict())
        assert [getattr(made, field) for field in fields] == [*expected]
        assert type(made)._make(expected) == expected
        for field in fields:
            assert made._replace(**{field: -1}) == expected._replace(**{field: -1})
    assert ours._fields == theirs._fields
    assert ours._field_defaults == theirs._field_defaults


def test_a_row_survives_copying_and_pickling() -> None:
    task = pickle.loads(pickle.dumps(copy.copy(_task())))  # noqa: S301  (made right here)
    assert task == _task()
    assert type(task) is Task


def _task() -> Task:
    return Task(1, 0, 5, "S", kernel=False, comm=b"x", owner=0, threads=1, ns=(1, 2))


def test_a_row_cannot_be_changed_and_takes_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        _task().pid = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        _task().other = 2  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="no such fields: other"):
        _task()._replace(other=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="expected 7 values, got 1"):
        Gap._make([1])


def test_a_row_can_be_matched() -> None:
    match _task():
        case Task(pid, ppid):
            assert (pid, ppid) == (1, 0)


@pytest.mark.parametrize(
    ("fields", "body", "message"),
    [
        (("_a",), {}, "begins with _"),
        (("a", "b"), {"a": 1}, "follows one with a default"),
    ],
)
def test_a_body_that_is_no_row_is_refused(
    fields: tuple[str, ...], body: dict[str, int], message: str
) -> None:
    base: Any = record.NamedTuple
    with pytest.raises(TypeError, match=message):
        type(base)("Row", (base,), {"__annotations__": dict.fromkeys(fields, "int"), **body})


def test_rows_do_not_inherit_from_rows() -> None:
    with pytest.raises(TypeError, match="inherits from NamedTuple alone"):
        type("More", (Gap,), {"__annotations__": {"more": "int"}})


def test_making_rows_imports_no_typing() -> None:
    code = "import sys; import nsctl.model.task; sys.exit('typing' in sys.modules)"
    assert subprocess.run([sys.executable, "-I", "-c", code], check=False).returncode == 0
