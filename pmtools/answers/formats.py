"""How each family of models writes places: where to look for them, and what the numbers count.

One row each. A number `v` stands at `(v + offset) / scale` of the image along its axis; with `scale` None it counts pixels of
the image that the model was shown, after its own resizing.

References
----------
- Qwen2-VL, [arXiv:2409.12191](https://arxiv.org/abs/2409.12191); Qwen2.5-VL, [arXiv:2502.13923](https://arxiv.org/abs/2502.13923)
- DeepSeek-VL2, [arXiv:2412.10302](https://arxiv.org/abs/2412.10302); PaliGemma, [arXiv:2407.07726](https://arxiv.org/abs/2407.07726)
- Florence-2, [arXiv:2311.06242](https://arxiv.org/abs/2311.06242); Kosmos-2, [arXiv:2306.14824](https://arxiv.org/abs/2306.14824)
- Molmo, [arXiv:2409.17146](https://arxiv.org/abs/2409.17146); UI-TARS, [arXiv:2501.12326](https://arxiv.org/abs/2501.12326)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pmtools import _checks
from pmtools.answers import marked
from pmtools.answers.places import Finder
from pmtools.answers.structured import Structured

_JSON = (Structured,)
_BARE = (partial(Structured, bare=frozenset({"[4", "[2", "(4", "(2"})),)
_BOX_JSON = 'Answer with JSON alone: [{{"bbox_2d": [x0, y0, x1, y1]}}], {units}.'


@dataclass(frozen=True)
class Format:
    """How a model writes places. Make another with `dataclasses.replace(FORMATS["json"], scale=1)`.

    Attributes
    ----------
    finders : tuple of callables
        Each makes a finder for one text.
    scale : int or None
        What the far edges of the image are called; None where the numbers are pixels.
    offset : float
        Added to a number before it is divided by `scale`: 0.5 where it names a bin by its index.
    tokens : bool
        Whether the places are tokens or cells of a grid, which cannot hold any other number.
    multiple : int
        Sides of the image that the model sees are multiples of this many pixels, as its processor makes them.
    box_instruction : str
        How to ask the model for a box.
    """

    finders: tuple[Callable[[], Finder], ...]
    scale: int | None = None
    offset: float = 0.0
    tokens: bool = False
    multiple: int = 1
    box_instruction: str = _BOX_JSON.format(units="in pixels of the image")


_THOUSANDTHS = _BOX_JSON.format(units="in thousandths of its width and height, 0 to 1000")

#: Every format by its name.
FORMATS: dict[str, Format] = {
    # {"bbox_2d": [x0, y0, x1, y1]} in pixels of the resized image
    "qwen2.5-vl": Format(_JSON, multiple=28),
    # <|box_start|>(x0,y0),(x1,y1)<|box_end|>, its tokens kept or skipped
    "qwen2-vl": Format(
        (marked.pairs, partial(Structured, lists="[")),
        scale=1000,
        multiple=28,
        box_instruction="Answer with its bounding box, (x0,y0),(x1,y1), in thousandths of the image, 0 to 1000.",
    ),
    "qwen3-vl": Format(_JSON, scale=1000, multiple=32, box_instruction=_THOUSANDTHS),
    # {"box_2d": [y0, x0, y1, x1]}, {"point": [y, x]}, but polygons {"mask": [[x, y], ...]}
    "gemini": Format(
        (partial(Structured, order="yx", orders={"mask": "xy"}),),
        scale=1000,
        box_instruction='Answer with JSON alone: [{"box_2d": [y0, x0, y1, x1]}], normalized to 0-1000.',
    ),
    # <|det|>[[x0, y0, x1, y1], ...]<|/det|>
    "deepseek-vl": Format(
        _JSON, scale=999, box_instruction="Answer with its bounding box, [[x0, y0, x1, y1]], each number from 0 to 999."
    ),
    # <loc0123><loc0123><loc0123><loc0123> label
    "paligemma": Format(
        (partial(marked.location_tokens, r"<loc(\d{4})>", "<loc{:04d}>", "yx", most=1023, length=9),),
        scale=1024,
        tokens=True,
        box_instruction="detect it",
    ),
    # label<loc_52><loc_332><loc_932><loc_774>
    "florence-2": Format(
        (partial(marked.location_tokens, r"<loc_(\d{1,3})>", "<loc_{:d}>", "xy", most=999, length=9),),
        scale=1000,
        offset=0.5,
        tokens=True,
        box_instruction="Where is it?",
    ),
    # <object><patch_index_0044><patch_index_0863></object>
    "kosmos-2": Format((marked.patch_tokens,), scale=32, tokens=True, box_instruction="Where is it?"),
    # <point x="61.5" y="40.4" alt="...">...</point>
    "molmo": Format((marked.point_tags,), scale=100, box_instruction="Point to it."),
    # click(start_box='(x,y)'), click(point='<point>x y</point>')
    "ui-tars": Format((marked.action_arguments,), scale=1000, multiple=28, box_instruction="Click on it."),
    "ui-tars-1.5": Format((marked.action_arguments,), multiple=28, box_instruction="Click on it."),
    # {"action": "left_click", "coordinate": [x, y]}, {"type": "click", "x": 1, "y": 2}, pyautogui.click(x=1, y=2), (x, y)
    "computer-use": Format(_BARE),
    # (0.12, 0.08, 0.25, 0.11), [0.18, 0.1]: what tasks ask for in words, with or without keys
    "fractions": Format(_BARE, scale=1, box_instruction=_BOX_JSON.format(units="in fractions of the image, 0 to 1")),
    # the same, 0 to 1000
    "thousandths": Format(_BARE, scale=1000, box_instruction=_THOUSANDTHS),
    # any JSON with the usual keys, in pixels of the image that was sent
    "json": Format(_JSON),
}


def named(value: str | Format, name: str = "format") -> Format:
    """The format of a name, or the one given.

    Raises
    ------
    ValueError
        If there is no format of that name.
    """
    return value if isinstance(value, Format) else FORMATS[_checks.choice(value, name, FORMATS)]
