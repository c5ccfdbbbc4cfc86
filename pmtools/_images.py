"""Image kinds and layouts: anything in, pixels of shape (n, H, W, C) for the resampler, the same kind out.

NumPy and its like put channels last, PyTorch first, PIL has modes. What a PIL mode means is kept: palettes, alpha, bilevel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from pmtools import _array, _checks, _kernel, _values
from pmtools.typing import Array, Image, Ndarray, SizeHW

#: EXIF tag of the orientation.
_ORIENTATION = 0x0112


class Pixels(NamedTuple):
    """An image opened for resampling.

    Attributes
    ----------
    values : array of shape (n, H, W, C)
        A view of the image where possible.
    batch_shape : tuple of int
        Its leading axes, whose product is n; () for a single image.
    pack : callable
        Turns values of shape (n, H', W', C) into the kind of image that came.
    copy : callable
        A copy of the image that came, to the last bit, whatever opening it took.
    premultiplied : bool
        Whether colours are weighted by alpha, the last channel.
    """

    values: Array
    batch_shape: tuple[int, ...]
    pack: Callable[[Array], Any]
    copy: Callable[[], Any]
    premultiplied: bool = False


def unpack(image: Image, *, channel_axis: int | None = None, name: str = "image", any_channels: bool = False) -> Pixels:
    """Open an image of any kind.

    Parameters
    ----------
    image : PIL image or array
        (H, W); channels last (..., H, W, C) for NumPy and its like; channels first (..., C, H, W) for PyTorch.
    channel_axis : int, optional
        Which axis holds the channels. Default: last for NumPy, first for PyTorch.
    name : str, optional
        What to call it in errors.
    any_channels : bool, optional
        Take as many channels as there are, also where another layout is more likely: for callers who check it better.

    Returns
    -------
    Pixels

    Raises
    ------
    TypeError, ValueError
        If it is not an image, is empty, or `channel_axis` does not fit.
    """
    if _array.is_pil(image):
        if channel_axis is not None:
            raise ValueError("`channel_axis` is for arrays; a PIL image knows its channels, so leave it out")
        return _unpack_pil(image)
    if not _array.is_array(image):
        raise TypeError(
            f"`{name}` must be a PIL image or an array, got {type(image).__name__}; "
            "numpy.asarray(...) makes an array, pmtools.io.read_image(path) reads a file"
        )
    array = _array.asarray(image, name)
    if not _array.is_real(array):
        raise TypeError(f"`{name}` must hold real numbers or booleans, got dtype {array.dtype}")
    if channel_axis is None and not any_channels:
        _refuse_unlikely_channels(array, name)
    return _unpack_array(array, channel_axis, name)


def _refuse_unlikely_channels(array: Array, name: str) -> None:
    """More channels than rows or columns are another layout, which would be warped along the wrong axes."""
    shape = tuple(array.shape)
    if len(shape) < 3:
        return
    first = _array.is_torch(array)
    channels, sides = (shape[-3], shape[-2:]) if first else (shape[-1], shape[-3:-1])
    if channels > 4 and channels >= min(sides):
        own = "(..., C, H, W) for PyTorch" if first else "(..., H, W, C)"
        raise ValueError(
            f"`{name}` must be {own}, got {channels} channels of {sides[0]} x {sides[1]} pixels from shape {shape}; "
            "say which axis is `channel_axis`, for a stack of planes (n, H, W) give image[..., None] with channel_axis=-1"
        )


def _unpack_array(array: Array, channel_axis: int | None, name: str) -> Pixels:
    xp = _array.namespace(array)
    shape = tuple(array.shape)
    if len(shape) < 2:
        raise ValueError(f"`{name}` must have at least two axes (H, W), got shape {shape}")

    def copy() -> Array:
        return _array.copy(array)

    if channel_axis is None:
        if len(shape) == 2:
            _refuse_empty(shape, shape, name)
            return Pixels(array[None, :, :, None], (), lambda values: values[0, :, :, 0], copy)
        channel_axis = -3 if _array.is_torch(array) else -1
        if len(shape) == 3 and channel_axis == -1:  # as below, without permutations that change nothing
            _refuse_empty(shape, shape, name)
            return Pixels(array[None, ...], (), lambda values: values[0, ...], copy)
    axis = _checks.whole_number(channel_axis, "channel_axis", minimum=-len(shape), maximum=len(shape) - 1) % len(shape)
    if len(shape) == 2:
        raise ValueError(f"`channel_axis` {channel_axis} leaves no (H, W) in `{name}` of shape {shape}; leave it out")
    others = [i for i in range(len(shape)) if i != axis]
    _refuse_empty([shape[i] for i in (*others[-2:], axis)], shape, name)
    order = (*others, axis)  # (..., H, W, C)
    batch_shape = tuple(shape[i] for i in others[:-2])
    moved = xp.permute_dims(array, order)
    back = tuple(order.index(i) for i in range(len(shape)))

    def pack(values: Array) -> Array:
        return xp.permute_dims(xp.reshape(values, (*batch_shape, *values.shape[1:])), back)

    return Pixels(xp.reshape(moved, (math.prod(batch_shape), *moved.shape[-3:])), batch_shape, pack, copy)


def unpack_out(out: Any, image: Image, size_hw: SizeHW, *, channel_axis: int | None) -> Ndarray | None:
    """`out`, which takes the result for `image`, as (n, H', W', C) in NumPy; None where that is no view to be written to.

    Raises
    ------
    TypeError, ValueError
        If it is not an array of the kind, dtype and axes of `image`, with the height and width `size_hw`.
    """
    if not _array.is_array(image) or not _array.is_array(out) or _array.namespace(out) != _array.namespace(image):
        kind = f"{type(image).__name__}, as the image is" if _array.is_array(image) else "left out for an image of PIL"
        raise TypeError(f"`out` must be {kind}, got {_checks.describe(out)}")
    default = -3 if _array.is_torch(image) else -1
    channels = (default if channel_axis is None else channel_axis) % image.ndim if image.ndim > 2 else None
    wanted = list(image.shape)
    for axis, side in zip([i for i in range(image.ndim) if i != channels][-2:], size_hw, strict=True):
        wanted[axis] = side
    if tuple(out.shape) != tuple(wanted) or out.dtype != image.dtype or _array.device(out) != _array.device(image):
        raise ValueError(
            f"`out` must have shape {tuple(wanted)} and the dtype and device of the image, {image.dtype}, got "
            f"{_checks.describe(out)}"
        )
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("`out` must be writeable, got an array that is read-only; give a copy of it")
    if not isinstance(out, np.ndarray) and not _kernel.serves_tensor(out):
        return None
    memory, view = (
        _array.to_numpy(out),
        _array.to_numpy(unpack(out, channel_axis=channel_axis, any_channels=True).values),
    )
    return view if np.may_share_memory(memory, view) and _kernel.writes_to(view) else None


def _refuse_empty(sides: Collection[int], shape: tuple[int, ...], name: str) -> None:
    """No images at all are fine, images without pixels are not."""
    if 0 in sides:
        raise ValueError(f"`{name}` must not be empty, got shape {shape}")


def fill_value(fill: Any, pixels: Pixels) -> Array:
    """`fill`, in the numbers of the image that came, as it stands among `pixels.values`: of shape () or (C,)."""
    if not pixels.premultiplied:
        return _values.fill_value(fill, pixels.values)
    stored = np.zeros(pixels.values.shape[-1], dtype=np.uint8)
    return _premultiply(stored + _values.fill_value(fill, stored))


def refuse_turned(image: Any) -> None:
    """A PIL image that its EXIF tag turns: coordinates could be of the picture as seen or as stored."""
    if _array.is_pil(image) and image.getexif().get(_ORIENTATION, 1) not in (0, 1):
        raise ValueError(
            "`image` must be upright, since coordinates of one that EXIF turns can be read in two ways; turn it with "
            "PIL.ImageOps.exif_transpose(image), or read it with pmtools.io.read_image(path)"
        )


def image_hw(image: Image, *, channel_axis: int | None = None) -> SizeHW:
    """Height and width of an image of any kind."""
    if _array.is_pil(image):
        return _pil_hw(image)
    values = unpack(image, channel_axis=channel_axis).values
    return int(values.shape[1]), int(values.shape[2])


def native(array: Ndarray) -> Ndarray:
    """`array` in the byte order of this machine, which alone equals NumPy's dtypes."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# --------------------------------------------------------------------------------------------------------- PIL


def _pil_hw(image: Any) -> SizeHW:
    if 0 in image.size:
        raise ValueError(f"`image` must not be empty, got a PIL image of size {image.size}")
    return image.height, image.width


def with_alpha(image: Any) -> Any:
    """`image` with an alpha channel in place of a transparent colour, which would match nothing after resampling."""
    key = image.info.get("transparency")
    if image.mode not in ("1", "L", "RGB") or not isinstance(key, (int, tuple)):  # bytes are those of a palette
        return image
    if image.mode == "1":
        image = image.convert("L")
        image.info["transparency"] = key
    return image.convert(image.mode + "A")


def straight(image: Any) -> Any:
    """`image` with colours that are not weighted by its alpha: PIL converts the other modes to hardly anything."""
    return image.convert(image.mode.upper()) if image.mode in ("La", "RGBa") else image


def _has_idle_key(image: Any) -> bool:
    """Whether no pixel has the transparent colour of `image`: averages of others might come to have it."""
    if image.mode == "I;16" and isinstance(key := image.info.get("transparency"), int):
        return not (np.asarray(image) == key).any()
    keyed = with_alpha(image)
    return keyed is not image and keyed.getchannel("A").getextrema() == (255, 255)


def _unpack_pil(image: Any) -> Pixels:
    _pil_hw(image)
    if _has_idle_key(image):
        image = image.copy()
        del image.info["transparency"]
    if image.mode == "P" and image.palette is not None and _has_opaque_colours(image):
        return _wrap_pil(image, image.convert("RGB"), lambda result: _to_palette(result, image))
    if image.mode in ("P", "PA"):  # a palette with alpha has no way back from colours
        return unpack_labels(image)
    if image.mode == "HSV":  # hue is an angle: 359 and 1 do not average to 180
        return _wrap_pil(image, image.convert("RGB"), lambda result: result.convert("HSV"))
    return _wrap_pil(image, image, lambda result: result)


def unpack_mask(mask: Image, size_hw: SizeHW, *, channel_axis: int | None) -> Pixels:
    """Open a mask or label map of that size; without `channel_axis`, more axes are a batch unless only channels fit the size."""
    if channel_axis is not None or not _array.is_array(mask) or len(mask.shape) < 3:
        return unpack_labels(mask, channel_axis=channel_axis)
    if tuple(mask.shape[-2:]) != size_hw:
        pixels = unpack_labels(mask)
        if tuple(pixels.values.shape[1:3]) == size_hw:
            return pixels
    pixels = unpack_labels(_array.namespace(mask).expand_dims(mask, axis=-1), channel_axis=-1)
    return pixels._replace(pack=lambda values: pixels.pack(values)[..., 0])


def unpack_labels(image: Image, *, channel_axis: int | None = None) -> Pixels:
    """Open an image whose numbers are labels, for example palette indices: like `unpack`, but nothing is converted."""
    if not _array.is_pil(image):
        return unpack(image, channel_axis=channel_axis, name="mask", any_channels=True)
    array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    return Pixels(array[None], (), lambda values: _from_array(values[0], image.mode, image), image.copy)


def _wrap_pil(original: Any, image: Any, convert_back: Callable[[Any], Any]) -> Pixels:
    array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    has_alpha = image.mode in ("LA", "RGBA") and array[..., -1].min() < 255
    values = _premultiply(array) if has_alpha else native(array)

    def pack(result: Array) -> Any:
        pixels = _unpremultiply(result[0]) if has_alpha else result[0]
        return convert_back(_from_array(pixels, image.mode, original))

    return Pixels(values[None], (), pack, original.copy, premultiplied=has_alpha)


def _from_array(array: Any, mode: str, original: Any) -> Any:
    """A PIL image of `mode` from (H, W, bands), with the palette and the metadata of `original`."""
    from PIL import Image

    size = (array.shape[1], array.shape[0])
    if mode == "1":
        image = Image.fromarray(np.ascontiguousarray(array[..., 0].astype(np.uint8) * 255)).convert(
            "1", dither=Image.Dither.NONE
        )
    else:
        stored = {"I;16B": ">u2", "I;16": "<u2", "I;16L": "<u2"}.get(mode, array.dtype)
        data = np.ascontiguousarray(array, dtype=stored)
        image = Image.frombuffer(mode, size, data, "raw", mode, 0, 1)  # shares the memory where Pillow can
    if mode in ("P", "PA") and original.palette is not None:
        image.putpalette(original.palette)
    image.info = dict(original.info)
    return image


def _has_opaque_colours(image: Any) -> bool:
    return image.palette.mode == "RGB" and "transparency" not in image.info and bool(image.getpalette())


def _to_palette(image: Any, original: Any) -> Any:
    """The nearest colours of the original palette."""
    from PIL import Image

    result = image.quantize(palette=original, dither=Image.Dither.NONE)
    result.info = dict(original.info)
    return result


def _premultiply(array: Any) -> Any:
    """Colours weighted by alpha, so that what is transparent does not bleed into what is not."""
    values = array.astype(np.float32)
    values[..., :-1] *= values[..., -1:] / np.float32(255)
    return values


def _unpremultiply(values: Any) -> Any:
    alpha = values[..., -1:]
    colours = values[..., :-1] * np.float32(255) / np.maximum(alpha, np.float32(1e-3))
    return np.rint(np.clip(np.concatenate([colours, alpha], axis=-1), 0, 255)).astype(np.uint8)
