"""`python -m numact bench` as a real process: its table, its file, its picture and its comparison."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image
from test_main import run

FUNCTIONS = ["gelu", "glu", "prelu", "logsumexp"]  # one array, its halves, several arrays, rows


def test_table_file_picture_and_comparison(tmp_path):
    file, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    done = run("bench", *FUNCTIONS, "--size", "10", "--json", str(file), "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    lines = json.loads(file.read_text())["results"]
    cpu = [line for line in lines if line["target"] == "cpu"]
    found = [(line["activation"], line["direction"]) for line in cpu]
    assert found == [(name, way) for name in FUNCTIONS for way in ("forward", "backward")]
    assert all(line["seconds"] > 0 and line["times_copy"] > 0 for line in lines)
    moved = {(line["activation"], line["direction"]): line["bytes"] for line in cpu}
    assert moved["gelu", "forward"] == 2 * 10 * 4  # x and the value
    assert moved["glu", "backward"] == 5 * 10 * 4  # half as many gradients as inputs, and as many results
    assert moved["prelu", "backward"] == 5 * 10 * 4  # a gradient, two inputs, two results
    assert moved["logsumexp", "forward"] == 11 * 4
    assert np.ptp(image.imread(picture)) > 0

    document = json.loads(file.read_text())
    for line in document["results"]:
        line["times_copy"] *= 1_000
    file.write_text(json.dumps(document | {"hardware": {}}))
    done = run("bench", "relu", "gelu", "--size", "10", "--compare", str(file))
    assert done.returncode == 0, done.stderr
    assert "other hardware" in done.stdout
    cells = {tuple(row[:2]): row[2:] for row in (line.replace("│", " ").split() for line in done.stdout.splitlines())}
    assert float(cells["gelu", "forward"][-1]) < 1
    assert len(cells["relu", "forward"]) == len(cells["gelu", "forward"]) - 2  # the file knows no relu


def test_other_programs_are_noticed():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * os.cpu_count())]
    try:
        done = run("bench", "relu", "--size", "10")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert done.returncode == 0, done.stderr
    assert "other programs, or a limit on this one" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gelv"], "unknown activation 'gelv'; known: relu, leaky_relu"),
        (["--dtype", "int8"], "unknown dtype 'int8'; known: float16"),
        (["--size", "0"], "--size must be at least 1"),
        (["--compare", "absent.json"], "cannot read absent.json"),
        (["--compare", __file__], "is no file that `python -m numact bench --json` has written"),
        (["--json", "absent/bench.json"], "there is no folder for absent/bench.json"),
        (["--json", "."], ". is a folder, and no file to write"),
        (["--plot", "bench.xyz"], "--plot cannot write bench.xyz; it writes"),
    ],
)
def test_bad_arguments(arguments, message):
    done = run("bench", "relu", *arguments) if arguments[0].startswith("-") else run("bench", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
