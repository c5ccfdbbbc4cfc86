"""Options of a question about an image: where to look, how many pixels to send, how to read coordinates in the answer.

Knows views; no messages, no network.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from pmtools import _checks
from pmtools.answers import Format
from pmtools.answers.formats import named
from pmtools.answers.looking import OVERVIEW_PIXELS
from pmtools.answers.undoing import UNITS
from pmtools.api.views import MAX_PIXELS, View, view, view_warp
from pmtools.typing import SizeHW
from pmtools.warp import Warp


@dataclass(frozen=True)
class ViewOptions:
    """Options of a question.

    Attributes
    ----------
    boxes : array of shape (4,) or (n, 4), "ask" or None
        What to magnify, in pixels of the image; "ask": the model is asked first; None: nothing.
    format : str or Format
        How the model writes places.
    max_pixels : int
        Most pixels that the server keeps.
    zoom : float or None
        How many times larger given boxes become; None for the largest that fits.
    units : {"same", "pixels", "fractions"}
        What numbers in the answer count, as for `pmtools.answers.undo`.

    Raises
    ------
    TypeError, ValueError
        If one of them is not as described above; what depends on the image is checked with it.
    """

    boxes: Any = None
    format: str | Format = "json"
    max_pixels: int = MAX_PIXELS
    zoom: float | None = None
    units: str = "same"

    def __post_init__(self) -> None:
        if isinstance(self.boxes, str):
            _checks.choice(self.boxes, "boxes", ("ask",))
            if self.zoom is not None:
                raise ValueError(
                    f"`zoom` must be left out with boxes='ask', where the largest that fits is taken, got {self.zoom}"
                )
        elif self.boxes is not None:
            _checks.boxes(self.boxes, "boxes")
        if _checks.choice(self.units, "units", UNITS) != "same" and named(self.format).tokens:
            raise ValueError(f"`units` must be 'same' for a format of tokens, {self.format!r}, got {self.units!r}")
        _checks.whole_number(self.max_pixels, "max_pixels")

    def updated(self, asked: Any, name: str, /) -> ViewOptions:
        """These options, updated from an object of a request; errors call it `name`."""
        known = [field.name for field in fields(self)]
        if not isinstance(asked, dict) or not set(asked) <= set(known):
            raise ValueError(f"`{name}` must be an object with {', '.join(known)}, got {_checks.describe(asked)}")
        return replace(self, **asked)

    @property
    def asks_model(self) -> bool:
        """Whether the model is to be asked where to look."""
        return isinstance(self.boxes, str)

    def overview(self, image: Any, /) -> View:
        """The image on which it is asked."""
        return view(image, format=self.format, max_pixels=min(self.max_pixels, OVERVIEW_PIXELS))

    def view(self, image: Any, boxes: Any, /) -> View:
        """The image with boxes magnified."""
        return view(image, boxes, format=self.format, max_pixels=self.max_pixels, zoom=self.zoom)

    def warp(self, source_hw: SizeHW, /) -> Warp:
        """The warp of that image, by its height and width."""
        return view_warp(source_hw, self.boxes, format=self.format, max_pixels=self.max_pixels, zoom=self.zoom)[0]
