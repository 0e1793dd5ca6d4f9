"""Time row-wise activations by the length of the rows and the axis."""

from . import common

ENTRIES = 1_048_576


class RowWise:
    """Rows that lie in a piece (axis -1), and those that are columns (axis 0)."""

    params = (
        common.ROWWISE,
        ["forward", "backward"],
        common.few(["float32", "float64"]),
        common.few([4, 32, 1_024, 65_536]),
        [-1, 0],
    )
    param_names = ("activation", "direction", "dtype", "length", "axis")

    def setup(self, name, direction, dtype, length, axis):
        """Compile."""
        shape = (ENTRIES // length, length) if axis else (length, ENTRIES // length)
        self.call = common.CALLS[direction](name, common.values(shape, dtype), axis=axis)
        self.call()

    def time_call(self, *case):
        """Time a call that writes into an array there is."""
        self.call()


class HalfTypes(RowWise):
    """The same of half types, for one length."""

    params = (common.ROWWISE, ["forward", "backward"], common.few(["float16", "bfloat16"]), [1_024], [-1, 0])
