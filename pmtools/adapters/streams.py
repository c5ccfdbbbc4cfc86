"""Streams that are kept for the time of a call: a sequence that begins like one that was run goes on from there.

In models that read from left to right, keys and values of a token depend on the pictures, on the tokens before it, and on
which of those are hidden: on nothing that follows. So a sequence with the same tokens hidden costs the tokens that are new
since it was run last, and any other one what follows the first token in which it differs.

This file knows nothing about heatmaps or decoding methods.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pmtools.adapters.caches import (
    cache_rows,
    cached_rows,
    cached_tokens,
    can_be_cut,
    empty_cache,
    fork,
    has_recurrence,
    joined_caches,
    single_caches,
)
from pmtools.adapters.image_inputs import kept_features, takes_features
from pmtools.adapters.layouts import ImageTokenLayout
from pmtools.adapters.sequences import TokenSequences

if TYPE_CHECKING:
    import torch

    from pmtools.typing import Array

#: `images(rows)` makes the image inputs of some of the sequences.
RowImages = Callable[[list[int]], dict[str, Any]]

_HIDDEN = -1  # in the place of a token's id


@dataclass(frozen=True, eq=False)
class Original:
    """The original stream of some sequences, which others may begin with.

    Attributes
    ----------
    sequences : TokenSequences
    cache : transformers.DynamicCache
        Of all their tokens; not changed.
    first : int
        The first column that belongs to an image, in any row.
    owners : sequence of hashables
        What tells the prompt of each sequence from the others, images included; beams share it.
    """

    sequences: TokenSequences
    cache: Any
    first: int
    owners: Sequence[Hashable]

    @property
    def prompt_length(self) -> int:
        """Where answers begin."""
        return self.sequences.length if self.sequences.prompt_length is None else self.sequences.prompt_length


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the sequences, for one forward pass.

    Attributes
    ----------
    rows : list of int
        Which of the sequences.
    sequences : TokenSequences
        Those, perhaps without hidden tokens.
    kept : integer tensor of shape (rows, K)
        Where the tokens of `sequences` were; -1 pads on the left.
    start : transformers.DynamicCache
        The first of them; the pass fills it.
    image : dict, optional
        Image inputs of the tokens that are run.
    runs_on : bool
        Whether nothing is run but tokens that are new since the streams were used last.
    """

    rows: list[int]
    sequences: TokenSequences
    kept: torch.Tensor
    start: Any
    image: dict[str, Any] | None
    runs_on: bool
    _streams: Sequence[tuple[Hashable, Array]]

    def run(self) -> Any:
        """The forward pass: its output, with the logits of the last position."""
        return self.sequences.run(self.start, image=self.image)


@dataclass(frozen=True, eq=False)
class _Stream:
    owner: Hashable
    tokens: Array  # (T,), the id of every token, or _HIDDEN
    places: torch.Tensor  # (n,), those that the cache holds: hidden ones may have been left out
    cache: Any  # of one row; None: the original stream's


class KeptStreams:
    """The streams that were used last, a bounded number of them.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    layout : ImageTokenLayout
    limit : int
        How many, each of one sequence. One takes as much memory as a row of the original stream's cache, less for
        tokens that are left out.
    """

    def __init__(self, model: Any, layout: ImageTokenLayout, limit: int, /) -> None:
        self.model, self.layout, self.limit = model, layout, limit
        self._streams: list[_Stream] = []  # the one used last is the last

    def parts(
        self,
        original: Original,
        rows: Sequence[int],
        images: RowImages,
        /,
        *,
        hidden: torch.Tensor | None = None,
        pictures: Sequence[Hashable] | None = None,
    ) -> Iterator[Part]:
        """Some sequences, each from the longest start that is known, in as few passes as possible.

        Parameters
        ----------
        original : Original
        rows : sequence of int
            Which of its sequences.
        images : callable
            Makes the image inputs of some of them, when they are needed.
        hidden : bool tensor of shape (B, T), optional
            Tokens of the prompts that no query may see.
        pictures : sequence of hashables, optional
            What tells the pictures of each sequence from others. Default: the original stream's.

        Yields
        ------
        Part
            To be run, and then given to `keep`.
        """
        ids = original.sequences.input_ids
        plain = ids.cpu().numpy()
        tokens = plain if hidden is None else ids.masked_fill(hidden, _HIDDEN).cpu().numpy()
        streams = [((owner, pictures and pictures[row]), tokens[row]) for row, owner in enumerate(original.owners)]
        starts = {row: self._start(*streams[row], original.prompt_length) for row in rows}
        new = [row for row in rows if starts[row][0] < original.prompt_length]
        for length in sorted({starts[row][0] for row in rows if row not in new}):
            some = [row for row in rows if starts[row][0] == length]
            places, start = self._begun(original, some, length, [starts[row][1] for row in some])
            yield self._part(original, some, places, length, start, streams, hidden)
        if new:
            whole = self.layout.prefix_reuse and can_be_cut(original.cache)
            for row in new:
                length = min(_alike(plain[row], tokens[row]), len(tokens[row]) - 1) if whole else 0
                if length >= starts[row][0]:
                    starts[row] = length, None
            yield self._new_part(original, new, starts, streams, hidden, images(new), pictures is None)

    def keep(self, part: Part, cache: Any, /) -> None:
        """Keep the streams of a part that was run.

        Parameters
        ----------
        part : Part
        cache : transformers.DynamicCache
            That of the pass.
        """
        if not self.limit or has_recurrence(cache):
            return
        pads = (part.kept < 0).sum(-1).tolist()
        singles = single_caches(cache, pads)
        for (owner, tokens), kept, pad, single in zip(part._streams, part.kept, pads, singles, strict=True):
            older = [item for item in self._streams if item.owner == owner and _begins(tokens, item.tokens)]
            self._streams = [item for item in self._streams if item not in older]
            self._streams.append(_Stream(owner, tokens, kept[pad:], single))
        del self._streams[: -self.limit]

    # ---------------------------------------------------------------------------------------------------- starts

    def _start(self, owner: Hashable, tokens: Array, prompt_length: int) -> tuple[int, _Stream | None]:
        """How many of the first tokens a kept stream holds, at most, and which."""
        found: tuple[int, _Stream | None] = 0, None
        for stream in self._streams:
            if stream.owner != owner:
                continue
            length = min(_alike(stream.tokens, tokens), len(tokens) - 1)  # the last one is to be run
            usable = length == len(stream.tokens) or can_be_cut(stream.cache)
            if usable and length > found[0] and (self.layout.prefix_reuse or length >= prompt_length):
                found = length, stream
        return found

    def _begun(
        self, original: Original, rows: list[int], length: int, streams: list[_Stream | None]
    ) -> tuple[list[torch.Tensor], Any]:
        """For each row the places before `length` that are not run again, and a cache that holds them."""
        import torch

        if not length:
            nothing = torch.zeros(0, dtype=torch.long, device=original.sequences.input_ids.device)
            return [nothing] * len(rows), empty_cache(self.model)
        begin = torch.arange(length, device=original.sequences.input_ids.device)
        places = [begin if stream is None else stream.places[stream.places < length] for stream in streams]
        own = fork(original.cache, length) if any(stream is None for stream in streams) else None
        if all(stream is None for stream in streams):
            return places, own if len(rows) == cached_rows(own) else cache_rows(own, rows)
        caches = [
            cache_rows(own, [row]) if stream is None else fork(stream.cache, len(some))
            for row, stream, some in zip(rows, streams, places, strict=True)
        ]
        return places, joined_caches(caches)

    # ----------------------------------------------------------------------------------------------------- parts

    def _new_part(
        self,
        original: Original,
        rows: list[int],
        starts: dict[int, tuple[int, _Stream | None]],
        streams: Sequence[tuple[Hashable, Array]],
        hidden: torch.Tensor | None,
        image: dict[str, Any],
        same_pictures: bool,
    ) -> Part:
        """Sequences that are run from some token of the prompt on."""
        import torch

        length = min(starts[row][0] for row in rows)
        is_image = original.sequences.rows(rows).is_image(self.layout.image_token_id)
        count = int(is_image.sum())

        def features(flags: torch.Tensor) -> dict[str, Any] | None:
            return kept_features(image, flags[is_image].nonzero()[:, 0], count)

        # a token that no query may see can be left out, and those that are known too, if each image token has a feature
        apart = self.layout.prefix_reuse and same_pictures and takes_features(self.model)
        apart = apart and features(torch.ones_like(is_image)) is not None
        length = length if apart else min(length, original.first)
        places, start = self._begun(original, rows, length, [starts[row][1] for row in rows])
        part = self._part(original, rows, places, length, start, streams, hidden, leave_out=apart)
        if apart:
            run = part.kept[:, cached_tokens(start) :]
            image = features(torch.zeros_like(is_image).scatter(1, run, True))  # type: ignore[assignment]
        return replace(part, image=image, runs_on=False)

    def _part(
        self,
        original: Original,
        rows: list[int],
        begun: list[torch.Tensor],
        length: int,
        start: Any,
        streams: Sequence[tuple[Hashable, Array]],
        hidden: torch.Tensor | None,
        *,
        leave_out: bool = False,
    ) -> Part:
        """The sequences from `length` on, behind the places that are begun.

        Every row loses as many of its hidden tokens there as the row with the fewest; the others stay, and are masked.
        """
        import torch

        sequences = original.sequences.rows(rows)
        ids = sequences.input_ids
        dark = torch.zeros_like(ids, dtype=torch.bool) if hidden is None else hidden[rows]
        gone = dark[:, length:] & leave_out
        gone &= gone.cumsum(-1) <= gone.sum(-1).min()
        rest = (~gone).nonzero()[:, 1].reshape(len(rows), -1) + length
        width = max(map(len, begun))
        heads = [torch.nn.functional.pad(places, (width - len(places), 0), value=-1) for places in begun]
        kept = torch.cat([torch.stack(heads), rest], dim=1)
        if kept.shape[1] < ids.shape[1] or any(len(places) < length for places in begun):  # some are left out
            sequences = sequences.at(kept, dark)
        elif hidden is not None:
            sequences = sequences.hiding(dark)
        return Part(rows, sequences, kept, start, None, True, [streams[row] for row in rows])


def _alike(one: Array, other: Array) -> int:
    """How many tokens two sequences begin with in common."""
    count = min(len(one), len(other))
    differ = one[:count] != other[:count]
    return int(differ.argmax()) if differ.any() else count


def _begins(tokens: Array, start: Array) -> bool:
    return _alike(tokens, start) == len(start)
