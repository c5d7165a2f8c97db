"""How many examples a parser of kernel text is tried on, and where they come from.

Profiles of hypothesis, chosen by NSCTL_TEST_PROFILE ("dev" when nothing is said):

``dev``    few examples, those that failed before first
``ci``     500 examples for each test, the same in each run
``storm``  NSCTL_TEST_EXAMPLES (100,000 when nothing is said), another seed each time unless
           ``--hypothesis-seed`` gives one; setting NSCTL_TEST_EXAMPLES alone chooses it

The fixture ``mutations`` damages real kernel text: as many times as the profile has examples,
from the seed NSCTL_TEST_SEED (0 when nothing is said), and far faster than hypothesis.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings

# No test may depend on timing, so hypothesis must not either.
_SLOW = [HealthCheck.too_slow]

_profile = os.environ.get("NSCTL_TEST_PROFILE") or "dev"
_examples = os.environ.get("NSCTL_TEST_EXAMPLES")
if _examples:
    _profile = "storm"

settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=_SLOW)
settings.register_profile(
    "ci",
    max_examples=500,
    deadline=None,
    suppress_health_check=_SLOW,
    derandomize=True,
    database=None,
    print_blob=True,
)
settings.register_profile(
    "storm",
    max_examples=int(_examples or 100_000),
    deadline=None,
    suppress_health_check=_SLOW,
    database=None,
    print_blob=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)
settings.load_profile(_profile)

# What parsers stumble over: separators, escapes, ends of numbers, bytes that str.split() cuts at.
_FRAGMENTS = (
    *(
        b"\n",
        b" ",
        b"\t",
        b"\0",
        b"\r",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"\x85",
        b"\xff",
        b"\xe2\x80\xa8",
    ),
    *(
        b":",
        b"-",
        b"/",
        b")",
        b"(",
        b"\\040",
        b"\\",
        b"#",
        b"0",
        b"-1",
        b"4294967295",
        b"4294967296",
    ),
    *(b"18446744073709551615", b"18446744073709551616", b"9" * 30, b"0x10", b"1_0", b" - ", b""),
)


def _damaged(generator: random.Random, text: bytes, other: bytes) -> bytes:
    """One text with one damage: a flip, a cut, a repetition, an insertion, or a splice."""
    start = generator.randrange(len(text) + 1)
    end = min(len(text), start + generator.randrange(1, 24))
    kind = generator.randrange(6)
    if kind == 0 and start < len(text):
        flipped = text[start] ^ (1 << generator.randrange(8))
        return text[:start] + bytes((flipped,)) + text[start + 1 :]
    if kind == 1:
        return text[:start] + text[end:]
    if kind == 2:
        return text[:end] + text[start:]
    if kind == 3:
        return text[:start]
    if kind == 4:
        return text[:start] + other[generator.randrange(len(other) + 1) :]
    return text[:start] + generator.choice(_FRAGMENTS) + text[end:]


class Mutations(NamedTuple):
    """Damages texts, the same way in each run with the same seed.

    Attributes:
        examples: how many damaged texts there are.
        seed: what they follow from.
    """

    examples: int
    seed: int

    def __call__(self, corpus: Sequence[bytes]) -> Iterator[bytes]:
        """Damaged forms of texts that a kernel gave, each damaged once to four times."""
        generator = random.Random(self.seed)  # noqa: S311  (repeatable, not secret)
        for _ in range(self.examples):
            text = generator.choice(corpus)
            for _ in range(generator.randrange(1, 5)):
                text = _damaged(generator, text, generator.choice(corpus))
            yield text


@pytest.fixture(scope="session")
def mutations() -> Mutations:
    """Damaged kernel text for a parser: ``for text in mutations([b"..", b".."])``."""
    return Mutations(settings().max_examples, int(os.environ.get("NSCTL_TEST_SEED") or 0))
