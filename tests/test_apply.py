"""`python -m numact apply` as a real process on real files, ended in the middle and on a full disk, too."""

import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import zarr

import numact as na
from numact.__main__ import main

DYING = """
import os, signal, numact as na
from numact.base import Elementwise
from numact.elementary import exp

class Dying(Elementwise):
    calls = 0
    def __call__(self, x, /, **keywords):
        self.calls += 1
        if self.calls == 3:  # the first is of a sample
            os.kill(os.getpid(), signal.{signal})
        return super().__call__(x, **keywords)

def formula(x):
    return exp(x)

activation = Dying(formula, na.exponential.info)
"""


def run(folder, *arguments, limits=()):
    def restrict():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what starts the tests may ignore it
        for kind, size in limits:
            resource.setrlimit(kind, (size, size))

    command = [sys.executable, "-m", "numact", "apply", *map(str, arguments)]
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=folder, preexec_fn=restrict, env=environment
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with one array as a .npy file and as Zarr chunks, and what is no array."""
    folder = tmp_path_factory.mktemp("arrays")
    x = np.random.default_rng(5).normal(size=(900, 6000)).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "transposed.npy", x.T)
    np.save(folder / "odd.npy", x[:3, :0])
    np.save(folder / "one.npy", x[0, 0])
    zarr.create_array(folder / "x.zarr", shape=x.shape, chunks=(400, 1500), dtype=x.dtype)[:] = x
    (folder / "short.npy").write_bytes((folder / "x.npy").read_bytes()[:5000])
    (folder / "empty.npy").write_bytes(b"")
    np.save(folder / "words.npy", np.array(["gelu"]))
    return folder


@pytest.mark.parametrize(
    ("name", "source", "target", "parameters"),
    [
        ("gelu", "x.npy", "a.npy", {"approximate": "tanh"}),
        ("softmax", "x.npy", "b.zarr", {"axis": 0, "scale": 0.5}),
        ("logsumexp", "x.zarr", "d.npy", {"axis": 0}),
        ("glu", "transposed.npy", "e.npy", {"axis": 0}),
        ("logsumexp", "x.npy", "f.zarr", {"axis": 0, "keepdims": True}),
        ("logsumexp", "x.npy", "g.npy", {"axis": 1, "keepdims": True}),
        ("logsumexp", "x.npy", "h.npy", {"axis": None}),
        ("gelu", "one.npy", "i.npy", {}),
    ],
)
def test_the_output_is_that_of_the_whole_array(folder, tmp_path, name, source, target, parameters):
    done = run(folder, name, source, tmp_path / target, *(f"{key}={value}" for key, value in parameters.items()))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [file.name for file in tmp_path.iterdir()] == [target]
    x = np.load(folder / (source if source.endswith(".npy") else "x.npy"))
    made = tmp_path / target
    found = np.load(made) if made.suffix == ".npy" else zarr.open_array(made, mode="r")[:]
    np.testing.assert_array_equal(found, na.registry[name](x, **parameters))


def test_zarr_arrays_keep_their_format_and_attributes(tmp_path):
    x = np.random.default_rng(6).normal(size=(40, 60))
    options = {"shape": x.shape, "dtype": x.dtype}
    old = {"chunks": (30, 70), "zarr_format": 2, "attributes": {"unit": "mV"}}
    for name, others in (("old", old), ("sharded", {"chunks": (10, 10), "shards": (20, 30)})):
        zarr.create_array(tmp_path / f"{name}.zarr", **options, **others)[:] = x
        assert main(["apply", "softmax", f"{tmp_path}/{name}.zarr", f"{tmp_path}/{name}-made.zarr", "axis=0"]) == 0
        made = zarr.open_array(tmp_path / f"{name}-made.zarr", mode="r")
        np.testing.assert_array_equal(made[:], na.softmax(x, axis=0))
        assert made.metadata.zarr_format == others.get("zarr_format", 3)
        assert made.attrs.asdict() == others.get("attributes", {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("step", "x.npy", "o.npy"), "'step' is no activation"),
        (("gelu", "missing.npy", "o.npy"), "No such file or directory: 'missing.npy'"),
        (("gelu", "missing.zarr", "o.npy"), "missing.zarr does not exist"),
        (("gelu", "short.npy", "o.npy"), "short.npy is not a whole .npy file of numbers"),
        (("gelu", "empty.npy", "o.npy"), "empty.npy is not a whole .npy file of numbers"),
        (("gelu", "words.npy", "o.npy"), "x has dtype str"),
        (("gelu", "x.npy", "o.txt"), "o.txt is neither a .npy file nor a .zarr folder"),
        (("gelu", "x.npy", "x.zarr"), "x.zarr is there already; remove it first"),
        (("gelu", "x.npy", "missing/o.npy"), "there is no folder missing"),
        (("softmax", "x.npy", "o.npy", "axis=2"), "axis 2 is out of bounds"),
        (("softmax", "x.npy", "o.npy", "axis=rows"), "axis is a number, a tuple such as (0,1), or None, not 'rows'"),
        (("gelu", "x.npy", "o.npy", "axis=0"), "has no parameter 'axis'"),
        (("glu", "odd.npy", "o.npy", "axis=0"), "needs an even size to split"),
        (("prelu", "x.npy", "o.npy", "weight=[1,2]"), "other parameters are numbers"),
        (("gelu", "x.npy", "o.npy", "tanh"), "'tanh' is no parameter; write NAME=VALUE"),
        (("gelu", "x.npy", "o.npy", "--dtype", "int8"), "does not cast to out's dtype int8"),
    ],
)
def test_bad_arguments_give_one_line(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert main(["apply", *arguments]) == 2
    written = capsys.readouterr()
    assert message in written.err
    assert (written.out, written.err.count("\n")) == ("", 1)
    assert sorted(folder.iterdir()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk in a namespace of its own, as Linux can")
@pytest.mark.parametrize("target", ["o.npy", "o.zarr"])
def test_a_full_disk_gives_one_line(folder, tmp_path, target):
    mount = f"mount -t tmpfs -o size=2m none {tmp_path}"
    if why := subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True).stderr:
        pytest.skip(f"no disk of 2 MB can be had here: {why}")
    command = f"{mount} && {sys.executable} -m numact apply gelu x.npy {tmp_path}/{target}; code=$?; ls -A {tmp_path}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{command}; exit $code"], cwd=folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(("signal_name", "code"), [("SIGKILL", -signal.SIGKILL), ("SIGINT", 130)])
def test_no_half_written_output_has_the_final_name(folder, tmp_path, signal_name, code):
    (tmp_path / "own.py").write_text(DYING.replace("{signal}", signal_name))
    done = run(tmp_path, "own:activation", folder / "x.npy", "o.npy")
    assert done.returncode == code
    left = [file.name for file in tmp_path.iterdir() if file.name.startswith(".o.npy")]
    assert len(left) == (signal_name == "SIGKILL")  # that one was in the middle of its work
    assert not (tmp_path / "o.npy").exists()
    if signal_name == "SIGINT":
        return
    assert run(tmp_path, "exponential", folder / "x.npy", "o.npy").returncode == 0
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy"), na.exponential(np.load(folder / "x.npy")))


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts memory beside mapped files on Linux alone")
@pytest.mark.parametrize("suffix", ["npy", "zarr"])
def test_a_file_larger_than_memory(tmp_path, suffix):
    size, memory = 120_000_000, 400_000_000
    source, target = tmp_path / f"x.{suffix}", tmp_path / f"o.{suffix}"
    if suffix == "npy":
        np.lib.format.open_memmap(source, "w+", np.float32, (size,)).flush()  # holes, which read as 0
    else:
        zarr.create_array(source, shape=(size,), chunks=(2_000_000,), dtype=np.float32)
    done = run(tmp_path, "sigmoid", source, target, limits=[(resource.RLIMIT_DATA, memory)])
    assert done.returncode == 0, done.stderr
    out = np.load(target, mmap_mode="r") if suffix == "npy" else zarr.open_array(target, mode="r")
    assert out.shape == (size,)
    assert out[size - 1] == out[0] == 0.5
