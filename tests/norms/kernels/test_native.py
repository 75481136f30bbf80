"""The compiled passes: norms with and without them, and the build."""

import os
import stat
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssl_norm.norms.kernels import dispatch, native, native_build, tiled
from ssl_norm.norms.kernels.dispatch import AFFINE
from ssl_norm.norms.kernels.native_build import library
from tests import warm
from tests.norms.kernels.passes import LAYOUTS, data
from tests.norms.kernels.test_passes import needs_compiler


@needs_compiler
def test_numbers_that_are_not_finite_stay():
    x = torch.tensor([[[1, torch.nan], [1, torch.inf]]], dtype=torch.bfloat16)
    one, zero = torch.ones(1, 2), torch.zeros(1, 2)
    torch.testing.assert_close(AFFINE.pointwise_map(x, one, zero), x, equal_nan=True)
    assert not AFFINE.instance_moments(x)[0].isfinite().any()


@needs_compiler
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_results_do_not_depend_on_the_number_of_threads(layout):
    x, dy = (LAYOUTS[layout](data(5, 70, 16, 9, dtype=torch.float32, seed=s)) for s in range(2))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            mean, variance = AFFINE.instance_moments(x)
            sums = AFFINE.map_gradients(dy, x, mean, mean)
            dx = AFFINE.input_gradient(dy, x, mean, variance, variance, *sums[:1])
            found.append(torch.cat([t.flatten() for t in (mean, variance, *sums, dx)]))
    finally:
        torch.set_num_threads(before)
    assert found[0].equal(found[1])


def test_torch_computes_what_the_compiled_passes_refuse(monkeypatch):
    assert dispatch.passes_for(torch.zeros(1, dtype=torch.float16)) is tiled
    assert dispatch.passes_for(torch.zeros(1, device="meta")) is tiled
    with FlopCounterMode(display=False):
        assert dispatch.passes_for(torch.zeros(1)) is tiled
    monkeypatch.setattr(native, "library", lambda **_: None)
    assert dispatch.passes_for(torch.zeros(1)) is tiled


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Give the build an empty folder, and forget what it built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    yield tmp_path / "ssl_norm/kernels"
    library.cache_clear()


def compiler(path, monkeypatch, script):
    """Use a program as the C++ compiler."""
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("CXX", str(path))


def test_nothing_is_compiled_where_it_is_switched_off(cache, monkeypatch):
    monkeypatch.setenv(native_build.SWITCH, "0")
    assert library(SCALAR="float", MAP="Affine") is None
    assert not cache.exists()


@pytest.mark.parametrize("script", ["raise SystemExit(1)", "import sys; open(sys.argv[-1], 'w')"])
def test_a_compiler_that_fails_leaves_nothing(cache, monkeypatch, tmp_path, script):
    compiler(tmp_path / "c++", monkeypatch, script)
    assert library(SCALAR="float", MAP="Affine") is None
    assert list(cache.iterdir()) == []
    assert native_build.describe().startswith("no (")


def test_a_compiler_that_hangs_is_stopped(cache, monkeypatch, tmp_path):
    compiler(tmp_path / "c++", monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(native_build, "LONGEST", 0.1)
    assert library(SCALAR="float", MAP="Affine") is None


def test_the_error_of_the_compiler_is_described(cache, monkeypatch, tmp_path):
    script = "import sys; sys.exit('first line\\nc++: error: no -fopenmp')"
    compiler(tmp_path / "c++", monkeypatch, script)
    assert native_build.describe() == "no (c++: error: no -fopenmp)"


def test_no_compiler(cache, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert library(SCALAR="float", MAP="Affine") is None
    assert native_build.describe() == "no (there is no C++ compiler no-such-compiler)"


@needs_compiler
def test_a_cache_that_others_can_write_to_is_not_loaded_from(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o770)
    assert library(SCALAR="float", MAP="Affine") is None
    assert "others can write to it" in native_build.describe()
    assert list(cache.iterdir()) == []


@needs_compiler
def test_a_damaged_file_is_compiled_again(cache):
    assert "compiled now" in native_build.describe()
    (file,) = cache.iterdir()
    content = file.read_bytes()
    file.unlink()  # the passes are loaded
    file.write_bytes(content[:4000])  # loading it would end the process
    assert "compiled now" in native_build.describe()
    assert "cached" in native_build.describe()
    assert [found.read_bytes() for found in cache.iterdir()] == [content]


def test_the_cache_is_private(cache, monkeypatch, tmp_path):
    compiler(tmp_path / "c++", monkeypatch, "raise SystemExit(1)")
    before = os.umask(0)
    try:
        assert library(SCALAR="float", MAP="Affine") is None
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


@needs_compiler
def test_processes_build_at_the_same_time_and_only_once(cache):
    code = (
        "from ssl_norm.norms.kernels.native_build import library\n"
        "assert library(SCALAR='float', MAP='Affine')"
    )
    processes = [warm.Process(["-c", code]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    (file,) = cache.iterdir()
    written = file.stat().st_mtime_ns
    assert library(SCALAR="float", MAP="Affine") is not None
    assert file.stat().st_mtime_ns == written
