r"""Attention prompting on image: the image is dimmed where it does not answer the question.

References
----------
- API, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)
"""

from __future__ import annotations

from typing import Any

from pmtools.adapters.heatmaps import HeatmapSource
from pmtools.decoding._image_prompting import ImagePrompting
from pmtools.settings import DEFAULTS
from pmtools.typing import Heatmap


class API(ImagePrompting):
    r"""Attention prompting on image, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143).

    The model sees $v\, m + \gamma\, (1 - m)$, with a mask $m$ of the heatmap.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    heatmap : str, array of shape (h, w), or callable, optional
        "api-l": the model's own attention in one layer. API-C: "api-c:NAME" with the folder or hub name of a CLIP, or a
        `pmtools.adapters.heatmaps.CLIPRelevance`. Or any source.
    gain, kernel_size
        Of the mask; see `pmtools.perception_map`. API-C has its own.
    gray : float, optional
        $\gamma$, the value of the rest, from 0 to 255.

    Raises
    ------
    TypeError, ValueError
        If an option is out of range.

    Examples
    --------
    >>> from PIL import Image
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model()
    >>> api = API(tiny_processor(model))
    >>> answer = api.generate(model, Image.new("RGB", (60, 40)), "Is it blue?", max_new_tokens=2)
    """

    def __init__(
        self,
        processor: Any,
        *,
        heatmap: str | Heatmap | HeatmapSource = "api-l",
        gain: float = 5.0,
        kernel_size: int = DEFAULTS.kernel_size,
        gray: float = 0.0,
    ) -> None:
        super().__init__(processor, alternative="mask", heatmap=heatmap, gain=gain, kernel_size=kernel_size, gray=gray)
