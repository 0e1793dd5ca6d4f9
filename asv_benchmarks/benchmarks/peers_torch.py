"""Time torch, for a release of torch to look like one."""

from . import peer


class Torch(peer._Peer):
    """Torch's own kernels."""

    library = "torch"
