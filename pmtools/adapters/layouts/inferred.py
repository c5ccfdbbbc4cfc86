"""The layout of any family, from what its processor does and how its model answers.

1. The processor is given a picture of colour ramps: its pixels say what the vision tower is shown, its prompt how many tokens
   there are.
2. What is shown and their number leave a few grids.
3. The probe says which of them is true, once for each kind of picture: shown whole, or in several views. Where tests have
   probed a family already, the plainest is.

Knows no family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from pmtools.adapters.layouts._asking import Asked, Asker, Question, question, token_ids
from pmtools.adapters.layouts._layout import ImageTokenLayout, TokenGrid
from pmtools.adapters.layouts._reading import Reading, readings
from pmtools.adapters.layouts._views import Colours, View, blank, ramps, views
from pmtools.adapters.layouts.probe import AGREEMENT, agreement, token_responses
from pmtools.typing import Ndarray, SizeHW

#: The documentation's page of families, which errors name.
PAGE = 'the page "Supported models" of the documentation (docs/reference/supported_models.md)'
#: Sizes of pictures that are remembered before all are forgotten: a server is sent pictures of any size.
MOST_SIZES = 4096


@dataclass
class _Findings:
    """What was found of one processor with one set of settings, for one model; holds neither."""

    question: Question
    colours: Colours
    readings: dict[str, Reading] = field(default_factory=dict)
    grids: dict[tuple[SizeHW, int], tuple[int, list[TokenGrid]]] = field(default_factory=dict)


#: By text model, then by tokenizer, which copies of a processor share, then by settings; it goes with either of the first two.
_found: WeakKeyDictionary[Any, WeakKeyDictionary[Any, dict[str, _Findings]]] = WeakKeyDictionary()


class InferredGrids:
    """`grids` of a layout, asked of the processor and remembered for each size.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers processor
    options : mapping
        Of the processor's calls.
    square : bool
        Images are padded to a square before the processor sees them.
    proven : bool
        Tests have found this family's tokens in the order in which its vision tower is shown the picture.
    """

    def __init__(
        self, model: Any, processor: Any, options: Mapping[str, Any], *, square: bool, proven: bool = False
    ) -> None:
        self.model, self.processor, self.options, self.square = model, processor, options, square
        self.proven = proven
        known = _found.setdefault(model.get_decoder(), WeakKeyDictionary()).setdefault(processor.tokenizer, {})
        key = repr((token_ids(model, processor), sorted(options.items()), _settings(processor)))
        if key not in known:
            try:
                asked = question(model, processor, options)
                ask = Asker(processor, asked, options)
                known[key] = _Findings(asked, Colours.of(lambda picture: ask([picture]).inputs))
            except ValueError as reason:
                raise self._refused(str(reason)) from reason
        self.findings = known[key]
        self.ask = Asker(processor, self.findings.question, options)

    def __call__(self, size_hw: SizeHW, images: int, /) -> tuple[int, list[TokenGrid]]:
        """The tokens of an image, and its grids."""
        key = (size_hw[0], size_hw[1]), min(images, 2)  # a prompt has one image, or several
        known = self.findings.grids
        found = known.get(key)
        if found is None:
            if len(known) >= MOST_SIZES:
                known.clear()
            found = known[key] = self._grids(*key)
        return found

    def _grids(self, size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        canvas_hw = (max(size_hw), max(size_hw)) if self.square else size_hw
        shown, tokens, runs = self._shown(self.ask([ramps(canvas_hw)] * images), images, canvas_hw)
        if self.square:
            shown = [View(view.shape_hw, _uncentred(view.box_xyxy, size_hw), view.in_patches) for view in shown]
        kind = _kind(shown)
        known = self.findings.readings
        if kind not in known:
            known[kind] = self._probed(size_hw, images, shown, tokens, runs)
        grids = known[kind].grids(shown, tokens, runs)
        if grids is None:
            raise self._refused(f"{_described(shown, tokens, runs)}, which is not how other {kind} are read")
        return tokens, grids

    def _shown(self, asked: Asked, images: int, size_hw: SizeHW) -> tuple[list[View], int, list[int]]:
        """The views, the number of tokens and the lengths of their runs, of one of equal images."""
        total, runs = asked.ids.count(self.ask.token), [length for _, length in asked.runs(self.ask.token)]
        try:
            shown = views(
                self.findings.colours, asked.inputs, images, black=lambda: self.ask([blank(size_hw)] * images).inputs
            )
        except ValueError as reason:
            raise self._refused(str(reason)) from reason
        if total % images or len(shown) % images or not shown:
            raise self._refused(f"{images} equal pictures make {len(shown)} views and {total} tokens")
        tokens = total // images
        apart = len(runs) % images == 0 and sum(runs[: len(runs) // images]) == tokens
        return shown[: len(shown) // images], tokens, runs[: len(runs) // images] if apart else [tokens]

    def _probed(self, size_hw: SizeHW, images: int, shown: list[View], tokens: int, runs: list[int]) -> Reading:
        """The one way to read the tokens that the model agrees with."""
        groups = [group for group in readings(shown, tokens, runs) if group]
        if self.proven and groups and groups[0][0][0] == Reading():
            return Reading()
        best, count = -1.0, sum(map(len, groups))
        rounds = token_responses(self.model, self.ask, size_hw, square=self.square, images=images) if groups else ()
        for answers in self._answers(rounds):
            for group in groups:
                scores = [min(agreement(grids, answers)) for _, grids in group]
                best = max(best, *scores)
                if max(scores) >= AGREEMENT:
                    return group[scores.index(max(scores))][0]
        why = (
            f"of {count} ways to read them the model agrees with none (correlation {best:.2f} at best, not {AGREEMENT})"
        )
        raise self._refused(f"{_described(shown, tokens, runs)}; " + (why if count else "they make no grid"))

    def _answers(self, rounds: Iterable[Ndarray]) -> Iterator[Ndarray]:
        try:
            yield from rounds
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as reason:
            raise ValueError(
                f"`processor` must be one that was made for {self.model.config.model_type} models, got a "
                f"{type(self.processor).__name__}, whose inputs this one does not take ({type(reason).__name__}: {reason}); load "
                "both from the same place"
            ) from reason

    def _refused(self, reason: str) -> ValueError:
        family = self.model.config.model_type
        return ValueError(
            f"`model` must be of a family whose image tokens can be placed in the image, got {family!r}: {reason}. See {PAGE}, "
            "or write a function (config, image_processor) -> ImageTokenLayout that says how many tokens an image of a given "
            f"size has and which part of it each covers, and put it into pmtools.adapters.layouts.LAYOUTS[{family!r}]"
        )


def inferred(
    model: Any, processor: Any, options: Mapping[str, Any], /, *, proven: bool = False, **facts: Any
) -> ImageTokenLayout:
    """The layout of a model, whatever its family.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers processor
    options : mapping
        Of the processor's calls.
    proven : bool, optional
        Whether the plainest way to read its tokens needs no probe.
    **facts
        Fields of `ImageTokenLayout` that are known already.

    Raises
    ------
    ValueError
        If no prompt with an image can be made; `grids` raises it where they cannot be told.
    """
    grids = InferredGrids(model, processor, options, square=facts.get("square", False), proven=proven)
    asked = grids.findings.question
    return ImageTokenLayout(asked.token, grids, **{"opening": asked.opening, "closing": asked.closing, **facts})


def _settings(processor: Any) -> str:
    """What a processor's results may depend on, in words."""
    plain = {name: value for name, value in vars(processor).items() if isinstance(value, str | int | float | bool)}
    return repr((sorted(plain.items()), sorted(vars(processor.image_processor).items())))


def _kind(shown: list[View]) -> str:
    return f"{'patches' if shown[0].in_patches else 'pixels'} in {'one view' if len(shown) == 1 else 'several views'}"


def _uncentred(box: tuple[float, float, float, float], size_hw: SizeHW) -> tuple[float, float, float, float]:
    """A box in fractions of the padded square as one in fractions of the image in its middle."""
    (height, width), side = size_hw, max(size_hw)
    left, top = (side - width) // 2, (side - height) // 2
    x0, y0, x1, y1 = box
    return (
        (x0 * side - left) / width,
        (y0 * side - top) / height,
        (x1 * side - left) / width,
        (y1 * side - top) / height,
    )


def _described(shown: list[View], tokens: int, runs: list[int]) -> str:
    shapes = ", ".join(sorted({f"{height} x {width}" for height, width in (view.shape_hw for view in shown)}))
    unit = "patches" if shown[0].in_patches else "pixels"
    lengths = ", ".join(map(str, sorted(set(runs))))
    return f"{len(shown)} views of {shapes} {unit} and {tokens} tokens in runs of {lengths}"
