from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[3]

SETTINGS = """
[tool.importlinter]
root_package = "house"
contract_types = ["table: scripts.import_table.TableContract"]

[[tool.importlinter.contracts]]
name = "Table"
type = "table"
everybody = ["errors"]
rooms = ["errors:", "kernel:", "run: kernel", "enter: kernel", "cli: kernel", "later: kernel"]
clients = ["cli"]
capabilities = ["run", "enter"]
shared = ["cli.common"]
"""

HOUSE = {
    "__init__": "",
    "errors": "",
    "kernel/__init__": "",
    "kernel/calls": "from house.errors import x",
    "run/__init__": "from house.kernel import calls",
    "enter/__init__": "from house.kernel.calls import x",
    "cli/__init__": "",
    "cli/common": "from house import kernel",
    "cli/run": "from house import run\nfrom house.cli import common",
    "cli/enter": "import house.enter",
}


def lint(directory: Path, changes: dict[str, str]) -> tuple[int, str]:
    for name, source in {**HOUSE, **changes}.items():
        file = directory / "house" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    (directory / "pyproject.toml").write_text(SETTINGS)
    program = os.path.join(os.path.dirname(sys.executable), "lint-imports")
    if not os.path.exists(program):
        pytest.skip("needs import-linter (dependency group lint)")
    done = subprocess.run(
        [program, "--no-logo", "--no-cache"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
        capture_output=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def test_a_tree_that_follows_the_table_passes(tmp_path: Path) -> None:
    status, output = lint(tmp_path, {})
    assert status == 0, output
    assert "1 kept, 0 broken" in output


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"kernel/calls": "def f():\n    from house.run import x"},
            "house.kernel.calls imports run, and kernel may not import run",
        ),
        ({"errors": "import house.kernel"}, "house.errors imports kernel"),
        ({"cli/enter": "from house.cli import run"}, "imports cli.run, which is not listed"),
        ({"cli/common": "from house.cli import run"}, "imports cli.run, which is not listed"),
        ({"cli/common": "import house.run"}, "house.cli.common imports run, and cli may not"),
        ({"cli/run": "import house.run, house.enter"}, "more than one capability: enter, run"),
        ({"attic/__init__": ""}, "house.attic is in a room without a line in the table: attic"),
    ],
)
def test_an_import_that_the_table_does_not_allow_is_named(
    tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    status, output = lint(tmp_path, changes)
    assert status == 1, output
    assert sentence in " ".join(output.split())
