"""The images of one file: frames of an animation, pages of a document, views of a camera.

Knows images; no files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pmtools.typing import Image


@dataclass(frozen=True)
class Frames:
    """The images of one file, and what goes for all of them.

    Attributes
    ----------
    images : list of PIL image or array
        At least one; each as `read_image` gives it.
    durations : list of float, or None
        How long each is shown, in milliseconds; None if they are not an animation.
    plays : int
        How often an animation is played; 0 for ever.
    info : dict
        `icc_profile`, `exif`, `xmp`, `dpi` and whatever else of a PIL image's `info` outlives a change of pixels.
    format : str or None
        Suffix of the format that they came in, without its dot.
    count : int
        Images in the file; more than there are here, where only the first was wanted.
    companions : int
        Thumbnails, levels of a pyramid, masks and gain maps of the images, which are left out.
    default_image : bool
        Whether the first is what shows where the animation cannot, and no part of it (PNG).
    rounded : bool
        Whether channels of 10 or 12 bits in the file have 8 here (AVIF).
    """

    images: list[Image]
    durations: list[float] | None = None
    plays: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    format: str | None = None
    count: int = 1
    companions: int = 0
    default_image: bool = False
    rounded: bool = False

    @property
    def left_out(self) -> tuple[str, ...]:
        """In words, what of the file is not among the images; empty where nothing is."""
        words = []
        if len(self.images) < self.count:
            words.append(f"the first of {self.count} images")
        if self.companions:
            words.append(f"{self.companions} thumbnails, masks or gain maps are left out")
        if self.rounded:
            words.append("10 or 12 bits a channel are read as 8")
        return tuple(words)
