"""What the targets share: how elements are stored and computed, and how kernel source becomes functions."""

import contextlib
import functools
import hashlib
import pickle
import sys
import uuid
from pathlib import Path

import numba
import numpy as np

from numact._version import __version__
from numact.binding import JIT_OPTIONS
from numact.half_types import HALF_CONVERSIONS
from numact.primitives import fma

VERSION = __version__.replace(".", "_")


@functools.cache
def storage(dtype):
    """Return the NumPy dtype that kernels see for the dtype of a name: half types as the integer of their bits."""
    return np.dtype(np.uint16 if dtype in HALF_CONVERSIONS else dtype)


def number(dtype):
    """Return the NumPy scalar type that the dtype of a name is computed in."""
    return np.float64 if dtype == "float64" else np.float32


def conversions(dtype):
    """Return the functions that load an element as a number and store a number as an element."""
    return HALF_CONVERSIONS.get(dtype, (number(dtype), number(dtype)))


def label(formula, dtype):
    """Return a name for a formula's kernels that no other formula, constant or version shares."""
    return f"{formula.__name__}_{dtype}_{formula.fingerprint(number(dtype))}_{VERSION}"


def names_in_kernels(formula):
    """Return names for a formula's arrays and for its numbers: its own could mean something else in a kernel.

    Formulas of as many arguments have the same, so that on the CPU they share the loop over tiles.
    """
    arrays = [f"x{index}" for index in range(len(formula.inputs))]
    return arrays, [f"number{index}" for index in range(len(formula.parameters))]


# What the source of row kernels begins with on either target. The sum is Knuth's two-sum. A division of each entry
# would take as long as its exponential: `quotient` makes one of products, as good as correctly rounded (Markstein).
ROW_ARITHMETIC = """
def quotient(value, inverse, total):
    near = value * inverse
    return fma(fma(-near, total, value), inverse, near)

def add(total, low, part):
    result = total + part
    back = result - total
    return result, low + ((total - (result - back)) + (part - back))
"""
# How row kernels load an entry, without a scale and with one; a negative one makes the smallest entry the largest.
READ = "lambda x, scale: load(x)", "lambda x, scale: -load(x) if scale < 0 else load(x)"


def row_label(formulas, kind, dtype, scaled, source):
    """Return a name for row kernels that no other formulas, source or version share."""
    listed = [
        item for group in vars(formulas).values() for item in (group if isinstance(group, tuple) else (group,)) if item
    ]
    parts = [source, *READ, *(item.fingerprint(number(dtype)) for item in listed)]
    digest = hashlib.sha256("".join(parts).encode()).hexdigest()[:16]
    return "_".join([kind, *["scaled"] * scaled, dtype, digest, __version__.replace(".", "_")])


def row_scope(formulas, kind, dtype, scaled, converters):
    """Return what the names in the source of row kernels mean that the targets share."""
    compute = number(dtype)
    load, store = converters
    is_output = kind == "from_output"
    bound = {name: getattr(formulas, name) for name in ("reduced", "term", "shares", "gradient")}
    half = "half_" if dtype in HALF_CONVERSIONS else ""
    pairs = {"logarithm": "logarithm", "weight": f"{half}weight", "entry": f"{half}entry"}
    bound |= {name: pair[scaled] for name, kept in pairs.items() if (pair := getattr(formulas, kept))}
    bound["weight"] = formulas.output if is_output else bound["weight"]
    scope = {name: formula.compiled(compute) for name, formula in bound.items() if formula}
    scope |= {"load": load, "store": store, "number": compute, "fma": fma}
    read = eval(READ[scaled and not is_output], scope)
    return scope | {"read": numba.njit(read, **JIT_OPTIONS)}


def define(source, module, scope, label):
    """Run a module's source text and return its functions, named so that no two share a cache entry."""
    scope["__name__"] = module  # Numba's cache finds a function by its module, and drops it with the module's file
    exec(compile(source, sys.modules[module].__file__, "exec"), scope)
    names = [line[4 : line.index("(")] for line in source.splitlines() if line.startswith("def ")]
    for name in names:
        scope[name].__qualname__ = f"{name}_{label}"
    return [scope[name] for name in names]


class CacheFile:
    """One kernel's entries in Numba's cache folder: a file for each signature and CPU, sealed with a hash.

    Numba's own index names files by number, so that processes which fill one cache at once can be given each other's
    machine code, and a torn file ends in whatever error its bytes lead to.

    Parameters
    ----------
    original : numba.core.caching.IndexDataCacheFile
        What this one replaces.
    """

    def __init__(self, original):
        self._base = original._index_path.removesuffix(".nbi")
        self._origin = repr((original._version, original._source_stamp)).encode()
        self._dump = original._dump

    def _path(self, key):
        return Path(f"{self._base}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc")

    def _seal(self, data):
        return hashlib.sha256(self._origin + data).digest()

    def load(self, key):
        """Return the entry, or None where it is missing, damaged, or of another version of Numba or of the source."""
        content = self._path(key).read_bytes()
        seal, data = content[:32], content[32:]
        return pickle.loads(data) if seal == self._seal(data) else None

    def save(self, key, data):
        """Write the entry in one step, so that no process ever reads half of it."""
        path, data = self._path(key), self._dump(data)
        part = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            part.write_bytes(self._seal(data) + data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def cached(compiler, function, **options):
    """Compile with a disk cache, or without one where no cache folder can be written."""
    try:
        kernel = compiler(cache=True, **options)(function)
    except RuntimeError:  # Numba found no folder for its cache
        return compiler(**options)(function)
    kernel._cache._cache_file = CacheFile(kernel._cache._cache_file)
    # A missing entry, a full disk, a folder that went away: each is a miss, never the caller's error.
    kernel._cache._guard_against_spurious_io_errors = functools.partial(contextlib.suppress, OSError)
    return kernel
