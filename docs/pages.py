"""Write a page for each activation, and the table that compares them, from the registry."""

import re
from pathlib import Path

import numact as na
from numact.accuracy import ACCURACY
from numact.explanation import sections, special_values
from numact.tables import describe

HERE = Path(__file__).parent
# What to show of a function's table in performance.md: a large array, or rows of 1,000, with `out=`.
CASES = r"\| forward \| float32 \| (?:16,000,000|16,000 x 1,000, axis 1) \| yes \| ([\d,.]+) \|"
ELEMENTS = 16_000_000
# The same of its table for a GPU: function, bandwidth of a copy in GB/s, share of it.
GPU_CASES = r"^\| (\w+) \| forward \| float32 \| (?:|1,024) \| ([\d,]+) \| ([\d.]+) \|"
MOVED = 8  # bytes per element: read and written
PAGE = """# {name}

$$
{equation}
$$

![{name} and its derivative](../generated/{name}.svg)

{sections}

## Special values

{special}

## Calls

```{{eval-rst}}
.. autofunction:: {module}.{name}
```
"""
INDEX = """# The activations

A page for each: what it does, where it is used, why and why not, its accuracy, and how it is called.

```{{toctree}}
:maxdepth: 1

{names}
```
"""


def write(folder):
    """Write the pages into `activations` beside the folder, and the table into it."""
    activations = folder.parent / "activations"
    activations.mkdir(exist_ok=True)
    for name, function in na.registry.items():
        update(activations / f"{name}.md", page(name, function))
    update(activations / "index.md", INDEX.format(names="\n".join(na.registry)))
    update(folder / "comparison.md", comparison())


def update(path, text):
    """Write a file unless it says so already: Sphinx reads again what has changed."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def page(name, function):
    """Return the page of an activation."""
    entries = [f"{heading}\n: {text}\n" for heading, text in sections(function).items()]
    columns = special_values(function)
    rows = [columns, ["--:"] * len(columns), *zip(*columns.values(), strict=True)]
    return PAGE.format(
        name=name,
        module="numact" if name in na.__all__ else "numact.elementwise",
        equation=function.info.equation,
        sections="\n".join(entries),
        special=as_table(rows),
    )


def comparison():
    """Return the table of all activations."""
    cpu, gpu = cpu_costs(), gpu_costs()
    headings = ["", "range", "used for", "advantages", "disadvantages", "ns, CPU", "ns, GPU", "ULP"]
    rows = [headings, ["---"] * 5 + ["--:"] * 3]
    for name, function in na.registry.items():
        _, _, ends, _, use, strengths, weaknesses = describe(function)
        costs = [f"{found[name]:.2g}" if name in found else "" for found in (cpu, gpu)]
        link = f"[{name}](activations/{name}.md)"
        rows.append([link, ends, use, strengths, weaknesses, *costs, f"{ACCURACY[name].value}"])
    return as_table(rows)


def as_table(rows):
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


def cpu_costs():
    """Return nanoseconds per element by function, from the tables of performance.md."""
    tables = re.split(r"^### (\w+)$", (HERE / "performance.md").read_text(), flags=re.MULTILINE)[1:]
    found = {name: re.search(CASES, table) for name, table in zip(tables[::2], tables[1::2], strict=True)}
    return {name: float(match[1].replace(",", "")) * 1e3 / ELEMENTS for name, match in found.items() if match}


def gpu_costs():
    """Return nanoseconds per element by function, from the table of performance.md."""
    found = re.findall(GPU_CASES, (HERE / "performance.md").read_text(), flags=re.MULTILINE)
    return {name: MOVED / (float(copy.replace(",", "")) * float(share)) for name, copy, share in found}
