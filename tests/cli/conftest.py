"""The world that the tests of the views look at."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.world import ACTORS, ROOTS_ACTORS, World, skip_without_worlds, world


@pytest.fixture(scope="session")
def known_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Processes that differ in every way that the views tell apart."""
    skip_without_worlds()
    actors = [*ACTORS, *(ROOTS_ACTORS if os.geteuid() == 0 else ())]
    with world(str(tmp_path_factory.mktemp("world")), actors) as made:
        yield made
