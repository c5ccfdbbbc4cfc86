"""Token sequences to run again: whole or from a cache on, with tokens hidden or left out, or with other rows.

Positions are always those of the whole sequence, even if tokens are hidden. This file knows nothing about heatmaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pmtools.adapters.caches import cache_name, cached_tokens, check_filled

if TYPE_CHECKING:
    import torch

_PER_TOKEN = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")


@dataclass(frozen=True)
class TokenSequences:
    """A batch of token sequences with what their forward passes need, images and caches apart.

    Attributes
    ----------
    model : transformers.PreTrainedModel
    input_ids : integer tensor of shape (B, T)
    attention_mask : integer tensor of shape (B, T), optional
        None where nothing is masked.
    options : dict
        Further keyword arguments of `prepare_inputs_for_generation`: positions, token types, logits to keep.
    ended : bool tensor of shape (B,), optional
        Sequences whose answer is complete, so that nobody reads what comes next. None: unknown.
    places : integer tensor of shape (B, T), optional
        Position of each token before some were left out.
    prompt_length : int, optional
        Where answers begin: image tokens after it were written by the model and show nothing. None: there are no
        answers.
    """

    model: Any
    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    options: dict[str, Any]
    ended: torch.Tensor | None = None
    places: torch.Tensor | None = None
    prompt_length: int | None = None

    @property
    def length(self) -> int:
        """Tokens in each sequence, padding included."""
        return self.input_ids.shape[1]

    def run(self, cache: Any, *, image: dict[str, Any] | None = None) -> Any:
        """One forward pass over the tokens that the cache does not hold yet; it fills the cache.

        Parameters
        ----------
        cache : transformers.DynamicCache
            Keys and values of the first tokens; an empty one runs everything.
        image : dict, optional
            Model inputs of the images, if image tokens are among the new ones.

        Returns
        -------
        transformers.ModelOutput
            Logits of the last position.

        Raises
        ------
        ValueError
            If the model keeps another number of tokens than there are.
        """
        if image is not None and self._answers_hold_images():
            # in a separate pass without images they are embedded like words, as when they were written
            self._prompts().run(cache, image=image)
            image = None
        inputs = self.model.prepare_inputs_for_generation(
            self.input_ids,
            next_sequence_length=self.length - cached_tokens(cache),
            attention_mask=self.attention_mask,
            is_first_iteration=image is not None,
            **{cache_name(): cache, **self.options, "use_cache": True},
            **(image or {}),
        )
        if self.places is not None and inputs.get("position_ids") is None:
            inputs["position_ids"] = self.places[:, cached_tokens(cache) :]  # HyperCLOVA X would count them again
        return self.forward({**inputs, "return_dict": True})

    def forward(self, inputs: dict[str, Any], /) -> Any:
        """One forward pass with inputs that are prepared for these sequences.

        Raises
        ------
        ValueError
            If the model keeps another number of tokens than there are.
        """
        output = self.model(**inputs)
        check_filled(self.model, output, self.length)
        return output

    def hiding(self, hidden: torch.Tensor, /) -> TokenSequences:
        """The same sequences with some tokens masked for every query; positions stay.

        Parameters
        ----------
        hidden : bool tensor of shape (B, T)
        """
        return replace(self, attention_mask=self._mask() * ~hidden)

    def at(self, places: torch.Tensor, hidden: torch.Tensor, /) -> TokenSequences:
        """The same sequences with the tokens at some places only, whose positions stay.

        A token that no query may see can be left out.

        Parameters
        ----------
        places : integer tensor of shape (B, T')
            Ascending; -1 pads on the left.
        hidden : bool tensor of shape (B, T)
            Tokens that are masked for every query where they are not left out.
        """
        kept = places.clamp(min=0)
        options = dict(self.options)
        for name in ("position_ids", *_PER_TOKEN):
            if (value := options.get(name)) is not None:
                options[name] = value.gather(-1, kept.expand(*value.shape[:-1], -1))
        mask = (self._mask() * ~hidden).gather(1, kept) * (places >= 0)
        prompt = None if self.prompt_length is None else self.prompt_length - (self.length - kept.shape[1])
        ids = self.input_ids.gather(1, kept)
        return replace(self, input_ids=ids, attention_mask=mask, options=options, places=kept, prompt_length=prompt)

    def rows(self, rows: Sequence[int] | torch.Tensor, /) -> TokenSequences:
        """Some of the sequences, in the order of `rows`; a row may be repeated."""
        import torch

        rows = torch.as_tensor(rows, device=self.input_ids.device)
        options = dict(self.options)
        if (positions := options.get("position_ids")) is not None:  # (B, T), or (axes, B, T) for multimodal positions
            options["position_ids"] = positions.index_select(-2, rows)
        for name in _PER_TOKEN:
            if (value := options.get(name)) is not None:
                options[name] = value[rows]
        mask = None if self.attention_mask is None else self.attention_mask[rows]
        ended = None if self.ended is None else self.ended[rows]
        places = None if self.places is None else self.places[rows]
        return replace(
            self, input_ids=self.input_ids[rows], attention_mask=mask, options=options, ended=ended, places=places
        )

    def with_types_of_words(self) -> TokenSequences:
        """The same sequences with token types up to their end: `generate` appends none for what Ernie 4.5 generates."""
        import torch

        types = {name: self.options[name] for name in _PER_TOKEN if self.options.get(name) is not None}
        missing = {name: self.length - value.shape[-1] for name, value in types.items()}
        whole = {name: torch.nn.functional.pad(types[name], (0, count)) for name, count in missing.items() if count > 0}
        return replace(self, options={**self.options, **whole}) if whole else self

    def with_suffix_type(self, prompt_length: int, token_type: int, /) -> TokenSequences:
        """The same sequences with another token type from `prompt_length` on; unchanged if there are no types."""
        types = self.options.get("token_type_ids")
        if types is None:
            return self
        types = types.clone()
        types[:, prompt_length:] = token_type
        return replace(self, options={**self.options, "token_type_ids": types})

    def is_image(self, image_token_id: int, /) -> torch.Tensor:
        """Which tokens are image tokens, (B, T): those of the prompts, not those that the model wrote."""
        found = self.input_ids == image_token_id
        found[:, self.prompt_length :] &= self.prompt_length is None
        return found

    def _answers_hold_images(self) -> bool:
        token = getattr(self.model.config, "image_token_id", None)
        if self.prompt_length is None or token is None:
            return False
        return bool((self.input_ids[:, self.prompt_length :] == token).any())

    def _prompts(self) -> TokenSequences:
        """The same sequences without their answers."""
        end = self.prompt_length
        cut = {name: self.options[name][..., :end] for name in ("position_ids", *_PER_TOKEN) if name in self.options}
        mask = None if self.attention_mask is None else self.attention_mask[:, :end]
        places = None if self.places is None else self.places[:, :end]
        options = {**self.options, **cut}
        return replace(self, input_ids=self.input_ids[:, :end], attention_mask=mask, options=options, places=places)

    def _mask(self) -> torch.Tensor:
        import torch

        return torch.ones_like(self.input_ids) if self.attention_mask is None else self.attention_mask


def check_padding(attention_mask: Any, /) -> None:
    """Refuse prompts that are padded on the right, where the next token has to go.

    Parameters
    ----------
    attention_mask : integer tensor of shape (B, T), or None
        Of the prompts; None where nothing is masked.

    Raises
    ------
    ValueError
        If the last token of a prompt is masked.
    """
    if attention_mask is not None and not bool(attention_mask[:, -1].all()):
        raise ValueError(
            "`attention_mask` must not end in 0, got prompts padded on the right, where the next token has to go; make the "
            'inputs with the method\'s `processor`, or set `processor.tokenizer.padding_side = "left"` first'
        )
