"""Compute attention-like weights of a Zarr store on a cluster of local processes, and keep Dask's report on it.

python examples/cluster.py --workers 2 --output cluster

In the output folder: scores.zarr, made first; weights.zarr, softmax along its split axis of their gelu; report.html,
what every worker did and when.
"""

import argparse
import sys
import time
from pathlib import Path

import dask.array as da
import numpy as np
import zarr
from dask.utils import parse_bytes
from distributed import Client, LocalCluster, performance_report

import numact as na


def make_scores(path, rows, columns, chunk):
    """Write random scores in square chunks, so that every row is split; those of an earlier run are kept."""
    if path.exists():
        kept = zarr.open_array(path, mode="r")
        if (kept.shape, kept.chunks) != ((rows, columns), (min(chunk, rows), min(chunk, columns))):
            raise ValueError(f"{path} has the shape {kept.shape} in chunks of {kept.chunks}; remove it first")
        return
    random = da.random.default_rng(0).normal(size=(rows, columns), chunks=(chunk, chunk)).astype(np.float32)
    part = path.with_suffix(".part")
    random.to_zarr(part, overwrite=True)
    part.rename(path)  # whole, or not there


def compile_kernels():
    """Make a small call of the same kind, on the worker that runs this."""
    x = da.ones((4, 4), dtype=np.float32, chunks=2)
    na.softmax(na.gelu(x), axis=1).compute(scheduler="synchronous")


def compute(scores, weights):
    """Store the softmax of the gelu of scores; return the seconds it took and the largest error of a row's sum."""
    x = da.from_zarr(scores)
    y = na.softmax(na.gelu(x), axis=1)
    start = time.perf_counter()
    y.to_zarr(weights, overwrite=True)
    seconds = time.perf_counter() - start
    sums = da.from_zarr(weights).sum(axis=1, dtype=np.float64)
    return seconds, float(abs(sums - 1).max().compute())


def positive(text):
    """Return a number of one or more."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def main():
    """Run the cluster; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=positive, default=2, help="processes of one thread each; default: 2")
    parser.add_argument("--memory", type=parse_bytes, default="1GB", help="of each worker; default: 1GB")
    parser.add_argument("--shape", type=positive, nargs=2, default=(16_384, 16_384), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--chunk", type=positive, default=2_048, help="rows and columns of a chunk; default: 2048")
    parser.add_argument("--output", type=Path, default=Path("cluster"), help="folder; default: cluster")
    options = parser.parse_args()
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"cannot write: {error}", file=sys.stderr)
        return 1
    scores, weights = options.output / "scores.zarr", options.output / "weights.zarr"
    with (
        LocalCluster(
            n_workers=options.workers, threads_per_worker=1, memory_limit=options.memory, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        try:
            make_scores(scores, *options.shape, options.chunk)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        client.run(compile_kernels)
        with performance_report(filename=options.output / "report.html"):
            seconds, error = compute(scores, weights)
    size = zarr.open_array(scores, mode="r").nbytes
    print(f"{size / 1e9:.2f} GB in {seconds:.1f} s on {options.workers} workers; rows sum to 1 within {error:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
