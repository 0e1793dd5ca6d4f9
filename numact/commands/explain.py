"""`explain`: say what an activation does, where it is used and why."""

import inspect
import sys
import textwrap

from numact.commands.names import find

PACKAGES = ()
WIDTH = 92


def add(parser):
    """Add the command's arguments."""
    parser.add_argument("names", nargs="+", metavar="name", help="an activation of numact, or MODULE:NAME")


def run(options):
    """Print a page for each activation; return the exit code."""
    try:
        pages = [page(find(name)) for name in options.names]
    except ValueError as error:
        print(f"python -m numact explain: {error}", file=sys.stderr)
        return 2
    print("\n\n".join(pages))
    return 0


def page(function):
    """Return an activation's page of the guide as text."""
    from numact.explanation import sections, special_values, summary

    title = f"{function.__name__}{inspect.signature(function)}"
    paragraphs = [textwrap.fill(part, WIDTH) for part in summary(function).split("\n\n")]
    lines = [title, "=" * len(title), "", "\n\n".join(paragraphs), ""]
    for heading, text in sections(function).items():
        indent = " " * 18
        lines.append(textwrap.fill(text, WIDTH, initial_indent=heading.ljust(18), subsequent_indent=indent))
    columns = special_values(function)
    width = max(map(len, columns)) + 2
    lines.append("")
    lines += [heading.ljust(width) + "".join(f"{y:>11}" for y in column) for heading, column in columns.items()]
    return "\n".join(lines)
