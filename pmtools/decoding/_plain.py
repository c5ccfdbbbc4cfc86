"""Plain decoding as the run of a method: the baseline, also used for prompts without an image."""

from __future__ import annotations

from typing import Any

from pmtools.adapters.sequences import TokenSequences


class PlainRun:
    """One call of `generate` as transformers runs it.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.steps: list[Any] = []

    def step(self, sequences: TokenSequences, inputs: dict[str, Any], image: dict[str, Any], /) -> Any:
        """The model's own forward pass."""
        return sequences.forward(inputs)

    def finish(self, output: Any, /) -> Any:
        """What `generate` returns, unchanged."""
        return output
