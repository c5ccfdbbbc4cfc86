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
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TypeVar

import numpy as np

from pmtools import _array
from pmtools.footprints import Footprints
from pmtools.typing import Array, Ndarray

_T = TypeVar("_T")
_R = TypeVar("_R")

_WISHES = ("", "numpy", "portable")
#: Numbers of the kernels in _resample.c; a copy is a gather there.
_KERNELS = {"copy": 0, "gather": 0, "linear": 1, "box": 2, "cubic": 3}
#: Numbers below which a thread costs more than it gains.
WORTH_A_THREAD = 1 << 18


def _load(wish: str) -> tuple[ModuleType | None, str]:
    """The extension, or None, and what to call the choice."""
    if wish not in _WISHES:
        return None, f"none (PMTOOLS_KERNEL={wish})"
    if wish == "numpy":
        return None, "numpy (PMTOOLS_KERNEL=numpy)"
    try:
        extension = importlib.import_module("pmtools._resample")
    except ImportError as error:
        return None, f"numpy (the compiled kernel is not there: {error})"
    return extension, "c (avx2)" if extension.has_avx2() and wish != "portable" else "c (portable)"


_WISH = os.environ.get("PMTOOLS_KERNEL", "")
_extension, NAME = _load(_WISH)


def check_environment() -> None:
    """Refuse environment variables that cannot be meant, before there is work to lose."""
    _check_wish()
    thread_count()


def _check_wish() -> None:
    if _WISH not in _WISHES:
        raise ValueError(
            f'PMTOOLS_KERNEL must be "numpy", "portable" or unset, got {_WISH!r}; unset it for the fastest'
        )


def serves(pixels: Ndarray) -> bool:
    """Whether the compiled kernel is there and takes pixels of this dtype."""
    _check_wish()
    return _extension is not None and pixels.dtype in (np.uint8, np.uint16, np.float32) and pixels.dtype.isnative


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
    """Pixels looked up at the footprints of both axes, by the compiled kernel.

    Parameters
    ----------
    pixels : array of shape (n, H, W, C)
        Of a dtype that it `serves`, any strides.
    rows, columns : Footprints
        In NumPy.
    kernels : (str, str)
        Names of the kernels of rows and columns.
    limits : two arrays of n numbers, or None
        Least and greatest value of each image's result.
    portable : bool, optional
        Without AVX2.

    Returns
    -------
    array of shape (n, len(rows), len(columns), C)
        Planes stay planes: a permuted view of (n, C, H, W) gives another one.
    """
    n, _, _, channels = pixels.shape
    shape = (n, len(rows), len(columns), channels)
    if channels > 1 and abs(pixels.strides[3]) > abs(pixels.strides[2]):
        out = np.empty((n, channels, *shape[1:3]), dtype=pixels.dtype).transpose(0, 2, 3, 1)
    else:
        out = np.empty(shape, dtype=pixels.dtype)
    integers = pixels.dtype.kind == "u"  # which it clips to their dtype only
    bounds = (
        None
        if limits is None or integers
        else np.stack([np.ravel(limit) for limit in limits], axis=-1).astype(np.float32)
    )
    axes = (*_axis(rows, kernels[0]), *_axis(columns, kernels[1]))

    def run(part: slice) -> None:
        chosen = None if bounds is None else bounds[part]
        _extension.resample(pixels[part], out[part], *axes, chosen, portable)  # type: ignore[union-attr]

    map_threads(run, _shares(n, out.size))
    if limits is not None and integers:
        low, high = (limit.astype(pixels.dtype) for limit in limits)
        np.clip(out, low, high, out=out)
    return out


def _axis(axis: Footprints, kernel: str) -> tuple[int, Ndarray, Ndarray, Ndarray, int, int]:
    return (_KERNELS[kernel], *axis.positions, axis.first, axis.last)


def _shares(n: int, numbers: int) -> list[slice]:
    """The images in runs that are worth a thread; more runs than threads, so that none waits long for the slowest."""
    k = 1 if thread_count() == 1 else max(1, min(n, numbers // WORTH_A_THREAD))
    return [slice(i * n // k, (i + 1) * n // k) for i in range(k)]


# ------------------------------------------------------------------------------------------------------- threads


def thread_count() -> int:
    """How many threads a batch may use: PMTOOLS_THREADS, or the processors this process may run on."""
    wish = os.environ.get("PMTOOLS_THREADS", "")
    if wish:
        if not wish.isdecimal() or int(wish) < 1:
            raise ValueError(f"PMTOOLS_THREADS must be an integer >= 1, got {wish!r}; unset it to use all processors")
        return int(wish)
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
