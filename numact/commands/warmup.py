"""`warmup`: compile activations ahead, into the disk cache."""

import sys

from numact.warmup import plan

PACKAGES = ("rich",)


def add(parser):
    """Add the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="name", help="default: all activations")
    parser.add_argument("--dtype", action="append", help="may be repeated; default: all floating dtypes")
    parser.add_argument("--target", action="append", help="cpu or cuda; may be repeated; default: all there are")


def run(options):
    """Compile ahead under a progress bar on stderr; return the exit code."""
    from rich.console import Console
    from rich.progress import track

    try:
        jobs = plan(options.names or None, options.dtype, options.target)
        for job in track(jobs, "compiling", console=Console(stderr=True), transient=True):
            job.run()
    except (ValueError, RuntimeError) as error:
        print(f"python -m numact warmup: {error}", file=sys.stderr)
        return 2
    return 0
