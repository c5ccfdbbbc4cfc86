"""Plain decoding: the unchanged model, called like the other methods."""

from __future__ import annotations

from typing import Any

from pmtools.adapters.source_images import SourceImages
from pmtools.decoding._plain import PlainRun
from pmtools.decoding.method import DecodingMethod


class Greedy(DecodingMethod):
    """The model's own decoding, greedy unless `generate` samples; the baseline of every comparison.

    Images are padded to their canvas as for the other methods, so that only the method differs.

    Parameters
    ----------
    processor : transformers processor
        The model's own.

    Examples
    --------
    >>> from PIL import Image
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model()
    >>> greedy = Greedy(tiny_processor(model))
    >>> answer = greedy.generate(model, Image.new("RGB", (64, 48)), "How many birds?", max_new_tokens=2, do_sample=False)
    """

    def new_run(self, model: Any, images: SourceImages) -> PlainRun:
        """One call of `generate`."""
        return PlainRun(model)
