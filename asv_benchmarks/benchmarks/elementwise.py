"""Time elementwise activations on arrays."""

from . import common


class Elementwise:
    """By size, and into an array there is or a new one."""

    params = (
        common.ELEMENTWISE,
        ["forward", "backward"],
        common.few(["float32", "float64"]),
        common.SIZES,
        ["out", "new"],
    )
    param_names = ("activation", "direction", "dtype", "size", "result")

    def setup(self, name, direction, dtype, size, result):
        """Compile."""
        self.call = common.CALLS[direction](name, common.values(common.shaped(name, size), dtype), result == "out")
        self.call()

    def time_call(self, *case):
        """Time a call."""
        self.call()


class HalfTypes(Elementwise):
    """Those computed in float32, where arithmetic decides."""

    params = (common.ELEMENTWISE, ["forward", "backward"], common.few(["float16", "bfloat16"]), [100_000], ["out"])
