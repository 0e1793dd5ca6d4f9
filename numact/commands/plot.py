"""`plot`: draw activations and their derivatives."""

import sys

from numact.commands.names import find

PACKAGES = ("matplotlib",)


def add(parser):
    """Add the command's arguments."""
    parser.add_argument("names", nargs="+", metavar="name", help="an activation of numact, or MODULE:NAME")
    parser.add_argument("--grad", action="store_true", help="draw the derivatives, too")
    parser.add_argument(
        "--span", nargs=2, type=float, default=(-5.0, 5.0), metavar=("FROM", "TO"), help="default: -5 5"
    )
    parser.add_argument(
        "-o", "--output", default="activations.png", help="its suffix says the format; default: activations.png"
    )


def run(options):
    """Write the picture; return the exit code."""
    from numact.pictures import draw

    try:
        draw([find(name) for name in options.names], options.grad, tuple(options.span)).savefig(options.output, dpi=150)
    except (ValueError, OSError) as error:
        print(f"python -m numact plot: {error}", file=sys.stderr)
        return 2
    print(options.output)
    return 0
