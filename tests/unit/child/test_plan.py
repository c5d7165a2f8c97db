"""The plan: written, read, and refused when it is damaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.child.plan import (
    MAGIC,
    MODES,
    SECCOMP_FILTER_FLAG_LOG,
    UNLIMITED,
    Filter,
    Join,
    Limit,
    Plan,
    Terminal,
    check,
    decode,
)
from nsctl.errors import NsctlError
from nsctl.model.task import CapabilitySets
from support.examples import Mutations

pytestmark = pytest.mark.unit

words = st.integers(0, 0xFFFFFFFF)
long_words = st.integers(0, UNLIMITED)
ids = st.integers(0, 0xFFFFFFFE)
strings = st.binary(max_size=12).map(lambda text: text.replace(b"\0", b"."))
names = st.binary(min_size=1, max_size=6).map(
    lambda text: text.translate(bytes(range(256)), b"=\0")
)


@st.composite
def environments(draw: st.DrawFn) -> tuple[bytes, ...]:
    chosen = draw(st.lists(names.filter(bool), max_size=4, unique=True))
    return tuple(name + b"=" + draw(strings) for name in chosen)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    fds = draw(st.lists(st.integers(3, 0x7FFFFFFF), min_size=8, max_size=12, unique=True))
    programs = st.binary(min_size=8, max_size=8).map(lambda one: one * 3)
    return Plan(
        argv=tuple(draw(st.lists(strings, min_size=1, max_size=4))),
        env=draw(environments()),
        mode=draw(st.sampled_from(MODES)),
        keep=draw(st.sampled_from((None, (), tuple(fds[8:])))),
        stdio=draw(st.none() | st.tuples(*[st.integers(0, 0x7FFFFFFF)] * 3)),
        go=draw(st.sampled_from((None, fds[0]))),
        parent=draw(st.sampled_from((None, fds[1]))),
        signals=draw(st.booleans()),
        words=tuple(draw(st.lists(strings, max_size=3))),
        label=draw(st.none() | st.tuples(strings, strings)),
        cgroup=draw(st.sampled_from((None, fds[2]))),
        lenient_groups=draw(st.booleans()),
        namespaces=tuple(draw(st.lists(st.builds(Join, st.just(fds[3]), words), max_size=3))),
        two_passes=draw(st.booleans()),
        view=draw(st.none() | st.lists(st.tuples(strings, strings), max_size=2).map(tuple)),
        root=draw(st.sampled_from((None, fds[4]))),
        directory=draw(st.sampled_from((None, fds[5]))),
        terminal=draw(st.none() | st.builds(Terminal, st.just(fds[6]), words)),
        setsid=draw(st.booleans()),
        keyring=draw(st.none() | strings),
        limits=tuple(draw(st.lists(st.builds(Limit, words, long_words, long_words), max_size=3))),
        umask=draw(st.none() | st.integers(0, 0o777)),
        cwd=draw(st.none() | strings.filter(bool)),
        capabilities=draw(st.none() | st.builds(CapabilitySets, *[long_words] * 5)),
        groups=draw(st.none() | st.lists(words, max_size=4).map(tuple)),
        gid=draw(st.none() | ids),
        uid=draw(st.none() | ids),
        securebits=draw(st.none() | words),
        death_signal=draw(st.none() | st.integers(1, 64)),
        no_new_privs=draw(st.booleans()),
        filters=tuple(draw(st.lists(st.builds(Filter, programs, st.sampled_from((0, 2, 4, 6)))))),
        keep_caps=draw(st.booleans()),
        program=draw(st.none() | strings.filter(bool)),
        scripts=draw(st.booleans()),
    )


@given(plans())
def test_a_plan_is_read_as_it_was_written(plan: Plan) -> None:
    assert decode(plan.encode()) == plan


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda rest: MAGIC + rest))
def test_what_is_no_plan_is_refused(text: bytes) -> None:
    with pytest.raises(NsctlError):
        decode(text)


def test_a_damaged_plan_is_refused_or_has_one_spelling(mutations: Mutations) -> None:
    corpus = [EVERYTHING.encode(), Plan((b"a",)).encode()]
    for text in mutations(corpus):
        try:
            plan = decode(text)
        except NsctlError:
            continue
        if len({entry.partition(b"=")[0] for entry in plan.env if b"=" in entry}) == len(plan.env):
            assert plan.encode() == text


EVERYTHING = Plan(
    argv=(b"program", b"", b"argument"),
    env=(b"PATH=/bin", b"EMPTY="),
    mode="init",
    keep=(7, 9),
    stdio=(2, 1, 0),
    go=5,
    parent=6,
    signals=True,
    words=(b"cannot", b""),
    label=(b"/proc/self/attr/exec", b"label"),
    cgroup=10,
    lenient_groups=True,
    namespaces=(Join(11, 0x20000), Join(12, 0)),
    two_passes=True,
    view=((b"/etc/hosts", b""), (b"/etc/resolv.conf", b"nameserver ::1\n")),
    root=13,
    directory=14,
    terminal=Terminal(15, 7),
    setsid=True,
    keyring=b"name",
    limits=(Limit(7, 10, UNLIMITED), Limit(0, 1, 1)),
    umask=0o77,
    cwd=b"/",
    capabilities=CapabilitySets(1, 3, 2, 7, 1),
    groups=(0, 5),
    gid=4,
    uid=3,
    securebits=0x2F,
    death_signal=9,
    no_new_privs=True,
    filters=(Filter(b"\x06\0\0\0\0\0\xff\x7f"), Filter(b"\x06\0\0\0\0\0\xff\x7f" * 2, 2)),
    keep_caps=True,
    program=b"/bin/sh",
    scripts=True,
)


@pytest.mark.parametrize(
    "change",
    [
        {"argv": ()},
        {"argv": (b"a\0b",)},
        {"env": (b"A=1", b"A=2")},
        {"env": (b"A",)},
        {"env": (b"=1",)},
        {"keep": (2,)},
        {"keep": (5,)},
        {"go": 2},
        {"go": 6},
        {"go": 11},
        {"root": 14},
        {"cgroup": 2},
        {"terminal": Terminal(6, 7)},
        {"terminal": Terminal(5, 7)},
        {"namespaces": (Join(9, 0), Join(13, 0))},
        {"namespaces": (Join(11, 0),) * 17},
        {"label": (b"a\0b", b"")},
        {"view": ((b"/etc/hosts", b"\0"),)},
        {"program": b""},
        {"stdio": (0, 1, 1 << 31)},
        {"cwd": b""},
        {"cwd": b"/" + b"a" * 4096},
        {"limits": (Limit(7, -1, -1),)},
        {"umask": 0o1777},
        {"gid": 0xFFFFFFFF},
        {"uid": -1},
        {"death_signal": 0},
        {"death_signal": 65},
        {"filters": (Filter(b""),)},
        {"filters": (Filter(b"1234567"),)},
        {"filters": (Filter(bytes(8 * 4097)),)},
        {"filters": (Filter(bytes(8), 8),)},
        {"capabilities": CapabilitySets(1 << 64, 0, 0, 0, 0)},
        {"argv": (b"a" * (16 << 20),)},
    ],
    ids=" ".join,
)
def test_a_plan_that_cannot_be_applied_cannot_be_written(change: dict[str, object]) -> None:
    with pytest.raises(NsctlError):
        EVERYTHING._replace(**change).encode()  # type: ignore[arg-type]


@pytest.mark.parametrize("report", [2, 6, 9, 11, 13, 15])
def test_the_report_has_a_descriptor_of_its_own(report: int) -> None:
    with pytest.raises(NsctlError, match=f"descriptor {report} "):
        check(EVERYTHING, report)
    check(EVERYTHING, 8)
    check(EVERYTHING, 5)  # the go may come over the report


def test_what_enters_is_told_from_what_builds() -> None:
    assert EVERYTHING.enters
    assert Plan((b"a",), mode="fork").enters
    assert not Plan((b"a",), mode="init", uid=0, setsid=True).enters


def test_filters_are_written_oldest_first_with_their_flags() -> None:
    first, second = decode(EVERYTHING.encode()).filters
    assert (len(first.program), first.flags) == (8, 0)
    assert (len(second.program), second.flags) == (16, SECCOMP_FILTER_FLAG_LOG)
