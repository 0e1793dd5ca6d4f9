"""The README says what is so."""

import re
import runpy
from pathlib import Path

import numact as na

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_tables_are_up_to_date():
    assert runpy.run_path(str(ROOT / "tools" / "readme.py"))["readme"]() == README, "run: python tools/readme.py"


def test_table_as_text():
    lines = na.table().splitlines()
    assert max(map(len, lines)) <= 180
    for name in na.__all__:
        if isinstance(getattr(na, name), na.Activation):
            assert any(line.startswith(f"{getattr(na, name).__name__}(") for line in lines)


def test_numpy_examples_run():
    numpy_code, _, own_code, several_code, _, diagnostics_code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope = {"na": na}
    exec(numpy_code.replace("4096", "64"), scope)
    exec(own_code, scope)
    exec(several_code, scope)
    exec(diagnostics_code, scope)
    assert scope["gradient"].shape == (64, 64)
    assert scope["gaussian"](0.0) == 1.0
    assert scope["gaussian"].grad(1.0) < 0
