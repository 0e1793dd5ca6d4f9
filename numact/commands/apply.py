"""`apply`: apply an activation to an array in a file, which may be larger than memory."""

import ast
import itertools
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from numact.commands.names import find
from numact.gated import Halved
from numact.rows import Reduction

PACKAGES = ("rich",)
TILE = 4_194_304  # elements of a .npy file at a time: enough for all threads, and for a bar that moves


def add(parser):
    """Add the command's arguments."""
    parser.add_argument("name", help="an activation of numact, or MODULE:NAME")
    parser.add_argument("input", type=Path, help="a .npy file or a .zarr folder")
    parser.add_argument("output", type=Path, help="likewise; must not be there yet")
    parser.add_argument("parameters", nargs="*", metavar="PARAMETER=VALUE", help="such as axis=0 or negative_slope=0.2")
    parser.add_argument("--dtype", help="of the output; default: what the activation gives")


def run(options):
    """Write the output; return the exit code."""
    try:
        write(find(options.name), options.input, options.output, _parsed(options.parameters), options.dtype)
    except (ValueError, TypeError, OSError, RuntimeError, ImportError, MemoryError) as error:
        reason = " ".join(str(error).split()) or "there is not enough memory for one tile"
        print(f"python -m numact apply: {reason}", file=sys.stderr)
        return 2
    return 0


def _parsed(parameters):
    """Return a dictionary of texts such as "axis=0"."""
    keywords = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} is no parameter; write NAME=VALUE, such as axis=0")
        try:
            keywords[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            keywords[name] = value
        if np.ndim(keywords[name]) and name != "axis":
            raise ValueError(f"{text!r}: the input is the one array; other parameters are numbers")
    return keywords


def write(function, source, target, keywords, dtype):
    """Apply a function to the array in a file, tile by tile, and give the output its name when it is whole."""
    x = _open(source)
    axes = _axes(function, x.ndim, keywords)
    sample = _sample(function, x, keywords, dtype)
    if target.exists():
        raise FileExistsError(f"{target} is there already; remove it first")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent}")
    kept = [axis for axis in range(x.ndim) if sample.ndim == x.ndim or axis not in axes]
    tile = _tile(x, axes)
    shape = list(x.shape)
    for axis in axes:
        if isinstance(function, Halved | Reduction):
            shape[axis] = shape[axis] // 2 if isinstance(function, Halved) else 1
    # Beside the output, hence on its disk, where to rename is one step.
    folder = tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".part", dir=target.parent)
    try:
        part = Path(folder, target.name)
        out = _create(part, tuple(shape[axis] for axis in kept), sample.dtype, [tile[axis] for axis in kept], x)
        for index in _with_progress(list(_indices(x.shape, tile, axes)), source.name):
            place = tuple(index[axis] for axis in kept)
            if isinstance(out, np.memmap):
                function(np.asarray(x[index]), **keywords, out=out[(*place, ...)])  # of no axes an array, too
            else:
                out[place] = function(np.asarray(x[index]), **keywords)
        if isinstance(out, np.memmap):
            out.flush()
        os.rename(part, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open(path):
    """Return an array that is read from its file where it is indexed."""
    if path.suffix == ".zarr":
        return _zarr().open_array(path, mode="r")
    if path.suffix != ".npy":
        raise ValueError(f"{path} is neither a .npy file nor a .zarr folder")
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a whole .npy file of numbers: {error}") from None


def _create(path, shape, dtype, chunks, like):
    """Return an array that is written to a file, in the layout of the input."""
    if path.suffix == ".zarr":
        chunks = [max(1, min(size, limit)) for size, limit in zip(_fitted(chunks), shape, strict=True)]
        kept = {"zarr_format": like.metadata.zarr_format, "attributes": dict(like.attrs)} if _is_zarr(like) else {}
        return _zarr().create_array(path, shape=shape, dtype=dtype, chunks=tuple(chunks), **kept)
    if path.suffix != ".npy":
        raise ValueError(f"{path.name} is neither a .npy file nor a .zarr folder")
    out = np.lib.format.open_memmap(path, "w+", dtype, shape, _is_fortran(like))
    if hasattr(os, "posix_fallocate"):  # a disk that fills up later would end the process where it writes the map
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return out


def _zarr():
    try:
        import zarr
    except ImportError:
        raise ImportError("a .zarr folder needs zarr: pip install zarr") from None
    return zarr


def _axes(function, dimensions, keywords):
    """Return the axes along which the function needs all entries at once."""
    if "axis" not in function.__signature__.parameters:
        return ()
    axis = keywords.get("axis", function.__signature__.parameters["axis"].default)
    if isinstance(axis, str):
        raise ValueError(f"axis is a number, a tuple such as (0,1), or None, not {axis!r}")
    return tuple(range(dimensions)) if axis is None else normalize_axis_tuple(axis, dimensions, "axis")


def _sample(function, x, keywords, dtype):
    """Return the result for a few entries, whose dtype is the output's; errors come here rather than half way."""
    sample = np.ones([min(size, 2 + size % 2) for size in x.shape], x.dtype)  # odd where x is, which glu refuses
    result = np.asarray(function(sample, **keywords))
    return result if dtype is None else function(sample, **keywords, out=np.empty_like(result, dtype=dtype))


def _tile(x, axes):
    """Return the shape of a part of the input, uncut along the axes: of Zarr chunks, or of about `TILE` elements."""
    if _is_zarr(x):
        return tuple(size if axis in axes else x.chunks[axis] for axis, size in enumerate(x.shape))
    return _fitted(x.shape, axes, _is_fortran(x))


def _fitted(shape, axes=(), is_fortran=False):
    """Return a shape cut to about `TILE` elements, from the axis with the longest steps in memory on."""
    tile = list(shape)
    for axis in sorted(range(len(tile)), reverse=is_fortran):
        if axis not in axes:
            others = math.prod(tile[:axis] + tile[axis + 1 :])
            tile[axis] = max(1, min(tile[axis], TILE // max(1, others)))
    return tuple(tile)


def _is_zarr(x):
    return not isinstance(x, np.ndarray)


def _is_fortran(x):
    return not _is_zarr(x) and np.isfortran(x)


def _indices(shape, tile, axes):
    """Yield the index of each tile of an array."""
    cuts = [
        [slice(None)] if axis in axes else [slice(low, low + step) for low in range(0, size, step)]
        for axis, (size, step) in enumerate(zip(shape, tile, strict=True))
    ]
    yield from itertools.product(*cuts)


def _with_progress(tiles, name):
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(tiles, name, console=console, disable=not console.is_terminal)
