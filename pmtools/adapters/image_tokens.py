"""The image tokens of a batch of prompts: where they are, and heatmaps over the images from one number per token.

This file knows a family only by its layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pmtools import _array
from pmtools.adapters.layouts import WHOLE_IMAGE, ImageTokenLayout, TokenGrid
from pmtools.typing import Ndarray, SizeHW

if TYPE_CHECKING:
    import torch


class ImageTokens:
    """The image tokens of a batch of prompts: where they are, what they cover, and heatmaps from one number per token.

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
        If the number of a row's image tokens does not match the sizes of its images, or no row has any.
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
            columns.append(hits[torch.tensor(places, dtype=torch.long, device=hits.device)])
            cells = [np.zeros(0), *(part.coverage() for image in images for part in image.parts)]
            coverage.append(torch.from_numpy(np.concatenate(cells, dtype=np.float32)).to(hits.device))
        if not any(sizes):
            raise ValueError("`sizes` must hold at least one image, got none; use the model's own `generate`")
        pad = torch.nn.utils.rnn.pad_sequence
        with torch.inference_mode(False):  # kept: tensors of that mode could not take part in gradients later
            self.columns = pad(columns, batch_first=True, padding_value=-1)
            self.coverage = pad(coverage, batch_first=True, padding_value=0.0)
        self.first = min(int(row.min()) for row in columns if len(row))

    def select(self, rows: Sequence[int], /) -> ImageTokens:
        """The tokens of some rows, in the order of `rows`; a row may be repeated."""
        import torch

        rows = list(rows)
        chosen = object.__new__(ImageTokens)
        chosen._images, chosen.first = [self._images[row] for row in rows], self.first
        with torch.inference_mode(False):
            chosen.columns, chosen.coverage = self.columns[rows], self.coverage[rows]
        return chosen

    def moved(self, kept: torch.Tensor, /) -> ImageTokens:
        """The tokens where only the columns `kept`, (B, T'), are left and -1 pads them; -1 for those that are gone."""
        width = int(max(kept.max(), self.columns.max())) + 1
        places = kept.new_full((kept.shape[0], width + 1), -1)  # one more column for the padding
        places.scatter_(1, kept.where(kept >= 0, width), _counting(kept))
        found = self.select(range(len(kept)))
        found.columns = places.gather(1, self.columns.clamp(min=0)).where(self.columns >= 0, -1)
        return found

    def scatter(self, flags: torch.Tensor, length: int, /) -> torch.Tensor:
        """Flags of the tokens, (B, n), as flags of all columns, (B, length)."""
        out = flags.new_zeros(flags.shape[0], length + 1)  # one more column for the padding of `columns`
        return out.scatter(1, self.columns.where(self.columns >= 0, length), flags)[:, :length]

    def at(self, places_xy: Sequence[tuple[float, float]], /) -> torch.Tensor:
        """Which tokens, (B, n), show one of some places of their image, given as shares of its width and height."""
        import torch

        flags = torch.zeros(self.columns.shape, dtype=torch.bool, device="cpu")
        for row, images in enumerate(self._images):
            for part in (part for image in images for part in image.parts):
                cells = [part.cell(place) for place in places_xy]
                flags[row, [cell for cell in cells if cell is not None]] = True
        return flags.to(self.columns.device)

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
            padding is returned unchanged. The widest float of the device.
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

    def coverage(self) -> Ndarray:
        x0, y0, x1, y1 = self.grid.box_xyxy
        height, width = self.grid.shape_hw
        return np.outer(_overlaps(y0, y1, height, 1), _overlaps(x0, x1, width, 1)).reshape(-1)

    def cell(self, place_xy: tuple[float, float]) -> int | None:
        """Which of the row's `columns` shows a place of the image, if this grid does."""
        x0, y0, x1, y1 = self.grid.box_xyxy
        rows, columns = self.grid.shape_hw
        across, down = (place_xy[0] - x0) / (x1 - x0), (place_xy[1] - y0) / (y1 - y0)
        if not (0 <= across <= 1 and 0 <= down <= 1):
            return None
        return self.start + min(int(down * rows), rows - 1) * columns + min(int(across * columns), columns - 1)

    def cells(self, values: torch.Tensor) -> torch.Tensor:
        height, width = self.grid.shape_hw
        return values[self.start : self.start + height * width].reshape(height, width)

    def spread(self, shape_hw: SizeHW, *values: torch.Tensor) -> list[torch.Tensor]:
        """Values of one dtype and device spread over `shape_hw` cells of the content, each over the cells it meets."""
        import torch

        x0, y0, x1, y1 = self.grid.box_xyxy
        rows, columns = self.grid.shape_hw
        down = torch.from_numpy(_shares(y0, y1, rows, shape_hw[0])).to(values[0])
        across = torch.from_numpy(_shares(x0, x1, columns, shape_hw[1])).to(values[0])
        return [down @ self.cells(of) @ across.T for of in values]


@dataclass(frozen=True)
class _PlacedImage:
    parts: list[_PlacedGrid]

    def shape_hw(self) -> SizeHW:
        """The number of content cells of the finest grid."""
        shapes = [(grid.shape_hw, grid.box_xyxy) for grid in (part.grid for part in self.parts)]
        rows = max(height / (box[3] - box[1]) for (height, _), box in shapes)
        columns = max(width / (box[2] - box[0]) for (_, width), box in shapes)
        return max(1, round(rows)), max(1, round(columns))

    def heatmap(self, mass: torch.Tensor, coverage: torch.Tensor) -> torch.Tensor:
        shape = self.shape_hw()
        if len(self.parts) == 1 and self.parts[0].grid.box_xyxy == WHOLE_IMAGE:
            return self.parts[0].cells(mass)
        spread = [part.spread(shape, mass, coverage) for part in self.parts]
        found, shown = sum(of_mass for of_mass, _ in spread), sum(of_coverage for _, of_coverage in spread)
        return found / shown.clamp(min=1e-12)  # type: ignore[union-attr]


def _overlaps(low: float, high: float, cells: int, targets: int) -> Ndarray:
    """Share of each of `cells` cells of [low, high] in each of `targets` cells of [0, 1]: (targets, cells)."""
    edges, bounds = np.linspace(low, high, cells + 1), np.linspace(0, 1, targets + 1)
    upper = np.minimum(edges[None, 1:], bounds[1:, None])
    lower = np.maximum(edges[None, :-1], bounds[:-1, None])
    overlaps: Ndarray = np.maximum(upper - lower, 0) * cells / (high - low)
    return overlaps


@lru_cache(maxsize=1024)  # a run over many pictures meets many sizes; arrays, since tensors keep the mode they came in
def _shares(low: float, high: float, cells: int, targets: int) -> Ndarray:
    """How a cell's mass on [0, 1] is spread over the targets it meets: columns sum to 1, or 0 beyond [0, 1]."""
    overlaps = _overlaps(low, high, cells, targets)
    overlaps /= np.maximum(overlaps.sum(0, keepdims=True), 1e-12)
    return overlaps


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
            if 0 in grid.shape_hw:  # of a very long image the models cut all columns off as padding
                continue
            parts.append(_PlacedGrid(len(places), grid))
            places += [before + place for place in grid.places()]
        images.append(_PlacedImage(parts))
        before += count
    if before != found:
        shapes = ", ".join(f"{width} x {height}" for height, width in sizes)
        raise ValueError(
            f"prompt {row} holds {found} image tokens, but its {len(sizes)} image(s) ({shapes}) make {before}: give the "
            "images of each prompt in prompt order, those that its inputs were made from, and this model's own processor"
        )
    return images, places
