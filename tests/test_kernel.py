"""The compiled kernel gives the numbers of the NumPy path, whatever the layout, and refuses what it cannot serve."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

import pmtools
from pmtools import _kernel, _resample_numpy
from pmtools.axes import axis_map
from pmtools.footprints import Footprints, footprints
from pmtools.resample import resample

compiled = pytest.mark.skipif(_kernel.serves(np.zeros(1, np.uint8)) is False, reason=_kernel.NAME)
FUZZ = runpy.run_path(str(Path(__file__).parent / "fuzz" / "fuzz_kernel.py"))
CALLS = runpy.run_path(str(Path(__file__).parent / "fuzz" / "kernel_calls.py"))
random_axis, random_case, largest_difference = FUZZ["random_axis"], FUZZ["random_case"], FUZZ["largest_difference"]


@pytest.fixture
def rng():
    return np.random.default_rng(20260518)


@compiled
@pytest.mark.parametrize("seed", range(150))
def test_equals_the_numpy_path(seed):
    FUZZ["check"](seed)


@compiled
@pytest.mark.parametrize("seed", range(40))
def test_coordinates_from_anywhere_do_no_harm(seed):
    FUZZ["check_hostile"](seed)


@compiled
@pytest.mark.parametrize("seed", range(100))
def test_coordinates_are_those_of_numpy_to_the_last_bit(seed):
    FUZZ["check_places"](seed)
    FUZZ["check_hostile_places"](seed)


@compiled
@pytest.mark.parametrize("seed", [0, 1, 3, 9, 12])
def test_long_axes_equal_the_numpy_path(seed):
    FUZZ["check"](seed, long=True)


@compiled
@pytest.mark.parametrize("seed", range(5))
def test_threads_do_not_disturb_each_other(seed):
    FUZZ["check_threads"](seed)


@compiled
def test_coordinates_that_change_while_they_are_read_do_no_harm():
    from pmtools import _resample

    for seed in range(5):
        FUZZ["check_race"](seed, _resample)


@compiled
def test_the_comparison_of_threads_notices_a_thread_that_differs(monkeypatch):
    one = _kernel.resample
    here = threading.get_ident()
    monkeypatch.setattr(
        _kernel, "resample", lambda *case, **how: one(*case, **how) + 2 * (threading.get_ident() != here)
    )
    with pytest.raises(SystemExit, match="off by"):
        list(map(FUZZ["check_threads"], range(10)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("along", [1, 2])
@pytest.mark.parametrize(("many", "period"), [(20_000, 20_000 / 16_384), (100_000, 2)])
def test_an_average_of_very_many_pixels_is_the_average(many, period, along, dtype):
    """In the first output pixel; the last source pixel fills the others. Weights of 14 bits were 22 grey levels off."""
    greatest = FUZZ["SPREAD"][dtype]
    wave = 0.5 + 0.5 * np.cos(2 * np.pi / period * np.arange(many + 1))
    values = (wave * greatest if dtype == "float32" else np.rint(wave * greatest)).astype(dtype)
    size, target = many + 1, many + 2
    long = footprints(axis_map(np.array([0.0, many, size]), np.array([0.0, 1, target]), size, target))[0]
    assert long.averaging == "box"
    narrow = footprints(axis_map(np.array([0.0, 1]), np.array([0.0, 1]), 1, 1))[0]
    pixels, pair = values.reshape(1, size, 1, 1), (long, narrow)
    if along == 2:
        pixels, pair = pixels.transpose(0, 2, 1, 3), pair[::-1]
    result = float(resample(pixels, [pair]).ravel()[0])
    assert result == pytest.approx(values[:many].mean(dtype=np.float64), abs=4e-5 if dtype == "float32" else 1.5)


@compiled
def test_the_comparison_notices_a_moved_knot(monkeypatch):
    unmoved = _kernel.interpolate
    monkeypatch.setattr(_kernel, "interpolate", lambda x, before, after, out: unmoved(x, before, after + 1e-9, out))
    with pytest.raises(SystemExit, match="knots differ"):
        list(map(FUZZ["check_places"], range(10)))


@compiled
@pytest.mark.parametrize(
    "changes",
    [
        {"x": np.zeros((3, 3))},
        {"x": np.zeros(3, np.float32)},
        {"x": np.zeros(4)},
        {"x": np.zeros(25, np.uint8)[1:].view(np.float64)},
        {"out": np.zeros(3, np.int64)},
        {"knots_x": np.zeros(1), "knots_y": np.zeros(1)},
        {"knots_x": np.zeros(4)},
        {"knots_y": np.zeros(2, np.float32)},
    ],
)
def test_bad_places_are_refused(changes):
    from pmtools import _resample

    right = {"x": np.zeros(3), "out": np.zeros(3), "knots_x": np.arange(2.0), "knots_y": np.arange(2.0)}
    _resample.interpolate(*right.values())
    with pytest.raises(ValueError):
        _resample.interpolate(*(right | changes).values())


@compiled
def test_bytes_are_off_by_one_rarely(rng):
    image = rng.integers(0, 256, (1, 200, 200, 3)).astype(np.uint8)
    for target, kernel, share in ((200, "linear", 0.005), (200, "box", 0.005), (60, "cubic", 0.01)):
        rows, columns = random_axis(rng, 200, target), random_axis(rng, 200, target)
        case = (image, rows, columns, (kernel, kernel), None)
        assert np.mean(_kernel.resample(*case) != _resample_numpy.resample(*case)) < share


@compiled
def test_the_comparison_notices_a_shifted_map(rng):
    pixels = rng.uniform(0, 1, (1, 30, 30, 3)).astype(np.float32)
    axis = random_axis(rng, 30, 30)
    moved = Footprints(axis.centre + 0.5, axis.low + 0.5, axis.high + 0.5, axis.outside, 0, 29, 30)
    shifted = _kernel.resample(pixels, moved, axis, ("linear", "linear"), None)
    assert largest_difference(shifted, _resample_numpy.resample(pixels, axis, axis, ("linear", "linear"), None)) > 0.1


@compiled
def test_many_rows_a_page_apart(rng):
    """Their sums are made in turns."""
    pixels = rng.integers(0, 256, (1, 64, 4096, 1)).astype(np.uint8)
    case = (pixels, random_axis(rng, 64, 6), random_axis(rng, 4096, 300), ("cubic", "cubic"), None)
    assert largest_difference(_kernel.resample(*case), _resample_numpy.resample(*case)) <= 1


@compiled
def test_planes_stay_planes(rng):
    planes = rng.uniform(0, 1, (2, 3, 20, 30)).astype(np.float32)
    rows, columns = random_axis(rng, 20, 25), random_axis(rng, 30, 15)
    result = _kernel.resample(planes.transpose(0, 2, 3, 1), rows, columns, ("linear", "box"), None)
    assert result.transpose(0, 3, 1, 2).flags.c_contiguous
    image = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(result, _kernel.resample(image, rows, columns, ("linear", "box"), None), atol=1e-6)


@compiled
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tensors_in_main_memory_are_served(rng, monkeypatch, dtype, torch):
    calls = []
    compiled_kernel = _kernel.resample_each
    monkeypatch.setattr(_kernel, "resample_each", lambda *a, **k: calls.append(a) or compiled_kernel(*a, **k))
    image = rng.uniform(0, 200, (2, 20, 30, 3)).astype(dtype)
    heatmap = rng.uniform(0, 1, (4, 5))
    expected = pmtools.magnify(image, heatmap)
    tensor = torch.as_tensor(image.transpose(0, 3, 1, 2).copy())
    result = pmtools.magnify(tensor, heatmap)
    assert len(calls) == 2
    assert isinstance(result, torch.Tensor)
    assert result.dtype == tensor.dtype
    np.testing.assert_allclose(result.permute(0, 2, 3, 1).numpy(), expected, atol=1e-4)
    result.zero_()  # memory of its own
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1).numpy(), image)


def test_gradients_are_never_lost_to_the_kernel(rng, torch):
    image = torch.as_tensor(rng.uniform(0, 1, (3, 20, 30)), dtype=torch.float32)
    heatmap = torch.as_tensor(rng.uniform(0, 1, (4, 5)))
    for pair in ((image.clone().requires_grad_(), heatmap), (image, heatmap.clone().requires_grad_())):
        result = pmtools.magnify(*pair)
        assert result.requires_grad
        torch.testing.assert_close(result.detach(), pmtools.magnify(image, heatmap))


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "float16", "float64", ">u2", ">f4"])
def test_other_dtypes_are_left_to_numpy(dtype):
    assert not _kernel.serves(np.zeros((1, 2, 2, 1), dtype=dtype))


# ------------------------------------------------------------------------------------------------ bad arguments


def call(**changes):
    """The extension's own doors, with arguments that are right but for `changes`."""
    from pmtools import _resample

    centre = np.arange(4) + 0.5
    arguments = {"pixels": np.zeros((1, 4, 4, 1), np.uint8), "out": np.zeros((1, 4, 4, 1), np.uint8)}
    arguments |= {"kernel": 1, "centre": centre, "low": centre - 0.5, "high": centre + 0.5, "first": 0, "last": 3}
    arguments |= {"size": 4, "format": "B", "channels": 1, "plans": None, "limits": None, "portable": False}
    assert changes.keys() <= arguments.keys()
    arguments |= changes
    names = ("kernel", "centre", "low", "high", "first", "last", "size", "format", "channels", "portable")
    plans = tuple(_resample.plan(across, *(arguments[name] for name in names)) for across in (False, True))
    plans = arguments["plans"](*plans) if arguments["plans"] else plans
    _resample.resample(arguments["pixels"], arguments["out"], plans, arguments["limits"], arguments["portable"])


@compiled
@pytest.mark.parametrize(
    "changes",
    [
        {"pixels": np.zeros((4, 4, 1), np.uint8)},
        {"pixels": np.zeros((1, 0, 4, 1), np.uint8)},
        {"pixels": np.zeros((1, 4, 5, 1), np.uint8)},
        {"pixels": np.zeros((1, 4, 4, 1), np.float64)},
        {"pixels": np.zeros((1, 4, 4, 1), np.uint16)},
        {"pixels": np.zeros((1, 4, 4, 2), np.uint8), "out": np.zeros((1, 4, 4, 2), np.uint8)},
        {"pixels": np.zeros((1, 4, 4, 1), np.uint16), "out": np.zeros((1, 4, 4, 1), np.uint16)},
        {"out": np.zeros((1, 4, 5, 1), np.uint8)},
        {"out": np.zeros((1, 4, 8, 1), np.uint8)[:, :, ::2]},
        {"kernel": 4},
        {"kernel": -1},
        {"first": -1},
        {"last": 4},
        {"first": 3, "last": 2},
        {"centre": np.full(4, np.nan)},
        {"high": np.full(4, np.inf)},
        {"low": np.zeros(3)},
        {"low": np.zeros(4, np.float32)},
        {"size": 0},
        {"size": 2**40},
        {"format": "d"},
        {"format": "BB"},
        {"format": ""},
        {"channels": 0},
        {"channels": 2},
        {"plans": lambda rows, columns: (columns, rows)},
        {"plans": lambda rows, columns: (rows,)},
        {"plans": lambda rows, columns: (rows, columns, rows, columns)},
        {"plans": lambda rows, columns: [rows, columns]},
        {"plans": lambda rows, columns: (rows, "columns")},
        {"limits": np.zeros(3, np.float32)},
        {"limits": np.zeros(2, np.float64)},
    ],
)
def test_bad_arguments_are_refused(changes):
    call()
    with pytest.raises(ValueError):
        call(**changes)


@compiled
@pytest.mark.parametrize("argument", CALLS["WRONG"])
def test_wrong_values_of_every_kind_are_refused(argument):
    from pmtools import _resample

    kinds = CALLS["WRONG"]
    for i in range(60):
        CALLS["refused"](_resample, i * len(kinds) + list(kinds).index(argument))


@compiled
def test_the_calls_notice_a_value_that_is_taken():
    from pmtools import _resample

    lax = types.SimpleNamespace(plan=lambda *a: None, resample=lambda *a: None, interpolate=_resample.interpolate)
    with pytest.raises(SystemExit, match="taken: kernel"):
        CALLS["refused"](lax, 0)


@compiled
def test_anything_anywhere_is_answered_or_refused():
    from pmtools import _resample

    for seed in range(300):
        CALLS["soup"](_resample, seed)


@compiled
def test_no_images_of_an_endless_size_are_no_work():
    from pmtools import _resample

    nothing = np.zeros((0, 1, 1, 2**62), np.uint8)  # twice as many channels overflow
    _resample.resample(nothing, nothing, (), None, False)


@compiled
def test_memory_that_is_not_writable_is_refused():
    out = np.zeros((1, 4, 4, 1), np.uint8)
    out.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        call(out=out)
    with pytest.raises(TypeError):
        call(pixels="pixels")


# ----------------------------------------------------------------------------------------- choice and threads


def in_fresh_python(code, **environment):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_numpy_can_be_asked_for():
    code = "import numpy as np; from pmtools import _kernel; print(_kernel.NAME, _kernel.serves(np.zeros(1, np.uint8)))"
    assert in_fresh_python(code, PMTOOLS_KERNEL="numpy").stdout.split() == ["numpy", "(PMTOOLS_KERNEL=numpy)", "False"]


@compiled
def test_portable_can_be_asked_for():
    code = "from pmtools import _kernel; print(_kernel.NAME)"
    assert in_fresh_python(code, PMTOOLS_KERNEL="portable").stdout.strip() == "c (portable)"


def test_unknown_kernels_are_named():
    assert (
        in_fresh_python("import pmtools", PMTOOLS_KERNEL="gpu").stderr == ""
    )  # the command line says it in its own way
    code = "import numpy as np, pmtools; pmtools.magnify(np.zeros((9, 9)), np.eye(3))"
    result = in_fresh_python(code, PMTOOLS_KERNEL="gpu")
    assert 'PMTOOLS_KERNEL must be "numpy", "portable" or unset' in result.stderr


def test_a_missing_extension_gives_its_reason():
    code = "import sys; sys.modules['pmtools._resample'] = None; from pmtools import _kernel; print(_kernel.NAME)"
    assert "numpy (the compiled kernel is not there" in in_fresh_python(code, PMTOOLS_KERNEL="").stdout


def test_threads_share_a_batch(rng, monkeypatch):
    images = rng.integers(0, 256, (5, 300, 310, 3)).astype(np.uint8)
    rows, columns = random_axis(rng, 300, 290), random_axis(rng, 310, 320)
    monkeypatch.setenv("PMTOOLS_THREADS", "1")
    one = resample(images, [(rows, columns)])
    monkeypatch.setenv("PMTOOLS_THREADS", "3")
    np.testing.assert_array_equal(resample(images, [(rows, columns)]), one)


def test_map_threads_keeps_order_and_uses_threads(monkeypatch):
    monkeypatch.setenv("PMTOOLS_THREADS", "2")
    meet = threading.Barrier(2, timeout=10)  # two at a time, or it breaks
    assert _kernel.map_threads(lambda i: (meet.wait(), i * i)[1], range(6)) == [0, 1, 4, 9, 16, 25]
    monkeypatch.setenv("PMTOOLS_THREADS", "1")
    here = threading.get_ident()
    assert set(_kernel.map_threads(lambda _: threading.get_ident(), range(4))) == {here}


def test_threads_do_not_start_threads(monkeypatch):
    monkeypatch.setenv("PMTOOLS_THREADS", "2")

    def inner(_):
        here = threading.get_ident()
        return set(_kernel.map_threads(lambda _: threading.get_ident(), range(4))) == {here}

    assert _kernel.map_threads(inner, range(4)) == [True] * 4
    assert inner(None) is False  # outside they do


def test_a_batch_of_warps_uses_threads(rng, monkeypatch):
    images = rng.integers(0, 256, (3, 300, 310, 3)).astype(np.uint8)
    warps = pmtools.fit_warp(rng.uniform(0, 1, (3, 6, 6)), source_hw=(300, 310))
    expected = [warp.image(image) for warp, image in zip(warps, images, strict=True)]
    seen = []
    monkeypatch.setenv("PMTOOLS_THREADS", "3")
    monkeypatch.setattr(_kernel, "map_threads", lambda f, items: seen.append(1) or [f(item) for item in items])
    np.testing.assert_array_equal(warps.image(images), expected)
    assert seen
    monkeypatch.undo()
    monkeypatch.setenv("PMTOOLS_THREADS", "3")
    np.testing.assert_array_equal(warps.image(images), expected)


@compiled
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_batch_of_warps_is_one_call_for_each_thread(rng, monkeypatch, threads):
    """Plans are made once, and every warp keeps its own images, with what nothing shows among them."""
    images = rng.integers(0, 256, (4, 2, 260, 310, 3)).astype(np.uint8)
    warps = pmtools.fit_warp(rng.uniform(0, 1, (4, 6, 6)), source_hw=(260, 310))
    padded = warps.then(pmtools.frames.pad_to_square((260, 310)))
    expected = [warp.image(image, fill=7) for warp, image in zip(padded, images, strict=True)]
    calls = {"plan": 0, "resample": 0}

    def counted(name):
        function = getattr(extension, name)
        return lambda *args: calls.update({name: calls[name] + 1}) or function(*args)

    extension = _kernel._extension
    monkeypatch.setattr(
        _kernel, "_extension", types.SimpleNamespace(**vars(extension) | {name: counted(name) for name in calls})
    )
    shares = {"1": lambda n, wanted: [slice(0, n)], "2": lambda n, wanted: [slice(0, 3), slice(3, n)]}
    monkeypatch.setattr(_kernel, "_shares", shares[threads])
    monkeypatch.setenv("PMTOOLS_THREADS", threads)
    for _ in range(2):
        np.testing.assert_array_equal(padded.image(images, fill=7), expected)
    assert calls == {"plan": 8, "resample": 2 * int(threads)}


@pytest.mark.parametrize("wish", ["0", "-1", "two", "1.5"])
def test_a_bad_number_of_threads_is_named(monkeypatch, wish):
    monkeypatch.setenv("PMTOOLS_THREADS", wish)
    with pytest.raises(ValueError, match="PMTOOLS_THREADS must be an integer >= 1"):
        _kernel.thread_count()
