"""The test suite's own machinery, a module for each of its subjects.

``support.tiers``     which tier a test belongs to, what a tier needs, and when a skip is a failure
``support.users``     the fixtures ``ordinary_user`` and ``nsctl``
``support.examples``  how many examples hypothesis tries, and mutations of real kernel text
``support.limits``    a test that hangs fails
``support.leaks``     nothing that a test made may be left: not after it, and not after them all
"""

from __future__ import annotations

# Each after those that it imports, so that pytest can rewrite their assertions.
pytest_plugins = [
    "support.leaks",
    "support.users",
    "support.examples",
    "support.tiers",
    "support.limits",
]
