"""The comparison with other libraries: a quick run as a real process, and what it makes of given times."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import numact as na

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "asv_benchmarks" / "peers.py"
PAGE = ROOT / "docs" / "performance.md"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("peers")


@pytest.fixture
def worker(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("peer_worker")


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=300)


def result(peers, numact, size=100_000, **others):
    case = peers.Case("relu", "forward", "float32", size, (size,), None, True)
    return {**case._asdict(), "seconds": {"numact": numact, "copy": 2.0, **others}}


def test_quick_run(tmp_path):
    page, numbers = tmp_path / "page.md", tmp_path / "peers.json"
    page.write_text("before\n<!-- peers: begin -->\nold\n<!-- peers: end -->\nafter\n")
    functions = ["sigmoid", "gelu_tanh", "softmax"]
    done = run("--quick", "--threads", "1", "--function", *functions, "--json", numbers, "--update", page)
    assert done.returncode == 0, done.stderr
    report = json.loads(numbers.read_text())
    assert set(report["libraries"]) == {"numact", "torch", "jax", "numpy"}
    assert report["libraries"]["numact"]["versions"]["numact"] == na.__version__
    assert {line["function"] for line in report["results"]} == set(functions)
    for line in report["results"]:
        assert {"numact", "copy"} <= set(line["seconds"])
        assert min(line["seconds"].values()) > 0
        assert ("numpy" in line["seconds"]) == (
            not line["out"] or line["function"] + line["direction"] == "sigmoidforward"
        )
        assert "jax" not in line["seconds"] or not line["out"]
    text = page.read_text()
    assert text == f"before\n<!-- peers: begin -->\n{done.stdout.rstrip()}\n<!-- peers: end -->\nafter\n"
    assert sum(line.startswith(("| forward", "| backward")) for line in text.splitlines()) == len(report["results"])
    for library, facts in report["libraries"].items():
        assert "versions" in facts or "absent, No module named" in text, library


def test_cases(peers):
    cases = peers.list_cases(peers.comparable(), peers.DTYPES, peers.SIZES)
    assert len(set(cases)) == len(cases)
    for name in peers.comparable():
        mine = {case[1:4] + case[6:] for case in cases if case.function == name}
        assert len(mine) == 2 * 2 * (3 * 2 + 1)
    softmax = {(case.size, case.shape, case.axis) for case in cases if case.function == "softmax"}
    for length in (4, 32, 1_000, 65_536):
        assert (16_000_000, (16_000_000 // length, length), 1) in softmax
        assert (16_000_000, (length, 16_000_000 // length), 0) in softmax
    assert {axis for _, shape, axis in softmax if len(shape) == 4} == {0, 1, 2, 3}
    assert all(math.prod(case.shape) <= case.size for case in cases)


def test_ratios_and_lost_cases(peers):
    won = result(peers, 1.0, torch=4.0, numpy=3.0)
    lost, worse = result(peers, 1.0, torch=0.5), result(peers, 1.0, numpy=0.25)
    assert peers.ratios(won) == {"best": 3.0, "torch": 4.0, "copy": 2.0}
    assert peers.ratios(worse) == {"best": 0.25, "torch": None, "copy": 2.0}
    assert peers.lost_cases([won, lost, worse, result(peers, 1.0)]) == [worse, lost]
    rows = peers.table([won, lost, worse])[2:]
    assert ["**lost**" in row for row in rows] == [False, True, True]
    text = "\n".join(peers.summary([won, lost, result(peers, 1.0, size=1_000, torch=9.0)]))
    assert "| to torch | 1.41 | - | 1.41 |" in text
    assert "Lost: 1 of 3 cases" in text
    assert "- relu forward float32 100,000 with `out=`: 0.50 to torch" in text


@pytest.mark.parametrize(
    ("size", "cores", "expected"), [(100_000, 1.0, True), (100_000, 1.9, False), (1_000, 1.0, False)]
)
def test_a_run_beside_other_programs_says_so(peers, size, cores, expected):
    line = {**result(peers, 1.0, size=size), "cores": {"numact": 2.0, "copy": cores}}
    report = {"results": [line], "machine": {"threads": 2}}
    assert peers.disturbed(report) is expected


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_every_function_has_a_numpy_peer(worker, activation, direction):
    case = worker.Case(activation.__name__, direction, "float64", 60, (5, 4, 3), None, False)
    if not hasattr(activation, "grad"):
        case = case._replace(axis=1)
    x, grad, _ = worker.arrays(case)
    computed = worker.numact_call(case, x, grad, None)()
    np.testing.assert_allclose(computed, worker.numpy_call(case, x, grad, None)(), rtol=1e-6, atol=1e-9)


def test_a_single_row_comes_as_arrays(worker):
    case = worker.Case("logsumexp", "forward", "float32", 1, (1,), -1, True)
    assert all(isinstance(array, np.ndarray) for array in worker.arrays(case))


def test_a_peer_that_computes_something_else_ends_the_run(worker, monkeypatch):
    case = worker.Case("sigmoid", "forward", "float32", 1_000, (1_000,), None, False)
    monkeypatch.setitem(worker.CALLS, "numpy", lambda case, x, grad, out: lambda: np.tanh(x))
    with pytest.raises(AssertionError, match="Not equal"):
        worker.prepare("numpy", case)


def test_slow_peers_sit_out(peers):
    class Fake:
        def __init__(self, seconds):
            self.seconds, self.turns = seconds, 0

        def ask(self, action, name, *case):
            self.turns += action == "measure"
            return self.seconds is not None if action == "prepare" else {"seconds": self.seconds, "cores": 1.0}

    workers = {"numact": Fake(9.0), "torch": Fake(1.0), "numpy": Fake(5.0), "jax": Fake(None)}
    case = peers.Case("relu", "forward", "float32", 1, (1,), None, True)
    assert peers.compare(case, workers, 15)["seconds"] == {"numact": 9.0, "torch": 1.0, "numpy": 5.0}
    assert {name: fake.turns for name, fake in workers.items()} == {"numact": 15, "torch": 15, "numpy": 3, "jax": 0}


def test_page(peers, tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(peers.BEGIN) == text.count(peers.END) == 1
    page = tmp_path / "page.md"
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="lacks the lines"):
        peers.update(page, "text")
    assert page.read_text() == "no markers"


@pytest.mark.parametrize("arguments", [["--function", "nothing"], ["--size", "7"], ["--threads", "0"], ["--fast"]])
def test_bad_arguments(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr
    assert done.stdout == ""
