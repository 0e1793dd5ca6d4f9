"""Time NumPy and SciPy, for a release of theirs to look like one."""

from . import peer


class NumpyScipy(peer._Peer):
    """The expressions one would write."""

    library = "numpy"
