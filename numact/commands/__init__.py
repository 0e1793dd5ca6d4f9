"""The commands of `python -m numact`, one to a module.

Each has `add`, which adds its arguments to a parser, `run`, which returns the exit code, and `PACKAGES`, what it needs.
"""
