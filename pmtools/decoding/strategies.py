"""The paper's strategies on the same attention: blur the background, dim it, draw a box, crop.

`pmtools.alternatives` has the edits; here they are decoding methods. The fifth strategy is to magnify: `PerceptionMagnifier`.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183), table of strategies
"""

from __future__ import annotations

from typing import Any

from pmtools.decoding._image_prompting import ImagePrompting


class Blur(ImagePrompting):
    """Answer from the image with its background out of focus.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    **options
        Of `ImagePrompting` and `pmtools.alternatives.blur`.
    """

    def __init__(self, processor: Any, **options: Any) -> None:
        super().__init__(processor, edit="blur", **options)


class Mask(ImagePrompting):
    """Answer from the image with its background dimmed.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    **options
        Of `ImagePrompting` and `pmtools.alternatives.mask`.
    """

    def __init__(self, processor: Any, **options: Any) -> None:
        super().__init__(processor, edit="mask", **options)


class BBox(ImagePrompting):
    """Answer from the image with a box drawn around what matters.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    **options
        Of `ImagePrompting` and `pmtools.alternatives.bbox`.
    """

    def __init__(self, processor: Any, **options: Any) -> None:
        super().__init__(processor, edit="bbox", **options)


class Crop(ImagePrompting):
    """Answer from what matters alone.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    **options
        Of `ImagePrompting` and `pmtools.alternatives.crop`.
    """

    def __init__(self, processor: Any, **options: Any) -> None:
        super().__init__(processor, edit="crop", **options)
