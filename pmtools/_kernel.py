"""The compiled kernel: whether it is there, what it serves, and how the resampler calls it.

`PMTOOLS_KERNEL=numpy` leaves it out, `PMTOOLS_KERNEL=portable` keeps its AVX2 loops out; both are read at import, and another
value is refused where images are first made.
`PMTOOLS_THREADS` bounds the threads that the images of a batch share; 1 for none.

Knows nothing of footprints beyond their arrays; weights are made in C, by the formulas of `footprints.kernel_weights`.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pmtools import _array
from pmtools.typing import Array, Ndarray

if TYPE_CHECKING:
    from pmtools.footprints import Footprints

_T = TypeVar("_T")
_R = TypeVar("_R")

_CHOICES = ("", "numpy", "portable")
#: Numbers of the kernels in _resample.c; a copy is a gather there.
_KERNELS = {"copy": 0, "gather": 0, "linear": 1, "box": 2, "cubic": 3}
#: Source pixels that an output pixel takes, for each pixel of its footprint; the other kernels take one or two.
_TAPS = {"box": 1, "cubic": 4}
#: Taps up to which 14-bit weights and sums in float32 give what NumPy gives; of 20 000, bytes were off by 22.
MOST_TAPS = 512
#: Numbers below which a thread costs more than it gains.
WORTH_A_THREAD = 1 << 18


def _load(choice: str) -> tuple[ModuleType | None, str]:
    """The extension, or None, and what to call the choice."""
    if choice not in _CHOICES:
        return None, f"none (PMTOOLS_KERNEL={choice})"
    if choice == "numpy":
        return None, "numpy (PMTOOLS_KERNEL=numpy)"
    try:
        extension = importlib.import_module("pmtools._resample")
    except ImportError as error:
        return None, f"numpy (the compiled kernel is not there: {error})"
    return extension, "c (avx2)" if extension.has_avx2() and choice != "portable" else "c (portable)"


_WISH = os.environ.get("PMTOOLS_KERNEL", "")
_extension, NAME = _load(_WISH)


def check_environment() -> None:
    """Refuse environment variables that cannot be meant, before there is work to lose."""
    _check_choice()
    thread_count()


def _check_choice() -> None:
    if _WISH not in _CHOICES:
        raise ValueError(
            f'PMTOOLS_KERNEL must be "numpy", "portable" or unset, got {_WISH!r}; unset it for the fastest'
        )


def serves(pixels: Ndarray) -> bool:
    """Whether the compiled kernel is there and takes pixels of this dtype."""
    _check_choice()
    return _extension is not None and pixels.dtype in (np.uint8, np.uint16, np.float32) and pixels.dtype.isnative


def sums_well(rows: Footprints, columns: Footprints, kernels: tuple[str, str]) -> bool:
    """Whether no output pixel takes so many source pixels that the compiled kernel's sums get inaccurate."""
    axes = zip((rows, columns), kernels, strict=True)
    return all(_TAPS.get(kernel, 0) * axis.widest <= MOST_TAPS for axis, kernel in axes)


def serves_tensor(pixels: Array) -> bool:
    """Whether `pixels` is a PyTorch tensor whose memory the compiled kernel can read as NumPy, with no gradient to lose."""
    if _extension is None or not _array.is_torch(pixels):
        return False
    plain = type(pixels).__module__ == "torch" and pixels.layout.__str__() == "torch.strided"
    dtype = str(pixels.dtype) in ("torch.uint8", "torch.uint16", "torch.float32")
    in_reach = pixels.device.type == "cpu" and not _array.requires_grad(pixels)
    return plain and dtype and in_reach and _array.has_memory(pixels)


def resample(
    pixels: Ndarray,
    rows: Footprints,
    columns: Footprints,
    kernels: tuple[str, str],
    limits: tuple[Ndarray, Ndarray] | None,
    *,
    portable: bool = _WISH == "portable",
) -> Ndarray:
    """`resample_each` with one pair of footprints for all images."""
    return resample_each(pixels, [(rows, columns)], [kernels], limits, portable=portable)


def resample_each(
    pixels: Ndarray,
    pairs: Sequence[tuple[Footprints, Footprints]],
    kernels: Sequence[tuple[str, str]],
    limits: tuple[Ndarray, Ndarray] | None,
    *,
    out: Ndarray | None = None,
    portable: bool = _WISH == "portable",
) -> Ndarray:
    """Pixels looked up at the footprints of both axes, by the compiled kernel: one call for a batch, or one for each thread.

    Parameters
    ----------
    pixels : array of shape (n, H, W, C)
        Of a dtype that it `serves`, any strides.
    pairs : sequence of (Footprints, Footprints)
        Rows and columns, in NumPy: for all images, or for as many each.
    kernels : sequence of (str, str)
        Names of the kernels of rows and columns, for each pair.
    limits : two arrays of n numbers, or None
        Least and greatest value of each image's result.
    out : array of shape (n, len(rows), len(columns), C), optional
        Where the result goes; of the dtype of `pixels`, and such as `writes_to` says.
    portable : bool, optional
        Without AVX2.

    Returns
    -------
    array of shape (n, len(rows), len(columns), C)
        Planes stay planes: a permuted view of (n, C, H, W) gives another one.
    """
    n, _, _, channels = pixels.shape
    if out is None:
        out = empty(pixels, len(pairs[0][0]), len(pairs[0][1]))
    integers = pixels.dtype.kind == "u"  # which it clips to their dtype only
    bounds = (
        None
        if limits is None or integers
        else np.stack([np.ravel(limit) for limit in limits], axis=-1).astype(np.float32)
    )
    together = channels if _in_pixels(out) else 1
    format_ = pixels.dtype.char
    each = n // len(pairs) if len(pairs) > 1 else 1
    plans: list[object] = []
    for (rows, columns), (row_kernel, column_kernel) in zip(pairs, kernels, strict=True):
        plans += [
            _plan(rows, row_kernel, False, format_, 1, portable),
            _plan(columns, column_kernel, True, format_, together, portable),
        ] * each

    def run(part: slice) -> None:
        its_plans = plans if len(pairs) == 1 else plans[2 * part.start : 2 * part.stop]
        its_bounds = None if bounds is None else bounds[part]
        _extension.resample(pixels[part], out[part], tuple(its_plans), its_bounds, portable)  # type: ignore[union-attr]

    shares = out.size // WORTH_A_THREAD if n > 1 else 1
    if shares < 2:
        run(slice(0, n))
    else:
        map_threads(run, _shares(n, shares))
    if limits is not None and integers:
        low, high = (limit.astype(pixels.dtype) for limit in limits)
        np.clip(out, low, high, out=out)
    return out


def empty(pixels: Ndarray, height: int, width: int) -> Ndarray:
    """An array for the result of `pixels` (n, H, W, C): planes if they are planes."""
    n, _, _, channels = pixels.shape
    if channels > 1 and abs(pixels.strides[3]) > abs(pixels.strides[2]):
        return np.empty((n, channels, height, width), dtype=pixels.dtype).transpose(0, 2, 3, 1)
    return np.empty((n, height, width, channels), dtype=pixels.dtype)


def writes_to(out: Ndarray) -> bool:
    """Whether the numbers of a row of `out` (n, H, W, C), or of each plane of it, lie next to each other."""
    size, channels = out.itemsize, out.shape[3]
    step = channels * size if _in_pixels(out) else size
    return bool(out.flags.aligned and out.flags.writeable and (out.shape[2] == 1 or out.strides[2] == step))


def _in_pixels(out: Ndarray) -> bool:
    """Whether the channels of a pixel lie next to each other."""
    return bool(out.shape[3] == 1 or out.strides[3] == out.itemsize)


def _plan(axis: Footprints, kernel: str, across: bool, format_: str, channels: int, portable: bool) -> object:
    """What the extension makes of an axis, for columns if `across`; made once, since footprints do not change."""
    key = (kernel, across, format_, channels, portable)
    plan = axis.plans.get(key)
    if plan is None:
        where = (*axis.positions, axis.first, axis.last, axis.size)
        plan = _extension.plan(across, _KERNELS[kernel], *where, *key[2:])  # type: ignore[union-attr]
        axis.plans[key] = plan
    return plan


def _shares(n: int, wanted: int) -> list[slice]:
    """n images in as many runs as are worth a thread: more runs than threads, so that none waits long for the slowest."""
    k = 1 if thread_count() == 1 else min(n, wanted)
    return [slice(i * n // k, (i + 1) * n // k) for i in range(k)]


def takes_places(*arrays: Array) -> bool:
    """Whether the compiled kernel is there and maps such places through such knots: float64 (n,), or (b, n) for a batch."""
    return _extension is not None and all(
        isinstance(array, np.ndarray) and array.dtype == np.float64 and 1 <= array.ndim <= 2 and array.flags.aligned
        for array in arrays
    )


def interpolate(x: Ndarray, knots_x: Ndarray, knots_y: Ndarray, out: Ndarray) -> None:
    """The increasing piecewise linear map through the knots at `x`, extended beyond them, into `out`, which may be `x`."""
    if x.ndim == 2:
        for i in range(len(x)):
            interpolate(
                x[i], knots_x if knots_x.ndim == 1 else knots_x[i], knots_y if knots_y.ndim == 1 else knots_y[i], out[i]
            )
        return
    _extension.interpolate(x, out, np.ascontiguousarray(knots_x), np.ascontiguousarray(knots_y))  # type: ignore[union-attr]


def upsampled_greatest(values: Array, size: int) -> Ndarray | None:
    """The greatest of each column of a float64 map (h, w) whose rows are resampled to `size` cells; None if it is not served."""
    if not takes_places(values) or values.ndim != 2:
        return None
    greatest = np.empty(size, np.float64)
    _extension.upsampled_greatest(values, greatest)  # type: ignore[union-attr]
    return greatest


# ------------------------------------------------------------------------------------------------------- threads


def thread_count() -> int:
    """How many threads a batch may use: PMTOOLS_THREADS, or the processors this process may run on."""
    count = os.environ.get("PMTOOLS_THREADS", "")
    if count:
        if not count.isdecimal() or int(count) < 1:
            raise ValueError(f"PMTOOLS_THREADS must be an integer >= 1, got {count!r}; unset it to use all processors")
        return int(count)
    return processor_count()


def processor_count() -> int:
    """How many processors this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


_worker = threading.local()


def map_threads(function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """`[function(item) for item in items]` over as many threads as `thread_count` allows, in order.

    The compiled kernel, NumPy and Pillow release the GIL while pixels move, so images of a folder or a list gain from it.
    Threads live as long as the call: nothing is left behind for a fork to trip over. Calls from inside such a thread start no
    more of them.

    Parameters
    ----------
    function : callable
        Of one argument.
    items : iterable

    Returns
    -------
    list
    """
    items = list(items)
    workers = min(thread_count(), len(items))
    if workers < 2 or getattr(_worker, "is_one", False):
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers, initializer=lambda: setattr(_worker, "is_one", True)) as pool:
        return list(pool.map(function, items))
