r"""ViCrop: the window that stands out most, cut from the original, as a second image.

References
----------
- ViCrop, [arXiv:2502.17422](https://arxiv.org/abs/2502.17422)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pmtools import _array, _checks
from pmtools.adapters.heatmaps import HeatmapSource
from pmtools.decoding._image_prompting import ImagePrompting
from pmtools.frames import crop
from pmtools.typing import Heatmap, SizeHW
from pmtools.warp import Warp

#: Sides of the windows, in units of the model's input side.
RATIOS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)


class ViCrop(ImagePrompting):
    """ViCrop, [arXiv:2502.17422](https://arxiv.org/abs/2502.17422): answer from the image and its best window.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    heatmap : str, array of shape (h, w), or callable, optional
        Default: "relative", the attention for this question over that for a general one. Or any source.
    window : int, optional
        Side of the smallest window in pixels of the image. Default: the side of the model's input, so that the window is
        seen pixel by pixel; images that are no larger are shown twice.

    Raises
    ------
    TypeError, ValueError
        If an option is out of range; when called, in families that write text between image tokens.

    Examples
    --------
    >>> from PIL import Image
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model()
    >>> vicrop = ViCrop(tiny_processor(model), heatmap=[[0, 0], [0, 1]], window=50)
    >>> answer = vicrop.generate(model, Image.new("RGB", (200, 100)), "Is it blue?", max_new_tokens=2)
    >>> [image.size for image in vicrop.last[0].shown[0][0]]
    [(200, 100), (100, 50)]
    """

    def __init__(
        self,
        processor: Any,
        *,
        heatmap: str | Heatmap | HeatmapSource = "relative",
        window: int | None = None,
    ) -> None:
        super().__init__(processor, alternative="crop", heatmap=heatmap)
        self.window = (
            _input_side(self.processor.image_processor) if window is None else _checks.whole_number(window, "window")
        )

    def shown(self, image: Any, heatmap: Heatmap) -> tuple[list[Any], Warp]:
        """The image, and the window that stands out most beside it."""
        size_hw = image.height, image.width
        frame = crop(size_hw, best_window(heatmap, source_hw=size_hw, window=self.window))
        return [image, frame.image(image)], frame


def best_window(heatmap: Heatmap, /, *, source_hw: SizeHW, window: int) -> tuple[int, int, int, int]:
    """The window that stands out most from its neighbours one cell away.

    For each ratio in `RATIOS`, the window of that many times `window` pixels, rounded down to whole cells, with the largest sum;
    of these, the one that exceeds the mean of its up to four neighbours most, per cell. A window as large as the image
    cannot stand out.

    Convention: boxes in continuous pixel-edge coordinates of the image.

    Parameters
    ----------
    heatmap : array of shape (h, w)
    source_hw : (int, int)
        Height and width of the image.
    window : int
        Pixels.

    Returns
    -------
    (int, int, int, int)
        x0, y0, x1, y1 in pixels.

    References
    ----------
    - ViCrop, [arXiv:2502.17422](https://arxiv.org/abs/2502.17422)

    Examples
    --------
    >>> heat = np.zeros((4, 8))
    >>> heat[1, 5:7] = 1
    >>> best_window(heat, source_hw=(40, 80), window=20)
    (50, 0, 70, 20)
    """
    heat = _array.to_numpy(_checks.weights(heatmap, "heatmap")).astype(np.float64)
    rows, columns = heat.shape
    total = np.zeros((rows + 1, columns + 1))
    total[1:, 1:] = heat.cumsum(axis=0).cumsum(axis=1)
    best, best_score = (0, 0, columns, rows), -np.inf  # in cells
    for ratio in RATIOS:
        # side * cells / pixels, in whole cells; the tiny amount undoes rounding below an integer
        h, w = (
            min(max(1, int(ratio * window * cells / pixels + 1e-9)), cells)
            for cells, pixels in zip((rows, columns), source_hw, strict=True)
        )
        sums = total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w]
        y, x = (int(place) for place in np.unravel_index(np.argmax(sums), sums.shape))
        around = [
            sums[y + dy, x + dx]
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))
            if 0 <= y + dy < sums.shape[0] and 0 <= x + dx < sums.shape[1]
        ]
        score = (sums[y, x] - np.mean(around)) / (h * w) if around else 0.0
        if score > best_score:
            best, best_score = (x, y, x + w, y + h), score
    edges = zip(best, (columns, rows) * 2, source_hw[::-1] * 2, strict=True)
    x0, y0, x1, y1 = (edge * pixels / cells for edge, cells, pixels in edges)
    return int(np.floor(x0)), int(np.floor(y0)), int(np.ceil(x1)), int(np.ceil(y1))


def _input_side(image_processor: Any) -> int:
    """Side of the model's input in pixels; for families of any size, that of CLIP's, 336."""
    size = getattr(image_processor, "size", None) or {}
    crop_size = getattr(image_processor, "crop_size", None) or {}
    if getattr(image_processor, "merge_size", None):
        return 336
    return int(crop_size.get("height") or size.get("height") or size.get("shortest_edge") or 336)
