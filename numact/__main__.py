"""python -m numact: what hardware there is, and how fast and how exact every activation is on it."""

import argparse
import importlib
import sys

from numact.commands import apply, bench, explain, plot, report, warmup

COMMANDS = {"apply": apply, "bench": bench, "warmup": warmup, "plot": plot, "explain": explain}
MISSING = "python -m numact needs {}: pip install 'numact[cli]'"


def main(arguments=None):
    """Run the report or the command that is named; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m numact", description=__doc__.split(": ", 1)[1].strip())
    report.add(parser)
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name, module in COMMANDS.items():
        summary = module.__doc__.split(": ", 1)[1].rstrip(".\n")
        module.add(commands.add_parser(name, help=summary, description=summary))
    options = parser.parse_args(arguments)
    command = COMMANDS.get(options.command, report)
    for package in command.PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError:
            print(MISSING.format(package), file=sys.stderr)
            return 1
    try:
        return command.run(options)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
