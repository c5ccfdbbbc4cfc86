"""Families that drop tokens of padding after the vision tower has run: what it is shown does not tell which.

Every function is given the model's configuration and its image processor.
"""

from __future__ import annotations

import math
from typing import Any

from pmtools.adapters.layouts._layout import ImageTokenLayout, TokenGrid
from pmtools.typing import SizeHW


def llava_next(config: Any, image_processor: Any) -> ImageTokenLayout:
    """The whole image on one grid, then its tiles as a finer one without padding, a token after each row."""
    side = config.vision_config.image_size // config.vision_config.patch_size

    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        shape, box = _unpadded_tiles(size_hw, config, side)
        fine = TokenGrid(side * side, shape, box, row_gap=1)
        return side * side + shape[0] * (shape[1] + 1), [TokenGrid(0, (side, side)), fine]

    return ImageTokenLayout(config.image_token_id, grids)


def llava_onevision(config: Any, image_processor: Any) -> ImageTokenLayout:
    """As LLaVA-NeXT, with a limit on the fine grid; a prompt with several images shows each on one grid, padded to a square."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    limit = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))

    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        if images > 1:  # padded, where one alone is stretched
            return side * side + 1, [TokenGrid(0, (side, side), _padded_square(size_hw))]
        coarse = TokenGrid(0, (side, side))
        (height, width), box = _unpadded_tiles(size_hw, config, side)
        ratio = math.sqrt(height * width / (limit * side**2))
        if ratio > 1.1:  # the model's own threshold for shrinking the fine grid
            height, width = int(height // ratio), int(width // ratio)
        fine = TokenGrid(side * side, (height, width), box, row_gap=1)
        return side * side + height * (width + 1), [coarse, fine]

    return ImageTokenLayout(config.image_token_id, grids)


def _padded_square(size_hw: SizeHW) -> tuple[float, float, float, float]:
    """The square canvas around an image, in fractions of the image."""
    height, width = size_hw
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return -left / width, -top / height, (side - left) / width, (side - top) / height


def _unpadded_tiles(size_hw: SizeHW, config: Any, side: int) -> tuple[SizeHW, tuple[float, float, float, float]]:
    """The fine grid of the LLaVA-NeXT scheme: its shape without whole rows or columns of padding, and what it covers.

    The image is resized into the best canvas, centred, and padded; tokens are cut by a rule of their own, so the grid
    may still cover a little padding or miss a little image. `box_xyxy` says which.
    """
    from transformers.image_processing_utils import select_best_resolution

    height, width = size_hw
    canvas_h, canvas_w = select_best_resolution(size_hw, config.image_grid_pinpoints)
    patch = config.vision_config.image_size / side
    rows, columns = round(canvas_h / patch), round(canvas_w / patch)
    if canvas_w / width < canvas_h / height:  # bars above and below
        shown_h, shown_w = min(math.ceil(height * canvas_w / width), canvas_h), canvas_w
    else:
        shown_h, shown_w = canvas_h, min(math.ceil(width * canvas_h / height), canvas_w)
    top, left = (canvas_h - shown_h) // 2, (canvas_w - shown_w) // 2
    cut_rows = cut_columns = 0
    if width / height > columns / rows:
        cut_rows = (rows - int(round(height * (columns / width), 7))) // 2
    else:
        cut_columns = (columns - int(round(width * (rows / height), 7))) // 2
    box = (
        (cut_columns * patch - left) / shown_w,
        (cut_rows * patch - top) / shown_h,
        ((columns - cut_columns) * patch - left) / shown_w,
        ((rows - cut_rows) * patch - top) / shown_h,
    )
    return (rows - 2 * cut_rows, columns - 2 * cut_columns), box
