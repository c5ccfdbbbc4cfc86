"""Batches of prompts with their images, before the first token: run as they are, without images, or with other images.

Positions, masks, token types and image features are those that transformers' own `generate` makes from such inputs, for
every family: it prepares them and is stopped before it generates.

This file knows nothing about heatmaps or decoding methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pmtools.adapters.caches import cache_name
from pmtools.adapters.image_inputs import encoded_images, image_inputs, input_device
from pmtools.adapters.image_tokens import ImageTokens
from pmtools.adapters.layouts import ImageTokenLayout, image_token_layout
from pmtools.adapters.sequences import TokenSequences, check_padding
from pmtools.adapters.source_images import SourceImages
from pmtools.adapters.tokenizing import InTurn

if TYPE_CHECKING:
    import torch

_TYPES = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts and their images.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        Of a family in `pmtools.adapters.layouts.LAYOUTS`.
    processor : SourceProcessor
        That of a decoding method.
    input_ids, attention_mask : integer tensors of shape (B, T)
        Left-padded, image tokens expanded.
    images : list of lists of PIL images
        Of each prompt, in prompt order.
    types : dict of integer tensors of shape (B, T)
        Token types, where the family has them.
    step : int
        The decoding step, from 0: how many tokens already follow these prompts.
    """

    model: Any
    processor: Any
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    images: list[list[Any]]
    types: dict[str, torch.Tensor] = field(default_factory=dict)
    step: int = 0

    @classmethod
    def from_inputs(cls, model: Any, processor: Any, inputs: Mapping[str, Any], /, *, images: Any = None) -> Prompts:
        """The prompts of inputs for `generate`.

        Parameters
        ----------
        model : transformers.PreTrainedModel
        processor : SourceProcessor
        inputs : mapping
            With `input_ids`. Made by `processor`, so that they carry their images, unless `images` is given.
        images : PIL image, or list of them or of lists, optional
            Of each prompt.

        Raises
        ------
        TypeError, ValueError
            If there are no token ids, or they are padded on the right, or it is not clear which images belong to which prompt,
            or `images` do not make the pixels of the inputs.
        """
        import torch

        if "input_ids" not in inputs:
            raise ValueError(
                f"`inputs` must hold `input_ids`, got {sorted(inputs)}; make them with the method's `processor`"
            )
        ids = inputs["input_ids"].to(input_device(model))
        mask = inputs.get("attention_mask")
        check_padding(mask)
        sources = processor.sources(model, images, inputs.get("pm_images"), len(ids), inputs)
        processor = processor.made_with(sources.options)
        types = {name: value.to(ids.device) for name, value in cls.types_in(inputs).items()}
        return cls(model, processor, ids, torch.ones_like(ids) if mask is None else mask.to(ids), sources.rows, types)

    @classmethod
    def from_sequences(cls, processor: Any, sequences: TokenSequences, images: SourceImages, /) -> Prompts:
        """The prompts of a loop's first step: one for each run of rows that share their list of images, the beams of a prompt.

        Parameters
        ----------
        processor : SourceProcessor
        sequences : TokenSequences
            Before any token was generated.
        images : SourceImages
            Of each row; the rows of one prompt have the same list.
        """
        import torch

        processor = processor.made_with(images.options)
        first = [row for row in range(len(images)) if not row or images[row] is not images[row - 1]]
        some = sequences.rows(first)
        mask = torch.ones_like(some.input_ids) if some.attention_mask is None else some.attention_mask
        types = cls.types_in(some.options)
        return cls(sequences.model, processor, some.input_ids, mask, [images[row] for row in first], types)

    @staticmethod
    def types_in(inputs: Mapping[str, Any], /) -> dict[str, torch.Tensor]:
        """The token types among keyword arguments or inputs."""
        return {name: inputs[name] for name in _TYPES if inputs.get(name) is not None}

    @property
    def layout(self) -> ImageTokenLayout:
        """Where the model's family has its image tokens."""
        return image_token_layout(self.model, self.processor)

    def tokens(self) -> ImageTokens:
        """The image tokens of all prompts.

        Raises
        ------
        ValueError
            If their number does not match the images.
        """
        sizes = [[(image.height, image.width) for image in row] for row in self.images]
        return ImageTokens(self.layout, self.input_ids, sizes)

    def pixels(self) -> dict[str, Any]:
        """The model's pixel inputs, made from the images in the same way as those of the inputs; empty if there are no images."""
        return self.processor.encode(self.model, self.images) if any(self.images) else {}

    def encoded(self, rows: Sequence[int], /) -> dict[str, Any]:
        """The image inputs of some prompts, as features where the model takes them."""
        return encoded_images(self.model, self.processor.encode(self.model, [self.images[row] for row in rows]))

    def prepared(self, pixels: dict[str, Any] | None = None, /) -> tuple[TokenSequences, dict[str, Any]]:
        """The prompts as `generate` runs them.

        Parameters
        ----------
        pixels : dict, optional
            Instead of those of the images.

        Returns
        -------
        sequences : TokenSequences
        image : dict
            The image inputs of their first forward pass.
        """
        found: dict[str, Any] = {}

        def take(
            model: Any,
            input_ids: Any,
            logits_processor: Any,
            stopping_criteria: Any,
            generation_config: Any,
            **rest: Any,
        ) -> Any:
            found.update(rest, input_ids=input_ids)
            return input_ids

        self.model.generate(
            input_ids=self.input_ids,
            attention_mask=self.attention_mask,
            **self.types,
            **(self.pixels() if pixels is None else pixels),
            custom_generate=take,
            max_new_tokens=1,
            num_beams=1,
            num_return_sequences=1,
            use_cache=True,
        )
        ids, mask = found.pop("input_ids"), found.pop("attention_mask", None)
        image = image_inputs(self.model, found)
        apart = {cache_name(), "use_cache", *image}
        options = {name: value for name, value in found.items() if name not in apart and value is not None}
        return TokenSequences(self.model, ids, mask, options), image

    def questions(self) -> list[str]:
        """The question of each prompt: its text without images, special tokens and the words of the processor's chat template."""
        tokenizer, template = InTurn(self.processor.tokenizer), getattr(self.processor, "chat_template", None)
        texts = [text.strip() for text in tokenizer.batch_decode(self._words(), skip_special_tokens=True)]
        if not template:
            return texts
        mark = "QUESTION"
        found = []
        for text, row in zip(texts, self.images, strict=True):
            content = [{"type": "image"}] * len(row) + [{"type": "text", "text": mark}]
            turn = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            plain = tokenizer.decode(tokenizer(str(turn))["input_ids"], skip_special_tokens=True).strip()
            before, _, after = plain.partition(mark)
            found.append(text.removeprefix(before.strip()).removesuffix(after.strip()).strip())
        return found

    def without_images(self, *, filler: int | None = None) -> Prompts:
        """The same texts without images.

        Parameters
        ----------
        filler : int, optional
            Token that replaces each image. Default: none; the tokens that wrap an image are removed too.
        """
        instead = [] if filler is None else [filler]
        tokens = [[instead for _ in row] for row in self.images]
        return self._rewritten(tokens, [[] for _ in self.images], wrapped=filler is not None)

    def with_images(self, images: Sequence[Sequence[Sequence[Any]]], /) -> Prompts:
        """The same texts with other images, one or more for each original one.

        Parameters
        ----------
        images : sequence of sequences of sequences of PIL images
            For each prompt and each of its images, the images to show instead.

        Raises
        ------
        ValueError
            If an image changes its number of tokens in a family that writes text between them.
        """
        flat = [[new for instead in row for new in instead] for row in images]
        tokens, changed = [], False
        for old, row, shown in zip(self.images, images, flat, strict=True):
            before, after = self._counts(old), iter(self._counts(shown))
            counts = [[next(after) for _ in instead] for instead in row]
            tokens.append([[token for count in some for token in self._image_run(count)] for some in counts])
            changed |= [[count] for count in before] != counts
        if not changed:
            return replace(self, images=flat)
        return self._rewritten(tokens, flat, wrapped=False)

    # --------------------------------------------------------------------------------------------- token ids

    def _counts(self, images: Sequence[Any]) -> list[int]:
        """Image tokens of each image of one prompt."""
        grids = self.layout.grids
        return [grids((image.height, image.width), len(images))[0] for image in images]

    def _image_run(self, count: int) -> list[int]:
        """The tokens of an additional image, wrapped like the images of the prompts."""
        row = next(row for row, images in enumerate(self.images) if images)
        ids = self.input_ids[row].tolist()
        start, stop = self._spans(ids, self._counts(self.images[row]))[0]
        outer = self._widened(ids, start, stop)
        return ids[outer[0] : start] + [self.layout.image_token_id] * count + ids[stop : outer[1]]

    def _spans(self, ids: list[int], counts: Sequence[int]) -> list[tuple[int, int]]:
        """From the first token of each image to just after its last one."""
        hits = [place for place, token in enumerate(ids) if token == self.layout.image_token_id]
        if len(hits) != sum(counts):
            raise ValueError(
                f"a prompt holds {len(hits)} image tokens, but its images make {sum(counts)}: give the images of each prompt in "
                "prompt order, the same ones that its inputs were made from, and this model's own processor"
            )
        ends = [sum(counts[: i + 1]) for i in range(len(counts))]
        return [(hits[end - count], hits[end - 1] + 1) for count, end in zip(counts, ends, strict=True)]

    def _widened(self, ids: list[int], start: int, stop: int) -> tuple[int, int]:
        """A span with the tokens that wrap it, if they are present on each side that should have some."""
        opening, closing = self.layout.opening, self.layout.closing
        before = _leading(ids[:start][::-1], opening)
        after = _leading(ids[stop:], closing)
        if (opening and not before) or (closing and not after):
            return start, stop
        return start - before, stop + after

    def _rewritten(self, tokens: list[list[list[int]]], images: list[list[Any]], *, wrapped: bool) -> Prompts:
        """Other tokens instead of each image, and instead of what wraps it unless they should be `wrapped`."""
        ids: list[list[int]] = []
        types: dict[str, list[list[int]]] = {name: [] for name in self.types}
        for row, instead in enumerate(tokens):
            here = self.attention_mask[row].bool()
            old = self.input_ids[row][here].tolist()
            counts = self._counts(self.images[row])
            inner = self._spans(old, counts)
            if images[row] and any(stop - start != count for (start, stop), count in zip(inner, counts, strict=True)):
                raise ValueError(
                    f"{self.model.config.model_type} models write text between the tokens of an image, so an image cannot "
                    "change its size within a prompt; use an edit that keeps the image's size"
                )
            spans = inner if wrapped else [self._widened(old, *span) for span in inner]
            ids.append(_replaced(old, spans, instead))
            for name, values in self.types.items():
                kinds = values[row][here].tolist()
                image_kind = next((kinds[start] for start, _ in inner), 0)  # a row without images has none
                new = [[image_kind * (token == self.layout.image_token_id) for token in run] for run in instead]
                types[name].append(_replaced(kinds, spans, new))
        pad = self.processor.tokenizer.pad_token_id or 0
        mask = _left_padded([[1] * len(row) for row in ids], 0, self.input_ids)
        padded_types = {name: _left_padded(rows, 0, self.input_ids) for name, rows in types.items()}
        return Prompts(self.model, self.processor, _left_padded(ids, pad, self.input_ids), mask, images, padded_types)

    def _words(self) -> list[list[int]]:
        """Token ids of each prompt without padding and image tokens."""
        keep = self.attention_mask.bool() & (self.input_ids != self.layout.image_token_id)
        return [ids[some].tolist() for ids, some in zip(self.input_ids, keep, strict=True)]


def continued(sequences: TokenSequences, tokens: torch.Tensor, /) -> TokenSequences:
    """Sequences with more tokens behind: positions count on, and token types go on as in `generate`.

    Parameters
    ----------
    sequences : TokenSequences
    tokens : integer tensor of shape (B, t)
    """
    import torch

    new = tokens.shape[1]
    options = dict(sequences.options)
    extend: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "position_ids": lambda last: last + torch.arange(1, new + 1, device=last.device),
        "token_type_ids": lambda last: last.expand(-1, new),
        "mm_token_type_ids": lambda last: torch.zeros_like(last).expand(-1, new),
        "moe_mm_token_type_ids": lambda last: torch.zeros_like(last).expand(-1, new),
    }
    for name, tail in extend.items():
        if (value := options.get(name)) is not None:
            options[name] = torch.cat([value, tail(value[..., -1:])], dim=-1)
    mask = sequences.attention_mask
    if mask is not None:
        mask = torch.cat([mask, mask.new_ones(tokens.shape)], dim=1)
    ids = torch.cat([sequences.input_ids, tokens], dim=1)
    return replace(sequences, input_ids=ids, attention_mask=mask, options=options)


def _leading(ids: list[int], wrapping: tuple[int, ...]) -> int:
    """How many of the first tokens wrap an image, at most the number that do."""
    here = ids[: len(wrapping)]
    return next((place for place, token in enumerate(here) if token not in wrapping), len(here))


def _replaced(values: list[int], spans: list[tuple[int, int]], instead: list[list[int]]) -> list[int]:
    """A list with other values instead of each span."""
    out, place = [], 0
    for (start, stop), new in zip(spans, instead, strict=True):
        out += [*values[place:start], *new]
        place = stop
    return out + values[place:]


def _left_padded(rows: list[list[int]], fill: int, like: torch.Tensor) -> torch.Tensor:
    width = max(map(len, rows))
    return like.new_tensor([[fill] * (width - len(row)) + row for row in rows])
