"""Rewrite the README's tables from the registry and the accuracy figures; a test says when they are stale.

python tools/readme.py
"""

from pathlib import Path

import numact
from numact.accuracy import ACCURACY

README = Path(__file__).parent.parent / "README.md"


def accuracy():
    """Return the table of the largest errors."""
    lines = [
        "| function | float32 value | float32 derivative | float64 value | float64 derivative |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, figures in ACCURACY.items():
        lines.append(f"| {name} | {' | '.join(str(figure) for figure in figures[:4])} |")
    return "\n".join(lines)


def readme():
    """Return the README's text with the tables as they should be."""
    text = README.read_text(encoding="utf-8")
    for name, table in {"functions": numact.table("markdown"), "accuracy": accuracy()}.items():
        before, begin, rest = text.partition(f"<!-- {name}: begin -->\n")
        _, end, after = rest.partition(f"\n<!-- {name}: end -->")
        assert begin and end, f"README.md lacks the marks of the table {name}"
        text = before + begin + table + end + after
    return text


if __name__ == "__main__":
    README.write_text(readme(), encoding="utf-8")
