"""Pictures of the page: read from files within limits, taken from the package, reduced for the browser.

This file knows files and images; no marks, no warp, no gradio.
"""

from __future__ import annotations

import base64
import io as bytes_io
import itertools
import os
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import io, viz
from pmtools.typing import Image, SizeHW

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    from pmtools.evaluation.scenes import SceneItem

#: As gradio counts them when it refuses an upload.
MEGABYTE = 2**20
#: Longer side, in pixels, of the images for the browser: smaller ones are enlarged to the first, larger ones reduced to
#: the second, which leaves something to zoom into. Coordinates are those of the picture itself.
VIEW_SIDE, MOST_VIEW_SIDE = 768, 1536
#: The mission patch on the astronaut's suit, which is marked when the page opens.
PATCH_XYXY = (128.0, 346.0, 206.0, 428.0)

_SCENE_SEED, _MOST_QUESTIONS = 2026, 5


class PageError(ValueError):
    """An error for the user; the page keeps working."""


@dataclass(frozen=True)
class Limits:
    """Limits of the page.

    Attributes
    ----------
    upload_bytes : int
        Of one file.
    pixels : int
        Width times height, for input and output images.
    memory_bytes : int
        Of the pictures of all users together.
    """

    upload_bytes: int = 50 * MEGABYTE
    pixels: int = 50_000_000
    memory_bytes: int = 2000 * MEGABYTE


@dataclass(frozen=True)
class Picture:
    """An image that was opened.

    Attributes
    ----------
    name : str
        File name without folder and suffix.
    image : PIL image or array
        From `pmtools.io.read_image`: upright, with its own bits and channels.
    note : str
        A note about it for the user.
    """

    name: str
    image: Image
    note: str

    @property
    def size_hw(self) -> SizeHW:
        """Height and width in pixels."""
        return size_hw(self.image)

    @cached_property
    def view(self) -> PILImage:
        """Its copy for the browser."""
        return for_view(self.image)


def size_hw(image: Image, /) -> SizeHW:
    """Height and width of a PIL image or an array of shape (H, W) or (H, W, C)."""
    return (image.height, image.width) if hasattr(image, "convert") else (int(image.shape[0]), int(image.shape[1]))


def open_picture(path: str | os.PathLike[str], /, *, limits: Limits, uploads: Path) -> Picture:
    """The image in an uploaded file.

    Size and header are checked before anything is decoded.

    Parameters
    ----------
    path : path
        From the browser, so not trusted.
    limits : Limits
    uploads : Path
        Folder of the uploaded files; no others are opened.

    Returns
    -------
    Picture

    Raises
    ------
    PageError
        If the file was not uploaded, is too large or damaged, or is not an image; the message names it without its
        folder.
    """
    if not Path(path).resolve().is_relative_to(uploads.resolve()):  # does not reveal whether there is such a file
        raise PageError("This page opens only files that were uploaded to it.")
    name = Path(path).name
    try:
        if os.path.getsize(path) > limits.upload_bytes:
            raise PageError(
                f"'{name}' has {os.path.getsize(path) / MEGABYTE:.1f} MB; the limit is "
                f"{limits.upload_bytes / MEGABYTE:g} (`pmtools app --max-upload`)."
            )
        found = io.read_frames(path, max_pixels=limits.pixels, first_only=True)
    except io.ImageFileError as error:
        raise PageError(f"'{name}' {_in_megapixels(error.problem)}.") from None
    except OSError as error:
        raise PageError(f"'{name}' could not be read: {error.strerror or error}.") from None
    image = found.images[0]
    height, width = size_hw(image)
    note = f"'{name}': {width} × {height} pixels, {_kind(image)}."
    if found.count > 1:
        note += f" This is {found.left_out[0]} in the file."
    return Picture(Path(name).stem, image, note)


def _in_megapixels(problem: str) -> str:
    """A message of the library, where it is about `max_pixels` in the page's words."""
    counts = re.search(r"(\d+) in all and more than `max_pixels` = (\d+)", problem)
    if counts is None:
        return problem
    claimed, most = (int(count) / 1e6 for count in counts.groups())
    return f"has {claimed:.6g} megapixels; the limit is {most:.6g} (`pmtools app --max-pixels`)"


def photograph() -> Picture:
    """The photograph that comes with scikit-image: the astronaut Eileen Collins (NASA, public domain)."""
    from skimage import data

    image = io.from_array(data.astronaut())
    return Picture("astronaut", image, f"A photograph of {image.width} × {image.height} pixels.")


def scene(number: int, /) -> tuple[Picture, tuple[SceneItem, ...]]:
    """A picture of small shapes that the demo model was never trained on, and questions about it with true answers.

    Parameters
    ----------
    number : int
        Which one, from 0; the same number is the same scene.

    Returns
    -------
    picture : Picture
    items : tuple of SceneItem
        First those of the benchmark.
    """
    from pmtools.evaluation.scenes import CATEGORIES, scene_items
    from pmtools.evaluation.scenes.questions import ask

    small = (item for item in scene_items(seed=_SCENE_SEED) if item.size != "large")
    scenes = itertools.groupby(small, key=lambda item: item.image_index)
    items = next(list(items) for _, items in itertools.islice(scenes, number, None))
    rng = np.random.default_rng((_SCENE_SEED, number))
    others = (ask(items[0].scene, category=category, rng=rng) for category in CATEGORIES)
    items += [replace(items[0], question=question) for question in others if question is not None]
    distinct = {item.question.text: item for item in reversed(items)}
    note = f"Scene {number + 1} of the demo model's benchmark, with {items[0].size} objects."
    return Picture(f"scene_{number + 1}", items[0].image, note), tuple(reversed(distinct.values()))[:_MOST_QUESTIONS]


def as_rgb(image: Image, /) -> PILImage:
    """Any image as 8-bit RGB with alpha on white, as in `pmtools.viz`."""
    return viz.side_by_side([image], height=size_hw(image)[0], gap=0)


def for_view(image: Image, /, *, most: int = MOST_VIEW_SIDE) -> PILImage:
    """An image for the browser: RGB, its longer side at least `VIEW_SIDE`.

    Pixels of small images stay squares, so that no detail is invented.

    Parameters
    ----------
    image : PIL image or array
    most : int, optional
        Largest longer side.

    Returns
    -------
    PIL image, mode RGB
    """
    from PIL import Image as PIL

    picture = as_rgb(image)
    scale = min(max(*picture.size, VIEW_SIDE), most) / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if scale >= 2:
        return picture.resize(size, PIL.Resampling.NEAREST)
    return picture.resize(size, PIL.Resampling.LANCZOS, reducing_gap=3.0)


def data_url(picture: PILImage, /) -> str:
    """An image as a URL that holds it, JPEG at full colour resolution."""
    stream = bytes_io.BytesIO()
    picture.save(stream, format="JPEG", quality=92, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _kind(image: Any) -> str:
    """Channels and bits in words."""
    if isinstance(image, np.ndarray):
        return f"16 bits, {image.shape[2]} channels"
    words = {"1": "black and white", "L": "grey", "LA": "grey with alpha", "P": "palette", "RGBA": "RGB with alpha"}
    return words.get(image.mode, "16 bits, grey" if image.mode.startswith("I;16") else image.mode)
