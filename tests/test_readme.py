"""The README says what is so."""

import re
from pathlib import Path

import numact as na
from numact.accuracy import ACCURACY

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_accuracy_table():
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", README, re.MULTILINE)
    shown = {name: tuple(map(float, figures)) for name, *figures in rows}
    assert shown == {name: tuple(figures[:4]) for name, figures in ACCURACY.items()}


def test_numpy_examples_run():
    numpy_code, _, own_code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope = {"na": na}
    exec(numpy_code.replace("4096", "64"), scope)
    exec(own_code, scope)
    assert scope["gradient"].shape == (64, 64)
    assert scope["gaussian"](0.0) == 1.0
    assert scope["gaussian"].grad(1.0) < 0
