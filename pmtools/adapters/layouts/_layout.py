"""The layout of a family: how many tokens an image has, and which part of the image each of them covers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pmtools.typing import SizeHW

WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class TokenGrid:
    """A rectangle of image tokens and the part of the image that it covers.

    Attributes
    ----------
    start : int
        Index of its first token among the image's own tokens.
    shape_hw : (int, int)
        Rows and columns.
    box_xyxy : (float, float, float, float)
        What it covers, in fractions of the source image; beyond [0, 1] lies padding.
    row_gap : int
        Tokens after each row that show nothing: LLaVA-NeXT ends its rows with one.
    """

    start: int
    shape_hw: SizeHW
    box_xyxy: tuple[float, float, float, float] = WHOLE_IMAGE
    row_gap: int = 0

    def places(self) -> list[int]:
        """Indices of all its tokens among the image's own, row by row."""
        height, width = self.shape_hw
        return [self.start + row * (width + self.row_gap) + column for row in range(height) for column in range(width)]


@dataclass(frozen=True)
class ImageTokenLayout:
    """How one model family lays out its image tokens.

    Attributes
    ----------
    image_token_id : int
        The id that stands for an image token in `input_ids`.
    grids : callable
        `grids(size_hw, images)` gives the number of tokens of an image of that size, in a prompt with `images` images,
        and its grids. Tokens outside the grids (row ends, class tokens) are not used.
    square : bool
        The image is padded to a square before the processor sees it.
    prefix_reuse : bool
        Whether the text before the first image may keep its keys and values when the image changes. False if image
        tokens attend to each other in both directions or the mask is made from the whole sequence.
    heat_layers : tuple of int, optional
        0-based layers whose attention shows where the model looks. Default: all; for Gemma 3, without the
        sliding-window ones.
    suffix_token_type : int, optional
        Token type of generated tokens when a sequence is encoded again; otherwise PaliGemma would attend to them in
        both directions.
    opening, closing : tuple of int
        Special tokens immediately before and after an image that belong to it, if they are present.
    """

    image_token_id: int
    grids: Callable[[SizeHW, int], tuple[int, list[TokenGrid]]]
    square: bool = False
    prefix_reuse: bool = True
    heat_layers: tuple[int, ...] | None = None
    suffix_token_type: int | None = None
    opening: tuple[int, ...] = ()
    closing: tuple[int, ...] = ()
