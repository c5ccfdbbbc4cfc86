"""A second prompt, continued with the tokens that the loop chooses, and the methods that contrast with it.

transformers' loop owns the first stream. A second one keeps its own cache and finds its rows by the generated tokens,
so beams may be reordered.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pmtools.adapters.caches import cache_rows, empty_cache, find_cache
from pmtools.adapters.prompts import Prompts, continued
from pmtools.adapters.sequences import TokenSequences
from pmtools.adapters.source_images import SourceImages
from pmtools.decoding.method import DecodingMethod

if TYPE_CHECKING:
    import torch


class SecondStream:
    """Logits of other prompts for the tokens that were generated after the first ones.

    Parameters
    ----------
    prompts : Prompts
        One for each prompt of the first stream, of any length.
    prompt_length : int
        Length of the first stream's prompts.
    pixels : dict, optional
        Model inputs instead of those of the images.
    within : callable, optional
        `within(input_ids)` gives a context in which the model runs on these sequences of the second stream.

    Attributes
    ----------
    cache : transformers.DynamicCache or None
        Of the sequences of the latest call.
    """

    def __init__(
        self,
        prompts: Prompts,
        /,
        *,
        prompt_length: int,
        pixels: dict[str, Any] | None = None,
        within: Callable[[torch.Tensor], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.prompts, self.prompt_length = prompts, prompt_length
        self.cache: Any = None
        self._pixels, self._within = pixels, within or (lambda input_ids: nullcontext())
        self._sequences: TokenSequences | None = None  # the prompts, once prepared
        self._image: dict[str, Any] = {}
        self._generated: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, /) -> torch.Tensor:
        """Logits for the next token.

        Parameters
        ----------
        input_ids : integer tensor of shape (B, T)
            The first stream: prompts, repeated for their beams or returned sequences, and the generated tokens.

        Returns
        -------
        float32 tensor of shape (B, V)

        Raises
        ------
        ValueError
            If B is not a multiple of the number of prompts.
        """
        import torch

        rows, prompts = len(input_ids), len(self.prompts.input_ids)
        if rows % prompts or input_ids.shape[1] < self.prompt_length:
            raise ValueError(
                f"`input_ids` must continue {prompts} prompts of {self.prompt_length} tokens, got {rows} sequences of "
                f"{input_ids.shape[1]}; make the inputs of `generate` and of this method from the same prompts"
            )
        generated = input_ids[:, self.prompt_length :]
        with torch.no_grad():
            origins = self._origins(generated, rows // prompts)
            if origins is None or self._sequences is None:
                return self._from_the_start(generated, rows // prompts)
            if not torch.equal(origins, torch.arange(rows, device=origins.device)):
                self.cache = cache_rows(self.cache, origins)
            return self._continue(self._sequences, generated, rows // prompts)

    def _origins(self, generated: torch.Tensor, copies: int) -> torch.Tensor | None:
        """Which row of the latest call each row continues, (B,); None if one continues none."""
        import torch

        seen = self._generated
        if seen is None or len(seen) != len(generated) or generated.shape[1] != seen.shape[1] + 1:
            return None
        rows = torch.arange(len(seen), device=seen.device)
        same = (generated[:, None, :-1] == seen[None]).all(-1)
        same &= rows[:, None] // copies == rows[None] // copies  # of the same prompt
        if not bool(same.any(1).all()):
            return None
        return torch.where(same.diagonal(), rows, same.long().argmax(1))

    def _from_the_start(self, generated: torch.Tensor, copies: int) -> torch.Tensor:
        """The prompts, once each; then the tokens that were already generated, if any."""
        if self._sequences is None:
            self._sequences, self._image = self.prompts.prepared(self._pixels)
        with self._within(self._sequences.input_ids):
            output = self._sequences.run(empty_cache(self.prompts.model), image=self._image)
        self.cache, logits = find_cache(output), output.logits[:, -1].float()
        self._generated = generated
        if copies > 1:
            rows = _repeated(len(logits), copies)
            self.cache, logits = cache_rows(self.cache, rows), logits[rows]
        return self._continue(self._sequences, generated, copies) if generated.shape[1] else logits

    def _continue(self, sequences: TokenSequences, generated: torch.Tensor, copies: int) -> torch.Tensor:
        """One forward pass over the tokens that are not in the cache yet."""
        sequences = continued(sequences.rows(_repeated(len(sequences.input_ids), copies)), generated)
        with self._within(sequences.input_ids):
            output = sequences.run(self.cache)
        self.cache, self._generated = find_cache(output), generated
        return output.logits[:, -1].float()  # type: ignore[no-any-return]


def _repeated(rows: int, copies: int) -> list[int]:
    return [row for row in range(rows) for _ in range(copies)]


class ContrastiveMethod(DecodingMethod):
    """A method that contrasts each token's scores with those of one or more second streams.

    A method defines `references`, `combine` and `contrasts`; where its options change nothing, the scores stay the same.
    """

    @property
    def contrasts(self) -> bool:
        """Whether the options change anything: where they do not, no second stream runs."""
        raise NotImplementedError

    def references(self, prompts: Prompts, prompt_length: int) -> list[SecondStream]:
        """The streams that the scores are compared with.

        Parameters
        ----------
        prompts : Prompts
        prompt_length : int
            Tokens of the prompts, padding included.

        Returns
        -------
        list of SecondStream
        """
        raise NotImplementedError

    def combine(self, scores: torch.Tensor, references: list[torch.Tensor], step: int) -> torch.Tensor:
        """The arithmetic of a token.

        Parameters
        ----------
        scores : tensor of shape (B, V)
            float32.
        references : list of tensors of shape (B, V)
            Of each stream.
        step : int
            Of the token, from 1.

        Returns
        -------
        tensor of shape (B, V)
        """
        raise NotImplementedError

    def _forward(self, sequences: TokenSequences, inputs: dict[str, Any]) -> Any:
        """The first stream."""
        return sequences.forward(inputs)

    def logits_processor(self, model: Any, inputs: Any, /, *, images: Any = None) -> ContrastProcessor:
        """The contrast alone, for `generate(logits_processor=[...])`, applied to another method or to plain decoding.

        Parameters
        ----------
        model : transformers.PreTrainedModel
        inputs : mapping
            Those of the call of `generate`, made by the `processor` of this method or another one.
        images : PIL image, or list of them or of lists, optional
            Of each prompt, if the inputs do not carry them.

        Returns
        -------
        callable
            It serves any number of calls of `generate` on these inputs, with beams or sampling. transformers calls it after
            penalties and before temperature, top-k and top-p.

        Raises
        ------
        TypeError, ValueError
            If inputs, images and model do not fit each other.
        """
        prompts = Prompts.from_inputs(model, self.processor, inputs, images=images)
        return ContrastProcessor(self, prompts)

    def new_run(self, model: Any, images: SourceImages) -> ContrastiveRun:
        """One call of `generate`."""
        return ContrastiveRun(self, images)


class ContrastProcessor:
    """A logits processor that contrasts with second streams; see `ContrastiveMethod.logits_processor`.

    Parameters
    ----------
    method : ContrastiveMethod
    prompts : Prompts
    """

    def __init__(self, method: ContrastiveMethod, prompts: Prompts, /) -> None:
        self.method, self.prompt_length = method, prompts.input_ids.shape[1]
        self.streams = method.references(prompts, self.prompt_length) if method.contrasts else []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """New scores, (B, V), as log probabilities: beams of different rows are compared by them."""
        if not self.method.contrasts:
            return scores
        references = [stream(input_ids).to(scores.device) for stream in self.streams]
        step = input_ids.shape[1] - self.prompt_length + 1
        return self.method.combine(scores.float(), references, step).log_softmax(-1)


class ContrastiveRun:
    """One call of `generate` by a contrastive method."""

    def __init__(self, method: ContrastiveMethod, images: SourceImages) -> None:
        self.method, self.images = method, images
        self.steps: list[Any] = []
        self._processor: ContrastProcessor | None = None

    def step(self, sequences: TokenSequences, inputs: dict[str, Any], image: dict[str, Any], /) -> Any:
        """The plain forward pass, and its scores contrasted."""
        output = self.method._forward(sequences, inputs)
        if self._processor is None:
            prompts = Prompts.from_sequences(self.method.processor, sequences, self.images)
            self._processor = ContrastProcessor(self.method, prompts)
        if self.method.contrasts:
            output.logits = self._processor(sequences.input_ids, output.logits[:, -1].float())[:, None]
        return output

    def finish(self, output: Any, /) -> Any:
        """What `generate` returns, unchanged."""
        return output
