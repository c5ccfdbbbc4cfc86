"""Where the image tokens of a prompt are, and which part of the image each of them covers, per model family.

A layout turns the size of an image into one or more grids of tokens; `ImageTokens` finds them in a batch of prompts and
turns one number per token into one heatmap per image. Nothing here runs a model or touches pixels.

Convention: boxes are fractions of the source image, `(x0, y0, x1, y1)`; beyond [0, 1] lies padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pmtools import _array
from pmtools.typing import SizeHW

if TYPE_CHECKING:
    import torch

WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class TokenGrid:
    """A rectangle of image tokens and the part of the image that it covers.

    Attributes
    ----------
    start : int
        Place of its first token among the image's own tokens.
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
        """Places of all its tokens among the image's own, row by row."""
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
        and its grids. Tokens that no grid names (row ends, class tokens) take part in nothing.
    square : bool
        The image is padded to a square before the processor sees it.
    prefix_reuse : bool
        Whether the text before the first image may keep its keys and values when the image changes. False where image
        tokens see each other both ways or the mask is made from the whole sequence.
    heat_layers : tuple of int, optional
        0-based layers whose attention tells where the model looks. Default: all; without the sliding-window ones for
        Gemma 3.
    suffix_token_type : int, optional
        Token type of generated tokens when a sequence is encoded again; PaliGemma would see them both ways otherwise.
    encode_options : dict
        Options of the image processor that the family's processor always passes.
    """

    image_token_id: int
    grids: Callable[[SizeHW, int], tuple[int, list[TokenGrid]]]
    square: bool = False
    prefix_reuse: bool = True
    heat_layers: tuple[int, ...] | None = None
    suffix_token_type: int | None = None
    encode_options: dict[str, Any] | None = None


def image_token_layout(model: Any, image_processor: Any, /) -> ImageTokenLayout:
    """The layout of a model's family, by its `config.model_type`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A vision-language model.
    image_processor : transformers image processor
        The one that prepares its pixels: tile sizes and limits come from it.

    Returns
    -------
    ImageTokenLayout

    Raises
    ------
    ValueError
        If the family is not in `LAYOUTS`.

    Examples
    --------
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model("llava")
    >>> layout = image_token_layout(model, tiny_processor(model).image_processor)
    >>> layout.grids((480, 960), 1)  # padded above and below
    (16, [TokenGrid(start=0, shape_hw=(4, 4), box_xyxy=(0.0, -0.5, 1.0, 1.5), row_gap=0)])
    """
    family = model.config.model_type
    if family not in LAYOUTS:
        raise ValueError(
            f"`model` must be of a family with a known image-token layout ({', '.join(sorted(LAYOUTS))}), "
            f"got {family!r}; write a function (config, image_processor) -> ImageTokenLayout that says how many tokens "
            "an image of a given size has and which part of it each covers, and put it into "
            f"pmtools.adapters.layouts.LAYOUTS[{family!r}]"
        )
    return LAYOUTS[family](model.config, image_processor)


# ------------------------------------------------------------------------------------------------ the families


def _one_grid(
    side: int, *, start: int = 0, square: bool = False
) -> Callable[[SizeHW, int], tuple[int, list[TokenGrid]]]:
    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        box = _padded_square(size_hw) if square else WHOLE_IMAGE
        return start + side * side, [TokenGrid(start, (side, side), box)]

    return grids


def _padded_square(size_hw: SizeHW) -> tuple[float, float, float, float]:
    """The square canvas around an image, in fractions of the image."""
    height, width = size_hw
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return -left / width, -top / height, (side - left) / width, (side - top) / height


def _llava(config: Any, image_processor: Any) -> ImageTokenLayout:
    """One grid in raster order; processors that crop the centre get a padded square, so that nothing is lost."""
    vision = config.vision_config
    if vision.model_type == "pixtral":
        raise ValueError(
            "LLaVA models with a Pixtral vision tower have no fixed grid; write a layout of their own and put it into "
            "pmtools.adapters.layouts.LAYOUTS['llava']"
        )
    side = vision.image_size // vision.patch_size
    # "full" keeps the class token in front, where the vision tower has one
    class_token = config.vision_feature_select_strategy == "full" and not vision.model_type.startswith("siglip")
    square = pads_to_square(image_processor)
    return ImageTokenLayout(
        config.image_token_id, _one_grid(side, start=int(class_token), square=square), square=square
    )


def _paligemma(config: Any, image_processor: Any) -> ImageTokenLayout:
    """One grid, first in the prompt; the whole prompt sees itself both ways, so nothing of it can be kept."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    return ImageTokenLayout(config.image_token_id, _one_grid(side), prefix_reuse=False, suffix_token_type=1)


def _gemma3(config: Any, image_processor: Any) -> ImageTokenLayout:
    """One pooled grid; sliding-window layers forget the image, so only the others tell where the model looks."""
    if getattr(image_processor, "do_pan_and_scan", False):
        raise ValueError(
            "`do_pan_and_scan` must be off for Gemma 3 here; its extra crops have no known place in the image"
        )
    full = tuple(i for i, kind in enumerate(config.text_config.layer_types) if kind == "full_attention")
    grids = _one_grid(math.isqrt(config.mm_tokens_per_image))
    return ImageTokenLayout(config.image_token_id, grids, prefix_reuse=False, heat_layers=full)


def _qwen_vl(config: Any, image_processor: Any) -> ImageTokenLayout:
    """Patches merged in squares; the grid follows the image's own shape."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    factor = image_processor.patch_size * image_processor.merge_size
    limits = image_processor.size["shortest_edge"], image_processor.size["longest_edge"]

    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        height, width = smart_resize(*size_hw, factor, *limits)
        shape = height // factor, width // factor
        return shape[0] * shape[1], [TokenGrid(0, shape)]

    return ImageTokenLayout(config.image_token_id, grids)


def _llava_next(config: Any, image_processor: Any) -> ImageTokenLayout:
    """The whole image on one grid, then its tiles as a finer one without padding, a token after each row."""
    side = config.vision_config.image_size // config.vision_config.patch_size

    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        shape, box = _unpadded_tiles(size_hw, config, side)
        fine = TokenGrid(side * side, shape, box, row_gap=1)
        return side * side + shape[0] * (shape[1] + 1), [TokenGrid(0, (side, side)), fine]

    return ImageTokenLayout(config.image_token_id, grids)


def _llava_onevision(config: Any, image_processor: Any) -> ImageTokenLayout:
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


def _internvl(config: Any, image_processor: Any) -> ImageTokenLayout:
    """Tiles row by row, each a grid, then the whole image on one more where there are several."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    tile = image_processor.size["height"], image_processor.size["width"]
    side = math.isqrt(config.image_seq_length)

    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        columns, rows = get_optimal_tiled_canvas(
            size_hw, tile, image_processor.min_patches, image_processor.max_patches
        )
        return _tiles_and_whole(rows, columns, side)

    return ImageTokenLayout(config.image_token_id, grids, encode_options={"crop_to_patches": True})


def _idefics3(config: Any, image_processor: Any) -> ImageTokenLayout:
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


def pads_to_square(image_processor: Any, /) -> bool:
    """Whether images are padded to a square first: the processor would crop their centre, or pads itself."""
    if getattr(image_processor, "image_grid_pinpoints", None) or not hasattr(image_processor, "do_center_crop"):
        return False
    return bool(image_processor.do_center_crop or getattr(image_processor, "do_pad", False))


#: Every family by its `config.model_type`; a row more is a family more.
LAYOUTS: dict[str, Callable[[Any, Any], ImageTokenLayout]] = {
    "llava": _llava,
    "vipllava": _llava,
    "paligemma": _paligemma,
    "gemma3": _gemma3,
    "qwen2_vl": _qwen_vl,
    "qwen2_5_vl": _qwen_vl,
    "qwen3_vl": _qwen_vl,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
    "internvl": _internvl,
    "idefics3": _idefics3,
    "smolvlm": _idefics3,
}


# -------------------------------------------------------------------------------------------- tokens of a batch


class ImageTokens:
    """The image tokens of a batch of prompts: where they are, what they cover, and heatmaps from one number each.

    Parameters
    ----------
    layout : ImageTokenLayout
    input_ids : integer tensor of shape (B, T)
        Prompts, image tokens expanded, padding included.
    sizes : sequence of sequences of (int, int)
        For each row, the height and width of its images in prompt order.

    Attributes
    ----------
    columns : integer tensor of shape (B, n)
        Key positions of the tokens that show something; -1 pads rows that have fewer.
    coverage : float tensor of shape (B, n)
        Share of each token's cell that shows image, not padding; 0 where `columns` is -1.
    first : int
        The first column that belongs to an image, in any row.

    Raises
    ------
    ValueError
        If a row has no image tokens, or their number is not what the sizes of its images say.
    """

    columns: torch.Tensor
    coverage: torch.Tensor

    def __init__(self, layout: ImageTokenLayout, input_ids: torch.Tensor, sizes: Sequence[Sequence[SizeHW]], /) -> None:
        import torch

        self._images: list[list[_PlacedImage]] = []
        columns, coverage = [], []
        for row, row_sizes in enumerate(sizes):
            hits = (input_ids[row] == layout.image_token_id).nonzero()[:, 0]
            images, places = _place_images(layout, row_sizes, len(hits), row)
            self._images.append(images)
            columns.append(hits[torch.tensor(places, device=hits.device)])
            coverage.append(
                torch.cat([part.coverage() for image in images for part in image.parts]).float().to(hits.device)
            )
        pad = torch.nn.utils.rnn.pad_sequence
        self.columns = pad(columns, batch_first=True, padding_value=-1)
        self.coverage = pad(coverage, batch_first=True, padding_value=0.0)
        self.first = int(min(row.min() for row in columns))

    def select(self, rows: Sequence[int], /) -> ImageTokens:
        """The tokens of some rows, in the order of `rows`; a row may come twice."""
        rows = list(rows)
        chosen = object.__new__(ImageTokens)
        chosen._images = [self._images[row] for row in rows]
        chosen.columns, chosen.coverage, chosen.first = self.columns[rows], self.coverage[rows], self.first
        return chosen

    def moved(self, kept: torch.Tensor, /) -> ImageTokens:
        """The tokens in sequences of which only the columns `kept`, (B, T'), are left; -1 for those that are gone."""
        width = int(max(kept.max(), self.columns.max())) + 1
        places = kept.new_full((kept.shape[0], width), -1)
        places.scatter_(1, kept, _counting(kept))
        found = self.select(range(len(kept)))
        found.columns = places.gather(1, self.columns.clamp(min=0)).where(self.columns >= 0, -1)
        return found

    def scatter(self, flags: torch.Tensor, length: int, /) -> torch.Tensor:
        """Flags of the tokens, (B, n), as flags of all columns, (B, length)."""
        out = flags.new_zeros(flags.shape[0], length + 1)  # one column more for what pads `columns`
        return out.scatter(1, self.columns.where(self.columns >= 0, length), flags)[:, :length]

    def heatmaps(self, mass: torch.Tensor, /) -> list[list[torch.Tensor]]:
        r"""One heatmap per image, over its content: padding cut off, border cells by area, several grids as one.

        $h_c = \sum_t s_{ct}\, m_t \,/\, \sum_t s_{ct}\, a_t$, with $m_t$ the mass of token $t$, $a_t$ its coverage and
        $s_{ct}$ the share of its visible area in cell $c$: the mean attention of the tokens that show the cell, so
        that equal tokens give an equal map.

        Parameters
        ----------
        mass : float tensor of shape (B, n)
            What each token got on the image, its share on padding left out: attention times `coverage`.

        Returns
        -------
        list of lists of tensors of shape (h, w)
            For each row, its images, with as many cells as the finest grid has on the content; a single grid without
            padding comes back as it is. The widest float of the device.
        """
        mass, coverage = _array.widen(mass), _array.widen(self.coverage.to(mass.device))
        rows = zip(self._images, mass, coverage, strict=True)
        return [[image.heatmap(row_mass, area) for image in images] for images, row_mass, area in rows]


def _counting(like: torch.Tensor) -> torch.Tensor:
    """0, 1, 2, ... along the last axis, in the shape of an integer tensor."""
    import torch

    return torch.arange(like.shape[-1], device=like.device).expand(like.shape)


@dataclass(frozen=True)
class _PlacedGrid:
    """A grid whose tokens are `columns[start : start + h * w]` of the row."""

    start: int
    grid: TokenGrid

    def coverage(self) -> torch.Tensor:
        x0, y0, x1, y1 = self.grid.box_xyxy
        height, width = self.grid.shape_hw
        return (_overlaps(y0, y1, height, 1)[0][:, None] * _overlaps(x0, x1, width, 1)[0]).flatten()

    def cells(self, values: torch.Tensor) -> torch.Tensor:
        height, width = self.grid.shape_hw
        return values[self.start : self.start + height * width].reshape(height, width)

    def spread(self, values: torch.Tensor, shape_hw: SizeHW) -> torch.Tensor:
        """The values spread over `shape_hw` cells of the content, each over the cells that it meets."""
        x0, y0, x1, y1 = self.grid.box_xyxy
        rows, columns = self.grid.shape_hw
        return (
            _shares(y0, y1, rows, shape_hw[0]).to(values)
            @ self.cells(values)
            @ _shares(x0, x1, columns, shape_hw[1]).to(values).T
        )


@dataclass(frozen=True)
class _PlacedImage:
    parts: list[_PlacedGrid]

    def shape_hw(self) -> SizeHW:
        """As many content cells as the finest grid has."""
        shapes = [(grid.shape_hw, grid.box_xyxy) for grid in (part.grid for part in self.parts)]
        rows = max(height / (box[3] - box[1]) for (height, _), box in shapes)
        columns = max(width / (box[2] - box[0]) for (_, width), box in shapes)
        return max(1, round(rows)), max(1, round(columns))

    def heatmap(self, mass: torch.Tensor, coverage: torch.Tensor) -> torch.Tensor:
        shape = self.shape_hw()
        if len(self.parts) == 1 and self.parts[0].grid.box_xyxy == WHOLE_IMAGE:
            return self.parts[0].cells(mass)
        found = sum(part.spread(mass, shape) for part in self.parts)
        shown = sum(part.spread(coverage, shape) for part in self.parts)
        return found / shown.clamp(min=1e-12)  # type: ignore[union-attr]


def _overlaps(low: float, high: float, cells: int, targets: int) -> torch.Tensor:
    """Share of each of `cells` cells of [low, high] in each of `targets` cells of [0, 1]: (targets, cells)."""
    import torch

    edges = torch.linspace(low, high, cells + 1, dtype=torch.float64)
    bounds = torch.linspace(0, 1, targets + 1, dtype=torch.float64)
    upper = torch.minimum(edges[None, 1:], bounds[1:, None])
    lower = torch.maximum(edges[None, :-1], bounds[:-1, None])
    return (upper - lower).clamp(min=0) * cells / (high - low)


@cache
def _shares(low: float, high: float, cells: int, targets: int) -> torch.Tensor:
    """How a cell's mass on [0, 1] is spread over the targets it meets: columns sum to 1, or 0 beyond [0, 1]."""
    overlaps = _overlaps(low, high, cells, targets)
    inside = overlaps.sum(0, keepdim=True)
    return overlaps / inside.clamp(min=1e-12)


def _place_images(
    layout: ImageTokenLayout, sizes: Sequence[SizeHW], found: int, row: int
) -> tuple[list[_PlacedImage], list[int]]:
    """The images of one row, and the places of their tokens among the row's image tokens."""
    images: list[_PlacedImage] = []
    places: list[int] = []
    before = 0
    for size in sizes:
        count, grids = layout.grids(size, len(sizes))
        parts = []
        for grid in grids:
            parts.append(_PlacedGrid(len(places), grid))
            places += [before + place for place in grid.places()]
        images.append(_PlacedImage(parts))
        before += count
    if before != found or not found:
        shapes = ", ".join(f"{width} x {height}" for height, width in sizes)
        raise ValueError(
            f"prompt {row} holds {found} image tokens, but its {len(sizes)} image(s) ({shapes}) make {before}: give the "
            "images of each prompt in prompt order, those that its inputs were made from, and this model's own processor"
        )
    return images, places
