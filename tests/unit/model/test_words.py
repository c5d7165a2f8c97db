"""Sets of words behave as `enum.StrEnum` does, which they stand in for."""

from __future__ import annotations

import copy
import enum
import json
import pickle
import subprocess
import sys
from typing import Any, cast

import pytest

from nsctl.model.namespace import NamespaceType
from nsctl.model.part import Part, PartState
from nsctl.model.words import StrEnum

pytestmark = pytest.mark.unit


def standard(words: type[StrEnum]) -> Any:
    """The standard library's of the same members."""
    make: Any = enum.StrEnum
    return make(words.__name__, [(each.name, each.value) for each in words])


SETS: list[type[StrEnum]] = [NamespaceType, Part, PartState]


@pytest.mark.parametrize("words", SETS)
def test_members_are_as_those_of_the_standard_library(words: type[StrEnum]) -> None:
    theirs = standard(words)
    for own, other in zip(words, theirs, strict=True):
        assert own == other == own.value == str(own) == f"{own}"
        assert (own.name, own.value, repr(own)) == (other.name, other.value, repr(other))
        assert hash(own) == hash(str(own))
        assert f"{own:>12}" == f"{other:>12}"
        assert json.dumps({own: own}) == json.dumps({other: other})
    assert len(words) == len(theirs)


@pytest.mark.parametrize("words", SETS)
def test_there_is_one_of_each(words: type[StrEnum]) -> None:
    for each in words:
        assert words(each.value) is each
        assert words(each) is each
        assert getattr(words, each.name) is each
        assert pickle.loads(pickle.dumps(each)) is each  # noqa: S301  (our own)
        assert copy.deepcopy(each) is each
        assert type(each.value) is str
        assert each.value in cast("Any", words)


@pytest.mark.parametrize("word", ["MNT", "", "mnt ", None, 7, [], {}])
def test_other_words_are_refused_in_the_same_sentence(word: object) -> None:
    theirs, ours = standard(NamespaceType), cast("Any", NamespaceType)
    with pytest.raises(ValueError, match="is not a valid NamespaceType") as own:
        ours(word)
    with pytest.raises(ValueError, match="is not a valid NamespaceType") as other:
        theirs(word)
    assert str(own.value) == str(other.value)


def test_one_word_for_two_members_is_a_fault() -> None:
    with pytest.raises(TypeError, match="two members are one word"):
        cast("Any", type(NamespaceType))("Twice", (StrEnum,), {"ONE": "a", "TWO": "a"})


def test_nothing_of_the_standard_library_is_needed() -> None:
    code = (
        "import sys; import nsctl.model.namespace, nsctl.model.part; print('enum' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
