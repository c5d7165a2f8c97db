"""Capabilities: names, numbers, sets, and what a person is told of a set."""

from __future__ import annotations

import contextlib
import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import UsageError
from nsctl.kernel.capabilities import _highest, last
from nsctl.model import capabilities

pytestmark = pytest.mark.unit

HEADER = pathlib.Path("/usr/include/linux/capability.h")
MASKS = st.integers(min_value=0, max_value=2**64 - 1)


def test_there_are_41_and_the_ends_stand_where_the_kernel_has_them() -> None:
    assert len(capabilities.NAMES) == 41
    assert capabilities.LAST == 40
    assert capabilities.NUMBERS["CAP_CHOWN"] == 0
    assert capabilities.NUMBERS["CAP_SYS_ADMIN"] == 21
    assert capabilities.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40


@pytest.mark.skipif(not HEADER.exists(), reason="needs linux/capability.h (linux-libc-dev)")
def test_the_table_is_that_of_the_kernels_header() -> None:
    found = re.findall(
        r"^#define (CAP_[A-Z_]+)[ \t]+(\d+)[ \t]*$", HEADER.read_text("utf-8"), re.MULTILINE
    )
    assert {name: int(number) for name, number in found} == capabilities.NUMBERS


def test_the_default_set_is_the_mask_that_docker_gives_to_root_in_a_container() -> None:
    assert capabilities.DEFAULT == 0xA80425FB
    assert capabilities.DEFAULT.bit_count() == 14


@given(MASKS)
def test_names_and_mask_are_inverse_for_every_64_bit_set(mask: int) -> None:
    assert capabilities.mask(capabilities.names(mask)) == mask


@given(MASKS, MASKS)
def test_a_described_set_can_be_read_back_from_its_words(held: int, against: int) -> None:
    # What a person reads must not lie: rebuild the set from the words alone.
    words = capabilities.describe(held, against).split(" ")
    if words == ["none"]:
        rebuilt = 0
    elif words[0] == "all":
        rebuilt = capabilities.everything()
        words = words[1:]
    elif words[0].isdigit():
        assert int(words[0]) == against.bit_count()
        kind = ["default", "caps"] if against == capabilities.DEFAULT else ["caps"]
        assert words[1 : 1 + len(kind)] == kind
        rebuilt = against
        words = words[1 + len(kind) :]
    else:
        rebuilt = capabilities.mask(words)
        words = []
    for word in words:
        if word == "none":
            continue
        bit = capabilities.mask([word[1:]])
        assert word[0] in "+-"
        rebuilt = rebuilt | bit if word[0] == "+" else rebuilt & ~bit
    assert rebuilt == held


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (0, "none"),
        (2**41 - 1, "all"),
        (capabilities.DEFAULT, "14 default caps"),
        (
            capabilities.DEFAULT ^ (1 << 19) ^ (1 << 13),
            "14 default caps +SYS_PTRACE -NET_RAW",
        ),
        (2**41 - 1 - (1 << 24), "all -SYS_RESOURCE"),
        (1 << 10 | 1 << 5, "KILL NET_BIND_SERVICE"),
        (1 << 41, "CAP_41"),
    ],
)
def test_sets_are_described_in_the_fewest_words(held: int, words: str) -> None:
    assert capabilities.describe(held) == words


def test_a_set_is_described_against_another_one_too() -> None:
    assert capabilities.describe(0b1111, against=0b0111) == "3 caps +FOWNER"
    assert capabilities.describe(0b1, against=0) == "CHOWN"


def test_all_reaches_as_far_as_the_kernel_goes() -> None:
    assert capabilities.describe(2**38 - 1, highest=37) == "all"
    assert capabilities.mask(["ALL"], highest=37) == 2**38 - 1


@pytest.mark.parametrize(
    "word", ["SYS_ADMIN", "CAP_SYS_ADMIN", "cap_sys_admin", "sys_admin", "Cap_Sys_Admin"]
)
def test_the_prefix_and_the_case_do_not_matter(word: str) -> None:
    assert capabilities.mask([word]) == 1 << 21


def test_all_may_be_written_in_any_case() -> None:
    assert capabilities.mask(["All"]) == capabilities.mask(["all"]) == 2**41 - 1


@pytest.mark.parametrize(
    "word",
    [
        "",
        "CAP_",
        "CAP_CAP_CHOWN",
        "CHOWN ",
        " CHOWN",
        "CHOWN\n",
        "CAP_ALL",
        "21",
        "CAP_21",
        "CAP_040",
        "CAP_64",
        "CAP_" + "9" * 5000,
        "CAP_\u0664\u0661",
        "\u017fys_admin",
        "-CHOWN",
    ],
)
def test_anything_else_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        capabilities.mask([word])


def test_a_refusal_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        capabilities.mask(["SYS_ADMN"])
    assert caught.value.cause == 'no capability is called "SYS_ADMN"'
    assert "SYS_ADMIN" in caught.value.hint


@given(st.text())
def test_arbitrary_words_give_a_mask_or_a_usage_error(word: str) -> None:
    with contextlib.suppress(UsageError):
        assert capabilities.mask([word]).bit_count() in {1, 41}


def test_the_last_capability_is_read_from_the_proc_that_is_given(tmp_path: pathlib.Path) -> None:
    where = tmp_path / "sys" / "kernel"
    where.mkdir(parents=True)
    assert last(str(tmp_path)) == 40
    (where / "cap_last_cap").write_bytes(b"37\n")
    assert last(str(tmp_path)) == 37
    (where / "cap_last_cap").write_bytes(b"42\n")
    assert last(str(tmp_path)) == 42


@given(st.binary(max_size=32))
def test_a_senseless_last_capability_is_not_believed(text: bytes) -> None:
    assert 0 <= _highest(text) <= 63


def test_the_running_kernel_names_its_last_capability() -> None:
    assert last() >= 37
