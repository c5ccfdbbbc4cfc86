"""Array namespaces, devices and dtypes: the only file that knows array-api-compat.

NumPy 2 follows the array API standard itself, so array-api-compat is imported only when another kind of array comes.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

import numpy as np

from pmtools._describe import describe
from pmtools.typing import Array, Ndarray

_P = ParamSpec("_P")
_R = TypeVar("_R")


def is_torch(value: object) -> bool:
    """Whether `value` is a PyTorch tensor; PyTorch is not imported for the question."""
    return not isinstance(value, np.ndarray) and any(
        base.__module__.partition(".")[0] == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__
    )


def is_pil(value: object) -> bool:
    """Whether `value` is a PIL image; PIL is not imported for the question."""
    kind = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return kind is not None and isinstance(value, kind)


def is_array(value: object) -> bool:
    """Whether `value` is an array of some array API namespace (NumPy's scalars are not)."""
    if isinstance(value, np.ndarray):
        return True
    if isinstance(value, (np.generic, int, float, complex, str, bytes, list, tuple, dict, set, type(None))):
        return False
    import array_api_compat

    return bool(array_api_compat.is_array_api_obj(value))


def namespace(array: Array) -> Any:
    """The array API namespace of `array`."""
    if isinstance(array, np.ndarray):
        return np
    import array_api_compat

    return array_api_compat.array_namespace(array)


def device(array: Array) -> Any:
    """The device of `array`; None for NumPy."""
    if isinstance(array, np.ndarray):
        return None
    import array_api_compat

    return array_api_compat.device(array)


def asarray(value: object, name: str) -> Array:
    """`value` as an array of its own namespace; sequences, scalars and PIL images become NumPy arrays."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(
            f"`{name}` must not hide values behind a mask, which would come out again; use {name}.filled(value), in float "
            "images with NaN"
        )
    if isinstance(value, np.ndarray):
        return np.asarray(value)  # sub-classes (matrix, masked) lose their special rules
    if is_array(value):
        _refuse_unreadable(value, name)
        return value
    if value is None or isinstance(value, (str, bytes, dict, set)):
        raise TypeError(f"`{name}` must be an array, got {describe(value)}; {_NUMBERS}")
    if isinstance(value, (list, tuple)) and value and all(map(_is_foreign, value)):
        return _stacked(value, name)  # on their device, with their gradients
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged, or tensors deep inside that NumPy cannot read
        raise TypeError(
            f"`{name}` must be an array, got a {type(value).__name__} NumPy cannot stack: {error}; {_NUMBERS}"
        ) from None
    if array.dtype == object:
        raise TypeError(f"`{name}` must be an array of numbers, got {describe(value)}; {_NUMBERS}")
    return array


_NUMBERS = "give an array, a tensor or rows of plain numbers"


def _is_foreign(item: object) -> bool:
    """Whether an item of a list is an array of another kind than NumPy's."""
    return not isinstance(item, np.ndarray) and is_array(item)


def _stacked(items: Sequence[Array], name: str) -> Array:
    """Arrays of one kind and shape, as one of that kind."""
    for item in items:
        _refuse_unreadable(item, name)
    shapes = {tuple(item.shape) for item in items}
    if len(shapes) > 1 or len({device(item) for item in items}) > 1:
        raise TypeError(
            f"`{name}` must be an array, got a {type(items).__name__} of {type(items[0]).__name__}s of other shapes or on other "
            f"devices, {sorted(shapes)}; give those of one shape"
        )
    return namespace(items[0]).stack(list(items))


def asarray_like(array: Array, like: Array) -> Array:
    """`array` in the namespace and on the device of `like`, values and dtype unchanged where that kind has the dtype."""
    if isinstance(like, np.ndarray):
        return to_numpy(array)
    xp = namespace(like)
    if type(array) is not type(like) and not (is_torch(array) and is_torch(like)):
        array = xp.asarray(np.array(to_numpy(array)))  # a copy: read-only memory must not be shared with a tensor
    return to_device(array, device(like))


def to_device(array: Array, where: Any) -> Array:
    """`array` on the device `where`; None leaves it."""
    if where is None or device(array) == where:
        return array
    import array_api_compat

    return array_api_compat.to_device(array, where)


def to_numpy(array: Array) -> Ndarray:
    """`array` on the host as NumPy, detached from any graph."""
    if isinstance(array, np.ndarray):
        return array
    if is_torch(array):
        array = array.detach().cpu()
        array = array.double() if str(array.dtype) == "torch.bfloat16" else array
        return np.asarray(array if has_memory(array) else array.tolist())  # inside torch.func numbers come one by one
    try:
        return np.asarray(array)
    except (TypeError, ValueError, RuntimeError):
        return np.from_dlpack(array)


def contiguous(array: Array) -> Array:
    """`array` with its memory in order, where that matters (PyTorch); itself where it is so already."""
    if not is_torch(array):
        return array
    if has_memory(array):
        return array.contiguous()
    return array.clone(memory_format=sys.modules["torch"].contiguous_format)  # `torch.vmap` hides its own order


def is_bool(array: Array) -> bool:
    """Whether `array` holds booleans."""
    return _is_kind(array, "b", "bool")


def is_integer(array: Array) -> bool:
    """Whether `array` holds integers of any width."""
    return _is_kind(array, "iu", "integral")


def is_floating(array: Array) -> bool:
    """Whether `array` holds real floating-point numbers."""
    return _is_kind(array, "f", "real floating")


def is_real(array: Array) -> bool:
    """Whether `array` holds booleans, integers or real floating-point numbers."""
    return is_bool(array) or is_integer(array) or is_floating(array)


def is_signed(array: Array) -> bool:
    """Whether `array` can hold negative numbers."""
    return not _is_kind(array, "bu", ("bool", "unsigned integer"))


def _is_kind(array: Array, letters: str, standard: str | tuple[str, ...]) -> bool:
    """Whether the dtype is one of a kind: NumPy's by its letters, which are at hand, others' by the names of the standard."""
    if isinstance(array, np.ndarray):
        return array.dtype.kind in letters
    return bool(namespace(array).isdtype(array.dtype, standard))


def requires_grad(array: Array) -> bool:
    """Whether gradients are wanted through `array` (PyTorch only)."""
    return bool(getattr(array, "requires_grad", False))


def own_precision(array: Array) -> AbstractContextManager[Any]:
    """A context in which operations keep the dtype of `array`: PyTorch's autocast would take products in fewer bits."""
    if not is_torch(array):
        return nullcontext()
    return sys.modules["torch"].autocast(device(array).type, enabled=False)  # type: ignore[no-any-return]


def copy(array: Array) -> Array:
    """A copy of `array`; of a PyTorch tensor one through which gradients reach it."""
    return array.clone() if is_torch(array) else namespace(array).asarray(array, copy=True)


def wide_dtype(array: Array) -> Any:
    """float64, or float32 on a device that has no float64 (Apple's mps)."""
    if isinstance(array, np.ndarray):
        return np.float64
    xp = namespace(array)
    return xp.float32 if getattr(device(array), "type", "") == "mps" else xp.float64


def widen(array: Array) -> Array:
    """`array` in the widest float of its device: what coordinates and statistics are computed in."""
    if isinstance(array, np.ndarray):
        return array.astype(np.float64, copy=False)
    return namespace(array).astype(array, wide_dtype(array), copy=False)


def epsilon(array: Array) -> float:
    """Rounding unit of the dtype of `array`; that of float64 for integers and booleans."""
    return float(namespace(array).finfo(array.dtype).eps) if is_floating(array) else float(np.finfo(np.float64).eps)


def arange(stop: int, like: Array, *, offset: float = 0.0) -> Array:
    """0 + offset, 1 + offset, ... (`stop` of them) in the widest float, namespace and device of `like`."""
    xp = namespace(like)
    steps = xp.arange(stop, dtype=wide_dtype(like), device=device(like))
    return steps + offset if offset else steps


def clip(array: Array, low: Any, high: Any) -> Array:
    """`array` between the bounds; for short arrays of NumPy in a third of the time that its `clip` takes to begin."""
    if isinstance(array, np.ndarray):
        return np.minimum(np.maximum(array, low), high)
    return namespace(array).clip(array, low, high)


def least(array: Array, axis: int | tuple[int, ...]) -> Array:
    """Minimum over `axis`, which stays with length 1."""
    return _reduced(array, axis, np.minimum, "min")


def greatest(array: Array, axis: int | tuple[int, ...]) -> Array:
    """Maximum over `axis`, which stays with length 1."""
    return _reduced(array, axis, np.maximum, "max")


def total(array: Array, axis: int | tuple[int, ...]) -> Array:
    """Sum over `axis`, which stays with length 1."""
    return _reduced(array, axis, np.add, "sum")


def _reduced(array: Array, axis: int | tuple[int, ...], ufunc: np.ufunc, name: str) -> Array:
    """`name` of the standard over `axis`; for NumPy in half the time that its function of this name takes for short arrays."""
    if isinstance(array, np.ndarray):
        return ufunc.reduce(array, axis=axis, keepdims=True)
    return getattr(namespace(array), name)(array, axis=axis, keepdims=True)


def mean(array: Array, axis: int | tuple[int, ...]) -> Array:
    """Mean over `axis`, which stays with length 1; for NumPy the sum over the count, which is what its `mean` does slowly."""
    if isinstance(array, np.ndarray):
        axes = axis if isinstance(axis, tuple) else (axis,)
        return total(array, axis) / math.prod(array.shape[i] for i in axes)
    return namespace(array).mean(array, axis=axis, keepdims=True)


def running_sums(array: Array) -> Array:
    """Sums of the first 0, 1, ... n entries of the last axis, of shape (..., n + 1)."""
    if isinstance(array, np.ndarray):
        sums = np.zeros((*array.shape[:-1], array.shape[-1] + 1), array.dtype)
        np.add.accumulate(array, axis=-1, out=sums[..., 1:])
        return sums
    xp = namespace(array)
    return xp.concat([xp.zeros_like(array[..., :1]), xp.cumulative_sum(array, axis=-1)], axis=-1)


def somewhere(mask: Array) -> bool:
    """Whether `mask` is True anywhere."""
    return bool(mask.any() if isinstance(mask, np.ndarray) else namespace(mask).any(mask))


def nowhere(mask: Array) -> bool:
    """Whether `mask` is NumPy's and False everywhere: what would guard against it can be left out."""
    return isinstance(mask, np.ndarray) and not mask.any()


def cast_like(array: Array, like: Array) -> Array:
    """`array` in the float dtype of `like`; unchanged where `like` is not floating-point."""
    return namespace(array).astype(array, like.dtype, copy=False) if is_floating(like) else array


def coordinate_like(array: Array, like: Array) -> Array:
    """`array` in the float dtype of `like`, at least 32 bits: half precision would move coordinates by pixels."""
    if str(like.dtype).rpartition(".")[2] in ("float16", "bfloat16"):
        return namespace(array).astype(array, namespace(array).float32)
    return cast_like(array, like)


def has_memory(tensor: Array) -> bool:
    """Whether a PyTorch tensor has numbers of its own to read: one inside `torch.func` or an export has not."""
    try:
        return bool(tensor.data_ptr() or tensor.numel() == 0)
    except RuntimeError:
        return False


def _refuse_unreadable(array: Array, name: str) -> None:
    """Tensors without memory of their own, or in a dtype without arithmetic.

    What is magnified depends on values, which `torch.vmap` and the device "meta" hide; coordinates they may have.
    """
    if not is_torch(array):
        return
    torch = sys.modules["torch"]
    if array.is_nested or array.layout is not torch.strided:
        layout = "a nested tensor" if array.is_nested else f"the layout {array.layout}"
        way = "one tensor at a time" if array.is_nested else f"{name}.to_dense()"
        raise TypeError(f"`{name}` must be a dense tensor, got {layout}; give {way}")
    if array.is_floating_point() and array.dtype.itemsize < 2:
        raise TypeError(f"`{name}` must be of 16 bits or more, got dtype {array.dtype}; give {name}.to(torch.float32)")
    if name in ("points_xy", "boxes_xyxy"):
        return
    if array.is_meta:
        raise TypeError(f'`{name}` must hold values, got a tensor on the device "meta"; load it on a real device first')
    functorch = getattr(torch._C, "_functorch", None)
    if functorch is not None and functorch.is_batchedtensor(array):
        raise TypeError(f"`{name}` must not come from torch.vmap, which hides its values; give the whole batch at once")


def untraced(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A function whose steps depend on values: `torch.compile` runs it as it is, between two graphs; an export refuses it."""

    @functools.wraps(function)
    def door(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        torch = sys.modules.get("torch")
        if torch is None or not torch.compiler.is_compiling():
            return function(*args, **kwargs)
        exporting = getattr(torch.compiler, "is_exporting", bool)()  # from PyTorch 2.7 on
        if exporting or not torch.compiler.is_dynamo_compiling():
            raise TypeError(
                f"`{function.__name__}` cannot be exported, since its steps depend on values; export grid_sample with the "
                "grid of Warp.to_grid_sample() as an input"
            )
        whole: Callable[_P, _R] = torch.compiler.disable(function)
        return whole(*args, **kwargs)

    return door
