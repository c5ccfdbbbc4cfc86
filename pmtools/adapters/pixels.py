"""From source images to a model's pixel inputs, by its processor or in one fused resampling, with the frames in between.

Convention: frames are `pmtools.Warp` objects in continuous pixel-edge coordinates; `(x, y)` from the top-left corner.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import _array, _checks, frames
from pmtools._eight_bits import eight_bits, is_deep, value_range
from pmtools.adapters.image_inputs import image_encoder, input_device
from pmtools.adapters.layouts import ImageTokenLayout
from pmtools.io import from_array, to_array
from pmtools.typing import Ndarray, SizeHW
from pmtools.viz.rgb import as_rgb
from pmtools.warp import Warp

if TYPE_CHECKING:
    import torch

#: Inputs that processors make from the text and models take; names of token types differ between families.
_OF_THE_TEXT = {"input_ids", "attention_mask", "cross_attention_mask", "labels"}


def canvas_frame(size_hw: SizeHW, /, *, square: bool) -> Warp:
    """From the source image to the canvas that the token grid covers: a centred square, or the image itself."""
    return frames.pad_to_square(size_hw) if square else frames.identity(size_hw)


def canvas_fill(image_processor: Any, /) -> tuple[int, ...]:
    """The colour of padding: the processor's mean, which normalises to about zero, as LLaVA pads."""
    return tuple(int(value * 255) for value in np.broadcast_to(image_processor.image_mean, 3).tolist())


def as_pil(image: Any, /, *, upright: bool = True, name: str = "images", channel_axis: int | None = None) -> Any:
    """An 8-bit RGB PIL image, as a model sees it; turned upright by its EXIF tag with `upright`.

    What is deeper is scaled to 8 bits, not clipped: uint16 in modes I;16 and arrays. Modes I and F, arrays and tensors
    of other dtypes must lie within 0 and 255, or floats within 0 and 1: otherwise the value of white is unknown. What is
    transparent is laid on white, as transformers 5.24 does, whatever version runs.

    Parameters
    ----------
    image : PIL image, array of shape (H, W) or (H, W, C), or tensor of shape (H, W) or (C, H, W)
        C = 1, 2, 3 or 4: grey, grey with alpha, RGB, RGBA. `pmtools.io.read_image` gives such arrays. If the size there
        cannot be C and the size at the other end can, the channels are taken from the other end.
    upright : bool, optional
    name : str, optional
        What to call it in errors.
    channel_axis : {0, -1}, optional
        Where the channels of an array or tensor are.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or its range is unknown.
    """
    from PIL import Image, ImageOps

    if isinstance(image, np.ndarray) or _array.is_torch(image):
        return as_rgb(from_array(_eight_bits(_channels_last(image, channel_axis), name)))
    if not isinstance(image, Image.Image):
        raise TypeError(
            f"`{name}` must hold PIL images, arrays (H, W, 3) or tensors (3, H, W), got {_checks.describe(image)}; open or "
            "convert it first"
        )
    turned = ImageOps.exif_transpose(image) if upright else image
    if is_deep(turned):
        turned = from_array(_eight_bits(to_array(turned), name))
    return as_rgb(turned)


def _channels_last(image: Any, channel_axis: int | None) -> Ndarray:
    """The values of an image with the channels last."""
    values = _array.to_numpy(image)
    if values.ndim != 3:
        return values
    if channel_axis is None:
        usual, other = (0, -1) if _array.is_torch(image) else (-1, 0)
        fits = {axis: values.shape[axis] in (1, 2, 3, 4) for axis in (usual, other)}
        channel_axis = other if fits[other] and not fits[usual] else usual
    return np.moveaxis(values, channel_axis, -1)


def _eight_bits(values: Ndarray, name: str) -> Ndarray:
    span = value_range(values, name)
    if span is None:
        raise ValueError(
            f"`{name}` must hold values within 0 and 255, or floats within 0 and 1, got {values.min():g} to "
            f"{values.max():g}; scale them, since the value of white is unknown"
        )
    return eight_bits(values, *span)


def encode(
    model: Any,
    processor: Any,
    canvases: Sequence[Sequence[Any]],
    /,
    options: Mapping[str, Any] | None = None,
    *,
    mark: str = "<image>",
) -> dict[str, Any]:
    """Pixel inputs of a batch of canvases, made by the model's whole processor, which may set options of its image processor.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers processor
    canvases : sequence of sequences of PIL images
        For each prompt its canvases.
    options : mapping, optional
        Of the image processor, instead of those that the processor sets.
    mark : str, optional
        What stands for an image in a text for the processor.

    Returns
    -------
    dict
        What the model takes, on its device and in its dtype.
    """
    import torch

    nested = [list(row) for row in canvases]
    texts = [mark * len(row) for row in nested]
    given = {"images_kwargs": dict(options)} if options else {}
    out = processor(images=nested, text=texts, padding=True, return_tensors="pt", **given)
    encoder = image_encoder(model)
    taken = {*inspect.signature(model.forward).parameters, *(inspect.signature(encoder).parameters if encoder else ())}
    pixels, device = {}, input_device(model)
    for name, value in out.items():
        if name in taken - _OF_THE_TEXT and not name.endswith("token_type_ids"):
            value = torch.as_tensor(value)
            pixels[name] = value.to(device, model.dtype if value.is_floating_point() else None)
    return pixels


def encode_fused(
    model: Any,
    image_processor: Any,
    layout: ImageTokenLayout,
    images: Sequence[Any],
    warps: Sequence[Warp],
    /,
    *,
    antialias: bool = True,
) -> dict[str, Any]:
    """Pixel inputs of magnified images in one resampling each, from source pixels to the model's input, on the device.

    The processor rounds to 8 bits at the source size and again at the input size, and resamples twice; this function
    does neither, so its pixels differ slightly.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    image_processor : transformers image processor
    layout : ImageTokenLayout
    images : sequence of float tensors of shape (3, H, W)
        Source images in 0 to 255, on the device.
    warps : sequence of Warp
        From each source image to its magnified image.
    antialias : bool, optional
        Average where pixels are pushed together.

    Returns
    -------
    dict
        What the model takes, on its device and in its dtype.

    Raises
    ------
    ValueError
        If the processor cuts the image into tiles, or the model needs more than pixels and their grid.
    """
    import torch

    fill = canvas_fill(image_processor)
    pixels, grids = [], []
    for image, warp in zip(images, warps, strict=True):
        frame = warp.then(canvas_frame(warp.target_hw, square=layout.square))
        frame = frame.then(input_frame(image_processor, frame.target_hw))
        pixels.append(_normalized(frame.image(image, antialias=antialias, fill=fill), image_processor))
        grids.append(frame.target_hw)
    if not hasattr(image_processor, "merge_size"):
        return {"pixel_values": torch.stack(pixels).to(model.dtype)}
    patch = image_processor.patch_size
    patches = torch.cat([_merged_patches(item, image_processor) for item in pixels]).to(model.dtype)
    thw = torch.tensor([[1, height // patch, width // patch] for height, width in grids], device=patches.device)
    return {"pixel_values": patches, "image_grid_thw": thw}


def check_fusible(model: Any, processor: Any, layout: ImageTokenLayout, options: Mapping[str, Any], /) -> None:
    """Refuse what our single resampling cannot do: other kinds of pixels, and call options that it cannot follow.

    A small smooth picture takes both ways, and the results must be equal up to rounding.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : SourceProcessor
    layout : ImageTokenLayout
    options : mapping
        Those of the image processor in the call that made the inputs.

    Raises
    ------
    ValueError
        If the call chose how pixels are resampled or padded, or the processor makes its pixels in another way.
    """
    import torch

    chosen = [name for name in ("resample", "do_pad", "pad_size") if options.get(name) is not None]
    if chosen:
        raise ValueError(
            f"preprocess='fused' resamples once, in its own way, but the inputs were made with {', '.join(chosen)}; make them "
            "without, or use preprocess='processor'"
        )
    height, width = 180, 240
    y, x = np.mgrid[:height, :width]
    picture = from_array(np.stack([200 * x / width, 200 * y / height, 100 + 50 * x / width], -1).astype(np.uint8))
    wanted = processor.encode(model, [[picture]])
    pixels = torch.from_numpy(np.array(picture)).to(input_device(model)).permute(2, 0, 1).float()
    try:
        found = encode_fused(model, processor.image_processor, layout, [pixels], [frames.identity((height, width))])
    except (AttributeError, KeyError, TypeError):  # another kind of image processor
        found = {}
    alike = found.keys() == wanted.keys() and all(found[name].shape == wanted[name].shape for name in found)
    if not alike or any((found[name] - wanted[name]).abs().float().mean() > 0.05 for name in found):
        raise ValueError(
            f"preprocess='fused' does not make the pixels that {type(processor.image_processor).__name__} makes; use "
            "preprocess='processor'"
        )


def input_frame(image_processor: Any, canvas_hw: SizeHW, /) -> Warp:
    """From the canvas to the model's input: what the image processor does to coordinates.

    Parameters
    ----------
    image_processor : transformers image processor
    canvas_hw : (int, int)
        Height and width of the canvas.

    Returns
    -------
    Warp

    Raises
    ------
    ValueError
        If the processor cuts the image into tiles.
    """
    if any(
        getattr(image_processor, name, None) for name in ("image_grid_pinpoints", "crop_to_patches", "max_image_size")
    ):
        raise ValueError(
            f"preprocess='fused' needs one input image per picture, but {type(image_processor).__name__} cuts it into "
            "tiles; use preprocess='processor'"
        )
    size = image_processor.size
    if not getattr(image_processor, "do_resize", True):
        frame = frames.identity(canvas_hw)
    elif hasattr(image_processor, "merge_size"):
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        factor = image_processor.patch_size * image_processor.merge_size
        return frames.resize(canvas_hw, smart_resize(*canvas_hw, factor, size["shortest_edge"], size["longest_edge"]))
    elif size.get("shortest_edge"):
        frame = frames.resize_shortest_edge(canvas_hw, size["shortest_edge"])
    else:
        frame = frames.resize(canvas_hw, (size["height"], size["width"]))
    if getattr(image_processor, "do_center_crop", False):
        crop = image_processor.crop_size
        frame = frame.then(frames.center_crop(frame.target_hw, (crop["height"], crop["width"])))
    return frame


def _normalized(image: torch.Tensor, image_processor: Any) -> torch.Tensor:
    """Rescaled and standardised as the processor does, (3, H, W)."""
    if image_processor.do_rescale:
        image = image * image_processor.rescale_factor
    if image_processor.do_normalize:
        mean, std = (  # one number for all channels, or one for each
            image.new_tensor(value).reshape(-1, 1, 1)
            for value in (image_processor.image_mean, image_processor.image_std)
        )
        image = (image - mean) / std
    return image


def _merged_patches(image: torch.Tensor, image_processor: Any) -> torch.Tensor:
    """Flat patches in the order of Qwen's merged squares: (patches, 3 * frames * p * p)."""
    p, m, times = image_processor.patch_size, image_processor.merge_size, image_processor.temporal_patch_size
    channels, height, width = image.shape
    rows, columns = height // p // m, width // p // m
    patches = image.reshape(channels, rows, m, p, columns, m, p).permute(1, 4, 2, 5, 0, 3, 6)  # rows cols m m C p p
    patches = patches.reshape(-1, channels, 1, p, p).expand(-1, -1, times, -1, -1)  # a still image, `times` frames
    return patches.reshape(patches.shape[0], -1)
