"""The images of a batch of prompts on their way from a processor to `generate`, and how they are opened.

This file does not know what a processor does to them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import _array, _checks
from pmtools.adapters.pixels import as_pil

if TYPE_CHECKING:
    import torch


class SourceImages:
    """The source images of each prompt, and the options of the processor that made the model's pixels from them.

    A sequence of rows, one list of PIL images for each prompt. Code that treats all inputs alike can use it like a
    tensor that stays on the CPU: `{name: value.to(device) for name, value in inputs.items()}` works.

    Parameters
    ----------
    rows : iterable of lists of PIL images
        Of each prompt, in prompt order; a prompt without images has an empty list.
    options : dict, optional
        Options of the image processor that the call set.
    """

    def __init__(self, rows: Iterable[list[Any]], options: dict[str, Any] | None = None) -> None:
        self.rows, self.options = list(rows), dict(options or {})

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

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """A row; or with their options the rows of a slice, of a list, array or tensor of places, or of a mask."""
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

    # ---------------------------------------------------------------- what is done to every input, whatever it is

    def to(self, *_: Any, **__: Any) -> SourceImages:
        """Returns itself, whatever the device."""
        return self

    cpu = cuda = pin_memory = detach = contiguous = clone = to

    def repeat_interleave(self, repeats: int, *_: Any, **__: Any) -> SourceImages:
        """Each row repeated, as `repeated` does."""
        return self.repeated(repeats)

    @property
    def shape(self) -> tuple[int]:
        """The number of prompts."""
        return (len(self.rows),)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the images: uint8, so that casts of floats leave them alone."""
        import torch

        return torch.uint8

    @property
    def device(self) -> torch.device:
        """The CPU, where the images stay."""
        import torch

        return torch.device("cpu")

    def is_floating_point(self) -> bool:
        """False: they are 8-bit images."""
        return False

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        import torch

        return False if function is torch.is_floating_point else NotImplemented


def opened(image: Any, /, *, name: str = "images") -> Any:
    """The image at a path or URL, or in base64, as transformers opens it; anything else is returned unchanged.

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
    from transformers.image_utils import load_image

    try:
        return load_image(image)
    except Exception as reason:  # whatever the network, the file system and Pillow raise
        shown = image if len(image) <= 80 else f"{image[:77]}..."
        raise ValueError(
            f"`{name}` must hold images, or paths, URLs or base64 of images, got {shown!r}, which cannot be opened "
            f"({type(reason).__name__}); give a file that exists, a URL that answers, or an image"
        ) from reason


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
