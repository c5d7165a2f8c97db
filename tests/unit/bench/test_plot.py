"""The benchmark's plot and tables; its figures are never tested."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

pytestmark = pytest.mark.unit

BENCH = Path(__file__).resolve().parents[3] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """bench/run.py, whose modules import each other by their bare names."""
    monkeypatch.syspath_prepend(str(BENCH))
    names = ("load", "measure", "plot", "run")
    before = {name: sys.modules.pop(name, None) for name in names}
    spec = importlib.util.spec_from_file_location("run", BENCH / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name, old in before.items():
        sys.modules.pop(name, None)
        if old is not None:
            sys.modules[name] = old


def rows(count: int) -> list[object]:
    """What was found of a peer and of what is compared with it, on a host of so many processes."""
    measure = sys.modules["measure"]
    cases = [measure.Case("lsns", ("lsns",)), measure.Case("nsctl ls", ("nsctl", "ls"), "lsns")]
    times = {case.name: [measure.Measurement(count / 100, count / 200, 2048)] for case in cases}
    return [measure._row(case, count, times, 7) for case in cases]


@pytest.mark.usefixtures("bench")
def test_a_plot_is_xml_with_a_line_for_each_series() -> None:
    plot = importlib.import_module("plot")
    text = plot.svg({"lsns": [(100, 20), (1000, 300)], "nsctl ls": [(100, 40), (1000, 60)]})
    root = ET.fromstring(text)  # noqa: S314  (made right here)
    space = "{http://www.w3.org/2000/svg}"
    lines = root.findall(f"{space}polyline")
    assert len(lines) == 2
    assert all(len(line.attrib["points"].split(" ")) == 2 for line in lines)
    assert {text.text for text in root.iter(f"{space}text")} >= {"lsns", "nsctl ls", "1,000"}
    for word in " ".join(line.attrib["points"] for line in lines).split(" "):
        x, y = map(float, word.split(","))
        assert 0 <= x <= 720
        assert 0 <= y <= 440


def test_growth_is_one_where_time_grows_with_processes(bench: ModuleType) -> None:
    lines = bench.growth([rows(100), rows(1000)])
    assert [line.split()[-1] for line in lines] == ["1.00", "1.00"]


def test_a_table_has_a_line_for_each_case_and_the_ratio(bench: ModuleType) -> None:
    _, lsns, ours = bench.table(rows(100))
    assert lsns.split()[:3] == ["lsns", "1000.0", "ms"]
    assert "1.000" in ours


def test_what_is_kept_takes_the_place_of_what_was_kept_before(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{bench._BEGIN}old\n{bench._END}after\n")
    monkeypatch.setattr(bench, "_DOCUMENT", str(document))
    monkeypatch.setattr(bench, "_PLOT", str(tmp_path / "performance.svg"))
    bench.keep("figures", [rows(100), rows(1000)])
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "figures" in text
    assert "old" not in text
    assert (tmp_path / "performance.svg").read_text().startswith("<svg")


def test_topics_are_the_files_that_measure_on_a_load(bench: ModuleType) -> None:
    assert {"lists", "views"} <= set(bench.topics())
    assert not {"run", "load", "measure", "plot"} & set(bench.topics())
