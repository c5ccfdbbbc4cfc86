"""Plain decoding: the model as it is, through the same door as the other methods."""

from __future__ import annotations

from typing import Any

from pmtools.adapters.sequences import TokenSequences
from pmtools.decoding._method import DecodingMethod


class Greedy(DecodingMethod):
    """The model's own decoding, greedy unless `generate` is told to sample; the baseline of every comparison.

    Images are padded to their canvas as for the other methods, so that only the method differs.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    streamer : transformers streamer, optional
        `generate` does not hand its own `streamer` on to `custom_generate`; give it here.

    Examples
    --------
    >>> from PIL import Image
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model()
    >>> greedy = Greedy(tiny_processor(model))
    >>> answer = greedy.generate(model, Image.new("RGB", (64, 48)), "How many birds?", max_new_tokens=2, do_sample=False)
    """

    def _new_run(self, model: Any, images: list[list[Any]]) -> _PlainRun:
        return _PlainRun()


class _PlainRun:
    def __init__(self) -> None:
        self.steps: list[Any] = []

    def step(self, sequences: TokenSequences, inputs: dict[str, Any], image: dict[str, Any], /) -> Any:
        return sequences.forward(inputs)

    def finish(self, output: Any, /) -> Any:
        return output
