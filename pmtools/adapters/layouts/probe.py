"""Does a layout tell the truth? Strips of a noise picture are changed, and the image tokens answer.

An answer is a change of what the text model is given for a token. The forward pass is stopped where the text model would
begin, so a round of the probe costs 17 runs of the vision tower and none of the text model.

References
----------
- Occlusion sensitivity: Zeiler and Fergus, [arXiv:1311.2901](https://arxiv.org/abs/1311.2901), section 4.2
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import frames
from pmtools.adapters.image_inputs import input_device
from pmtools.adapters.layouts._asking import Asker, own_processor, question
from pmtools.adapters.layouts._layout import ImageTokenLayout, TokenGrid
from pmtools.typing import Ndarray, SizeHW

if TYPE_CHECKING:
    import torch

#: Least correlation, along each axis, of where tokens are said to lie with where they answer from.
AGREEMENT = 0.9
#: Strips along each axis.
STRIPS = 8
#: At most; a layout that is right passes the first, unless the tower mixes everything.
ROUNDS = 3
_BLOCKS = 32  # blocks of noise along the longer side: coarse enough to outlive the processor's resizing


def probe_layout(
    model: Any,
    processor: Any,
    layout: ImageTokenLayout,
    size_hw: SizeHW,
    /,
    *,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """How well a layout agrees with the model, along x and y.

    For each image token: where its cell is said to lie in the picture, against the centroid of the strips to which it answers.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers processor
        The model's own.
    layout : ImageTokenLayout
        What is tested.
    size_hw : (int, int)
        Of the picture.
    options : mapping, optional
        Of the processor's call.
    seed : int, optional
        Of the noise.

    Returns
    -------
    (float, float)
        Correlation over the tokens along x and along y, in [-1, 1]; 1 for an axis along which all tokens lie alike. A layout that
        tells the truth has at least 0.9 on both, also with random weights; one whose number of tokens is wrong has -1.

    Examples
    --------
    >>> from pmtools.adapters.layouts import image_token_layout
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model("llava")
    >>> processor = tiny_processor(model)
    >>> layout = image_token_layout(model, processor)
    >>> min(probe_layout(model, processor, layout, (90, 120))) > 0.9
    True
    """
    processor, options = own_processor(processor, options)
    ask = Asker(processor, question(model, processor, options), options)
    count, grids = layout.grids(size_hw, 1)
    best = (-1.0, -1.0)
    for found in token_responses(model, ask, size_hw, square=layout.square, seed=seed):
        if count == found.shape[1]:
            best = max(best, agreement(grids, found), key=min)
        if min(best) >= AGREEMENT:
            break
    return best


def token_responses(
    model: Any, ask: Asker, size_hw: SizeHW, /, *, square: bool = False, images: int = 1, seed: int = 0
) -> Iterator[Ndarray]:
    """How strongly each image token answers to each strip: (2, n, strips), x first, squared norms.

    A few rounds, each the sum so far.
    """
    rng = np.random.default_rng(seed)
    total: Ndarray | float = 0.0
    for _ in range(ROUNDS):
        total = total + _one_round(model, ask, size_hw, square, images, rng)
        yield total


def _one_round(model: Any, ask: Asker, size_hw: SizeHW, square: bool, images: int, rng: np.random.Generator) -> Ndarray:
    picture = _noise(rng, size_hw)
    plain = _embedded(model, ask, picture, square, images)
    found = []
    for axis in (1, 0):
        bounds = np.linspace(0, size_hw[axis], STRIPS + 1).round().astype(int)
        strips = []
        for low, high in itertools.pairwise(bounds):
            some = (slice(None),) * axis + (slice(low, high),)
            changed = picture.copy()
            changed[some] = _noise(rng, size_hw)[some]
            strips.append(((_embedded(model, ask, changed, square, images) - plain) ** 2).sum(1))
        found.append(np.stack(strips, 1))
    answers: Ndarray = np.stack(found)
    answers /= answers.mean()  # rounds count alike
    return answers


def agreement(grids: Sequence[TokenGrid], responses: Ndarray, /) -> tuple[float, float]:
    """Correlations, along x and y, of where the tokens of `grids` lie with the centroids of what they answer to.

    Parameters
    ----------
    grids : sequence of TokenGrid
    responses : array of shape (2, n, strips)
        From `token_responses`.
    """
    places = [place for grid in grids for place in grid.places()]
    if max(places) >= responses.shape[1]:
        return -1.0, -1.0
    centres = np.array([centre for grid in grids for centre in _centres(grid)])  # (tokens, 2), x first
    inside = ((centres > 0) & (centres < 1)).all(1)
    x, y = (
        _correlation(centres[inside, axis], _centroids(responses[axis])[places][inside]) if inside.any() else -1.0
        for axis in (0, 1)
    )
    return x, y


def _centres(grid: TokenGrid) -> list[tuple[float, float]]:
    (rows, columns), (x0, y0, x1, y1) = grid.shape_hw, grid.box_xyxy
    return [
        (x0 + (column + 0.5) * (x1 - x0) / columns, y0 + (row + 0.5) * (y1 - y0) / rows)
        for row in range(rows)
        for column in range(columns)
    ]


def _centroids(responses: Ndarray) -> Ndarray:
    """Where along one axis each token answers from, in [0, 1]: (n, strips) to (n,)."""
    shared = np.quantile(responses, 0.25, axis=0)  # what every token takes from a strip, through the tower's attention
    own = np.clip(responses - shared, 0, None)
    strips = responses.shape[1]
    found: Ndarray = own @ ((np.arange(strips) + 0.5) / strips) / np.maximum(own.sum(1), np.finfo(float).tiny)
    return found


def _correlation(expected: Ndarray, measured: Ndarray) -> float:
    if np.ptp(expected) < 1e-6:
        return 1.0
    if np.ptp(measured) < 1e-6:
        return 0.0
    return float(np.corrcoef(expected, measured)[0, 1])


def _noise(rng: np.random.Generator, size_hw: SizeHW) -> Ndarray:
    block = max(1, round(max(size_hw) / _BLOCKS))
    small = rng.integers(0, 256, (-(-size_hw[0] // block), -(-size_hw[1] // block), 3), dtype=np.uint8)
    found: Ndarray = small.repeat(block, 0).repeat(block, 1)[: size_hw[0], : size_hw[1]]
    return found


# ------------------------------------------------------------------------------------ what the text model is given


class _Stopped(Exception):
    """The text model was about to begin."""


def _embedded(model: Any, ask: Asker, picture: Ndarray, square: bool, images: int) -> Ndarray:
    """What the text model is given for each image token of a picture, the first of several equal ones: (n, width)."""
    from PIL import Image

    canvas = frames.pad_to_square(picture.shape[:2]).image(picture, fill=(127, 127, 127)) if square else picture
    inputs = ask([Image.fromarray(canvas)] * images).inputs
    places = (inputs["input_ids"][0] == ask.token).nonzero()[:, 0]
    places = places[: len(places) // images]
    found: Ndarray = text_inputs(model, inputs)[0][places].double().cpu().numpy()
    return found


def text_inputs(model: Any, inputs: Mapping[str, Any], /) -> torch.Tensor:
    """What the text model is given for a prompt: the embeddings of words and images, (B, T, width) on the CPU."""
    import torch

    found: list[torch.Tensor] = []

    def stop(module: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        embeddings = keywords.get("inputs_embeds")
        if embeddings is not None:
            found.append(embeddings.detach().float().cpu())
            raise _Stopped

    device, taken = input_device(model), inspect.signature(model.forward).parameters
    taken_all = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in taken.values())
    moved = {}
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor) and (taken_all or name in taken):
            moved[name] = value.to(device, model.dtype if value.is_floating_point() else None)
    hook = model.get_decoder().register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            model(**moved)
    except _Stopped:
        return found[0]
    finally:
        hook.remove()
    raise ValueError(
        f"the text model of a {type(model).__name__} is given no embeddings, so that no probe can tell its tokens"
    )
