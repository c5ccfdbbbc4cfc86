"""Families that cut larger images into tiles, and show them whole as well.

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
    """As LLaVA-NeXT, with a limit on the fine grid; a prompt with several images has only their coarse grids."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    limit = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))

    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        coarse = TokenGrid(0, (side, side))
        if images > 1:
            return side * side + 1, [coarse]
        (height, width), box = _unpadded_tiles(size_hw, config, side)
        ratio = math.sqrt(height * width / (limit * side**2))
        if ratio > 1.1:  # the model's own threshold for shrinking the fine grid
            height, width = int(height // ratio), int(width // ratio)
        fine = TokenGrid(side * side, (height, width), box, row_gap=1)
        return side * side + height * (width + 1), [coarse, fine]

    return ImageTokenLayout(config.image_token_id, grids)


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


def internvl(config: Any, image_processor: Any) -> ImageTokenLayout:
    """Tiles row by row, each a grid, then the whole image on one more where there are several."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    tile = image_processor.size["height"], image_processor.size["width"]
    side = math.isqrt(config.image_seq_length)

    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        if not image_processor.crop_to_patches:
            return _tiles_and_whole(1, 1, side)
        columns, rows = get_optimal_tiled_canvas(
            size_hw, tile, image_processor.min_patches, image_processor.max_patches
        )
        return _tiles_and_whole(rows, columns, side)

    return ImageTokenLayout(config.image_token_id, grids)


def idefics3(config: Any, image_processor: Any) -> ImageTokenLayout:
    """Tiles row by row, each a grid with text around it, then the whole image on one more where there are several."""
    tile = image_processor.max_image_size["longest_edge"]
    longest = image_processor.size["longest_edge"]
    vision = config.vision_config
    side = vision.image_size // vision.patch_size // config.scale_factor

    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        if not image_processor.do_image_splitting:
            return _tiles_and_whole(1, 1, side)
        height, width = _idefics3_size(size_hw, longest, tile)
        return _tiles_and_whole(height // tile, width // tile, side)

    return ImageTokenLayout(config.image_token_id, grids)


def _idefics3_size(size_hw: SizeHW, longest: int, tile: int) -> SizeHW:
    """What an image is resized to: the longer side to `longest`, then both up to multiples of `tile`."""
    height, width = size_hw
    aspect = width / height
    if width >= height:
        width, height = longest, int(longest / aspect)
        height += height % 2
    else:
        height, width = longest, int(longest * aspect)
        width += width % 2
    aspect = max(width, 1) / max(height, 1)
    if width >= height:
        width = math.ceil(width / tile) * tile
        return math.ceil(int(width / aspect) / tile) * tile, width
    height = math.ceil(height / tile) * tile
    return height, math.ceil(int(height * aspect) / tile) * tile


def _tiles_and_whole(rows: int, columns: int, side: int) -> tuple[int, list[TokenGrid]]:
    tiles = rows * columns
    if tiles == 1:
        return side * side, [TokenGrid(0, (side, side))]
    grids = [
        TokenGrid(
            (row * columns + column) * side * side,
            (side, side),
            (column / columns, row / rows, (column + 1) / columns, (row + 1) / rows),
        )
        for row in range(rows)
        for column in range(columns)
    ]
    return (tiles + 1) * side * side, [*grids, TokenGrid(tiles * side * side, (side, side))]
