"""The images of a batch of prompts on their way from a processor to `generate`, and how they are opened.

This file does not know what a processor does to them.
"""

from __future__ import annotations

import base64
import functools
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from pmtools import _array, _checks
from pmtools._eight_bits import is_deep
from pmtools.adapters.pixels import as_pil
from pmtools.io import read_image

#: What is asked about any input, and what puts its rows elsewhere and leaves their values alone, by torch's names.
_FACTS = {"device", "dim", "dtype", "layout", "ndim", "numel", "requires_grad", "shape", "size"}
_FLAGS = {"is_complex", "is_contiguous", "is_cuda", "is_floating_point"}
_ORDERS = {"flip", "index_select", "narrow", "roll", "select", "squeeze", "unsqueeze"}
_PARTS = {"chunk", "split", "unbind"}
_COPIES = {"expand", "repeat", "repeat_interleave", "tile"}
_METHODS = _FACTS | _FLAGS | _ORDERS | _PARTS | _COPIES
_FUNCTIONS = _METHODS | {"cat", "concat", "concatenate", "stack"}
_REFUSAL = (
    "`pm_images` can be moved, copied, indexed, split, joined and repeated along the prompts, as a tensor can, got {!r}; "
    "leave `pm_images` as it is where the other inputs are changed"
)


class _TensorLike:
    """What is done to every input, whatever it is: done to a tensor of the places of the prompts, on the CPU."""

    def _batch(self) -> SourceImages:
        """The prompts, of which each has a place."""
        raise NotImplementedError

    def to(self, *_: Any, **__: Any) -> Any:
        """Returns itself, whatever the device."""
        return self

    cpu = cuda = pin_memory = detach = contiguous = clone = to

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            raise AttributeError(_REFUSAL.format(name))
        import torch

        method = getattr(torch.Tensor, name)
        return functools.partial(_moved, method, self) if callable(method) else _moved(method.__get__, self)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if function.__name__ not in _FUNCTIONS:
            raise TypeError(_REFUSAL.format(f"torch.{function.__name__}"))
        return _moved(function, *arguments, **(options or {}))


def _moved(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a function of PyTorch makes of prompts: it is given their places, and those that it gives back are taken."""
    import torch

    parts: list[SourceImages] = []

    def places(value: Any) -> Any:
        if isinstance(value, _TensorLike):
            start, part = sum(map(len, parts)), value._batch()
            parts.append(part)
            found = torch.arange(start, start + len(part), device="cpu")
            return found if part is value else found[0]
        if isinstance(value, list | tuple):
            if any(map(torch.is_tensor, value)):
                raise TypeError("`pm_images` must be joined with `pm_images`, got tensors; join inputs of one name")
            return [places(item) for item in value]
        return value.cpu() if torch.is_tensor(value) else value

    def taken(found: Any) -> Any:
        if type(found) in (list, tuple):
            return type(found)(map(taken, found))
        if not torch.is_tensor(found):
            return found
        if found.ndim > 1:
            raise ValueError(
                f"`pm_images` must have one axis, that of the prompts, got the shape {tuple(found.shape)} from "
                f"{function.__name__!r}; give a size for the prompts only, use squeeze(0) on what is stacked, or torch.cat"
            )
        return joined[found]

    found = function(*map(places, arguments), **{name: places(value) for name, value in options.items()})
    joined = SourceImages.joined(parts)
    return taken(found)


class SourceRow(_TensorLike, list[Any]):
    """The source images of one prompt of a batch: what `squeeze(0)` leaves, and what an index takes out.

    Parameters
    ----------
    images : iterable of PIL images
    options : dict, optional
        Those of `SourceImages`; they are lost where a row is copied as any list is.
    """

    def __init__(self, images: Iterable[Any] = (), options: dict[str, Any] | None = None) -> None:
        from torch.utils.data._utils.collate import default_collate_fn_map

        super().__init__(images)
        self.options = options
        default_collate_fn_map.setdefault(_TensorLike, _collated)  # where `default_collate` looks up foreign types

    def _batch(self) -> SourceImages:
        """The prompt alone.

        Raises
        ------
        ValueError
            If the options are lost.
        """
        if self.options is None:
            raise ValueError(
                "`pm_images` must know the options that its inputs were made with, got a row copied as a list; move "
                "inputs before their rows are taken out, or each with its own `to`"
            )
        return SourceImages([self], self.options)

    def __getitem__(self, index: Any) -> Any:
        """An image; with None the prompt as a batch of one."""
        return self.unsqueeze(0) if index is None else super().__getitem__(index)

    def __reduce__(self) -> Any:
        return SourceRow, (list(self), self.options)


def _collated(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """Prompts as a batch, as `default_collate` calls for it."""
    import torch

    return torch.stack(batch)


class SourceImages(_TensorLike):
    """The source images of each prompt, and the options of the processor that made the model's pixels from them.

    A sequence of rows, one list of PIL images for each prompt. Code that treats all inputs alike can use it like a
    tensor that stays on the CPU: `{name: value.to(device) for name, value in inputs.items()}` works, and so does what
    moves rows, such as `squeeze(0)`, `torch.cat` and `default_collate`.

    Parameters
    ----------
    rows : iterable of lists of PIL images
        Of each prompt, in prompt order; a prompt without images has an empty list.
    options : dict, optional
        Options of the image processor that the call set.
    """

    def __init__(self, rows: Iterable[list[Any]], options: dict[str, Any] | None = None) -> None:
        self.options = dict(options or {})
        self.rows: list[list[Any]] = [  # rows of a batch stay the same objects: copies of a prompt are known by that
            row if isinstance(row, SourceRow) and row.options == self.options else SourceRow(row, self.options)
            for row in rows
        ]

    @classmethod
    def joined(cls, parts: Sequence[SourceImages], /) -> SourceImages:
        """The images of several batches as one, as a pipeline puts them together.

        Raises
        ------
        ValueError
            If the batches were made with different options.
        """
        if any(part.options != parts[0].options for part in parts):
            raise ValueError(
                "`pm_images` must have been made with the same options throughout a batch, got "
                f"{[part.options for part in parts]}; make all inputs of a batch with one call's options"
            )
        return cls([row for part in parts for row in part], parts[0].options)

    def repeated(self, copies: int, /) -> SourceImages:
        """Each row repeated for its beams or returned sequences; the copies are the same list."""
        return SourceImages([row for row in self.rows for _ in range(copies)], self.options)

    def _batch(self) -> SourceImages:
        """Itself."""
        return self

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """A row; or with their options the rows of a slice, of a list, array or tensor of places, or of a mask."""
        if index is None:
            return self.unsqueeze(0)
        if isinstance(index, slice):
            return SourceImages(self.rows[index], self.options)
        places = index.tolist() if hasattr(index, "tolist") else index
        if not isinstance(places, list | tuple):
            return self.rows[places]
        if all(isinstance(place, bool) for place in places):
            return SourceImages(itertools.compress(self.rows, places), self.options)
        return SourceImages([self.rows[place] for place in places], self.options)

    def __repr__(self) -> str:
        images = [[f"{image.width}x{image.height}" for image in row] for row in self.rows]
        return f"SourceImages({images}, options={self.options})"


def opened(image: Any, /, *, name: str = "images") -> Any:
    """The image at a path or URL, or in base64, upright; anything else is returned unchanged.

    It is what transformers opens, 8-bit RGB without its alpha; only what is deeper, which transformers clips at 255,
    comes as `pmtools.io.read_image` reads it.

    Parameters
    ----------
    image : str, path, URL object, or image
    name : str, optional
        What to call it in errors.

    Raises
    ------
    ValueError
        If it cannot be opened.
    """
    if isinstance(image, os.PathLike):
        image = os.fspath(image)
    elif hasattr(image, "scheme"):  # a URL of httpx, yarl or pydantic
        image = str(image)
    if not isinstance(image, str):
        return image
    try:
        return _read(image)
    except Exception as reason:  # whatever the network, the file system and Pillow raise
        shown = image if len(image) <= 80 else f"{image[:77]}..."
        raise ValueError(
            f"`{name}` must hold images, or paths, URLs or base64 of images, got {shown!r}, which cannot be opened "
            f"({type(reason).__name__}); give a file that exists, a URL that answers, or an image"
        ) from reason


def _read(text: str) -> Any:
    """What transformers' `load_image` makes of a path, URL or base64, unless that would clip it."""
    from PIL import Image
    from transformers import image_utils

    source: str | bytes
    if text.startswith(("http://", "https://")):
        source = image_utils.httpx.get(text, timeout=None, follow_redirects=True).content
    elif os.path.isfile(text):
        source = text
    else:
        source = base64.decodebytes((text.split(",")[1] if text.startswith("data:image/") else text).encode())
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        return read_image(source) if is_deep(image) else image_utils.load_image(image)


def is_unit_float(image: Any, /) -> bool:
    """Whether an array or tensor holds floats within 0 and 1, as `ToTensor` makes them."""
    if not (isinstance(image, np.ndarray) or _array.is_torch(image)):
        return False
    values = _array.to_numpy(image)
    return bool(values.dtype.kind == "f" and values.size and values.max() <= 1)


def nested_images(images: Any, prompts: int, counts: Sequence[int] | None = None, /) -> list[list[Any]]:
    """A caller's images as one list for each prompt.

    Parameters
    ----------
    images : image, list of them, list of lists of them, or array of shape (N, ...) of images; None for none
    prompts : int
        Number of prompts.
    counts : sequence of int, optional
        How many images the text of each prompt names; images beyond a prompt's belong to the next.

    Raises
    ------
    ValueError
        If it is not clear which prompt each image belongs to.
    """
    rows = _items(images)
    deep = any(isinstance(row, list | tuple) for row in rows)
    flat = [image for row in rows for image in (row if isinstance(row, list | tuple) else [row])]
    if not flat:
        return [[] for _ in range(prompts)]
    if counts is not None and sum(counts) == len(flat):
        ends = np.cumsum(counts).tolist()
        return [flat[end - count : end] for end, count in zip(ends, counts, strict=True)]
    if not deep:
        if prompts != 1 and len(rows) != prompts:
            raise ValueError(
                f"`images` must say which of the {prompts} prompts each image belongs to: give a list of lists, or one image "
                f"per prompt, got {len(rows)}"
            )
        return [rows] if prompts == 1 else [[row] for row in rows]
    if len(rows) != prompts:
        raise ValueError(f"`images` must hold one list per prompt, {prompts} of them, got {len(rows)}")
    return [list(row) if isinstance(row, list | tuple) else [row] for row in rows]


def _items(images: Any) -> list[Any]:
    if images is None:
        return []
    if isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4:
        return list(images)
    return [images]


def pil_rows(rows: Sequence[Sequence[Any]], /, *, upright: bool = True, data_format: Any = None) -> list[list[Any]]:
    """Rows of images of any kind as rows of 8-bit RGB PIL images.

    Parameters
    ----------
    rows : sequence of sequences of images, paths, URLs or base64
    upright : bool, optional
        Turn as EXIF tags say.
    data_format : {"channels_first", "channels_last"}, optional
        Where the channels of arrays and tensors are. Default: as `pmtools.adapters.pixels.as_pil` finds.

    Raises
    ------
    TypeError, ValueError
        If something is not an image.
    """
    kind = getattr(data_format, "value", data_format)
    axis = (
        None
        if kind is None
        else {"channels_first": 0, "channels_last": -1}[
            _checks.choice(kind, "input_data_format", ("channels_first", "channels_last"))
        ]
    )
    return [[as_pil(opened(image), upright=upright, channel_axis=axis) for image in row] for row in rows]
