"""Which attention heads of a model look at what is asked about, and which tokens it looks at whatever is asked.

From questions about pictures with known boxes. Heads are ranked on one half of the questions; how many of them count, or
the first layer that does, is chosen on the other half. Knows no benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pmtools import heatmaps
from pmtools.adapters.attention import capture_attention, heat_layers
from pmtools.adapters.caches import empty_cache
from pmtools.adapters.image_inputs import encoded_images
from pmtools.adapters.interception import attention_layers, text_decoder
from pmtools.evaluation.model_answers import ModelAnswers
from pmtools.typing import Ndarray

__all__ = ["Calibration", "Look", "PointingScores", "calibrate", "look_at", "score"]

#: How many heads a map may be made of.
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
#: A token is a sink if it gets this many times the mean, in pictures whose boxes are elsewhere; it needs so many pictures.
SINK, PICTURES = 5.0, 12
#: Least share of the attention that counts, so that one look at nothing does not decide alone.
LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class Look:
    """What a model attended to, asked one question about one picture.

    Attributes
    ----------
    maps : array of shape (layers, heads, h, w)
        Of every head that tells where the model looks; float16.
    inside : array of shape (h, w)
        How much of each cell is in the boxes, as `pmtools.heatmaps.from_boxes` has it; not all zeros.
    """

    maps: Ndarray
    inside: Ndarray


@dataclass(frozen=True)
class PointingScores:
    """How well maps point at boxes, over several looks.

    Attributes
    ----------
    inside : float
        Mean share of the attention that is in the boxes.
    times_area : float
        How many times the boxes' share of the picture that is: geometric mean. 1 is chance.
    pointing : float
        Share of maps whose greatest cell meets a box.
    """

    inside: float
    times_area: float
    pointing: float


@dataclass(frozen=True)
class Calibration:
    """What was found.

    Attributes
    ----------
    settings : dict
        `start_layer`, `heads` and `sinks`: arguments of `PerceptionMagnifier`, ready for JSON.
    chosen, auto : PointingScores
        Of these settings, and of those that hold without any, on the half that was not ranked by.
    candidates : list of (dict, PointingScores)
        Everything that was compared there.
    looks : int
        Questions with boxes that were asked.
    """

    settings: dict[str, Any]
    chosen: PointingScores
    auto: PointingScores
    candidates: list[tuple[dict[str, Any], PointingScores]]
    looks: int


def calibrate(
    answers: ModelAnswers,
    items: Sequence[Any],
    /,
    *,
    batch_size: int = 8,
    progress: Callable[[int], object] | None = None,
) -> Calibration:
    """Find the heads, the first layer and the sinks of a model.

    Parameters
    ----------
    answers : ModelAnswers
        The model, its processor, and the text that goes with an item.
    items : sequence
        With `index`, `image` and `relevant_boxes_xyxy` (pixels); those without boxes are left out. Two hundred are enough for a
        model of a few hundred heads.
    batch_size : int, optional
    progress : callable, optional
        Called with the number of items done since the last call.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If fewer than four items have boxes, or the model has no layer that tells where it looks.
    """
    layers, looks = look_at(answers, items, batch_size=batch_size, progress=progress)
    if len(looks) < 4:
        raise ValueError(f"`items` must hold at least four questions with boxes in their pictures, got {len(looks)}")
    ranked_by, chosen_by = looks[::2], looks[1::2]
    sinks = _sinks(looks)
    for look in looks:
        _drop(look.maps, sinks)
    ranking = _ranking(ranked_by, layers)
    settings: dict[str, Any] = {"sinks": [list(place) for place in sinks]}
    deep = [{"start_layer": layer + 1, "heads": "max", **settings} for layer in layers]
    few = [{"start_layer": "auto", "heads": ranking[:k], **settings} for k in COUNTS if k <= len(ranking)]
    candidates = [(each, score(chosen_by, _maps_by(each, layers))) for each in [*few, *deep]]
    best, found = max(candidates, key=lambda pair: pair[1].times_area)
    auto = score(chosen_by, _maps_by({"start_layer": "auto", "heads": "max"}, layers))
    return Calibration(best, found, auto, candidates, len(looks))


def look_at(
    answers: ModelAnswers,
    items: Sequence[Any],
    /,
    *,
    batch_size: int = 8,
    progress: Callable[[int], object] | None = None,
) -> tuple[list[int], list[Look]]:
    """Ask the questions whose boxes are known, and keep what every head of the last token attends to.

    Parameters
    ----------
    answers, items, batch_size, progress
        As in `calibrate`.

    Returns
    -------
    list of int, list of Look
        The 0-based layers, and a look for each item with boxes.
    """
    import torch

    model = answers.model
    looks: list[Look] = []
    layers: list[int] = []
    for start in range(0, len(items), batch_size):
        batch = [item for item in items[start : start + batch_size] if len(item.relevant_boxes_xyxy)]
        if batch:
            prompts = answers.prompts(batch)
            layers = list(prompts.layout.heat_layers or attention_layers(text_decoder(model)))
            tokens = prompts.tokens()
            sequences, pixels = prompts.prepared()
            with torch.no_grad(), capture_attention(model, tokens.columns, layers=layers, heads=True) as tap:
                sequences.run(empty_cache(model), image=encoded_images(model, pixels))
            mass = tap.head_maps.flatten(1, 2) * tokens.coverage[:, None]  # (rows, layers * heads, n)
            found = [tokens.heatmaps(mass[:, head]) for head in range(mass.shape[1])]
            for row, item in enumerate(batch):
                maps = torch.stack([heads[row][0] for heads in found]).cpu().numpy()
                looks.append(_look(maps.reshape(len(layers), -1, *maps.shape[1:]), item))
        if progress:
            progress(min(batch_size, len(items) - start))
    return layers, looks


def score(looks: Sequence[Look], maps: Callable[[Look], Ndarray], /) -> PointingScores:
    """How well the maps that are made of looks point at the boxes.

    Parameters
    ----------
    looks : sequence of Look
    maps : callable
        Returns a map of shape (h, w) for a look.

    Returns
    -------
    PointingScores
    """
    rows = np.stack([_scores(maps(look)[None], look.inside)[:, 0] for look in looks])
    inside, times, pointing = rows.mean(0)
    return PointingScores(float(inside), float(np.exp(times)), float(pointing))


def _look(maps: Ndarray, item: Any) -> Look:
    (height, width), image = maps.shape[-2:], item.image
    cells = np.asarray(item.relevant_boxes_xyxy, float) * np.tile([width / image.width, height / image.height], 2)
    try:
        inside = heatmaps.from_boxes(cells, source_hw=(height, width), grid_hw=(height, width))
    except ValueError:
        raise ValueError(
            f"the boxes of question {item.index} must touch its picture of {image.width} x {image.height} pixels, got "
            f"{np.asarray(item.relevant_boxes_xyxy).tolist()}; are they in pixels, x before y?"
        ) from None
    return Look(maps.astype(np.float16), inside)


def _scores(maps: Ndarray, inside: Ndarray) -> Ndarray:
    """Of maps (n, h, w): share inside, log of that over the area, and whether they point: (3, n)."""
    flat, cells = maps.reshape(len(maps), -1).astype(float), inside.ravel()
    share = flat @ cells / np.maximum(flat.sum(1), 1e-30)
    times = np.log(np.maximum(share, LEAST) / cells.mean())
    return np.stack([share, times, cells[flat.argmax(1)] > 0])


def _ranking(looks: Sequence[Look], layers: Sequence[int]) -> list[list[int]]:
    """All heads, [layer, head], those first whose attention is in the boxes."""
    heads = looks[0].maps.shape[1]
    times = np.mean([_scores(look.maps.reshape(-1, *look.inside.shape), look.inside)[1] for look in looks], axis=0)
    return [[layers[k // heads], int(k % heads)] for k in np.argsort(-times, kind="stable")]


def _maps_by(settings: dict[str, Any], layers: Sequence[int]) -> Callable[[Look], Ndarray]:
    """The map of `AttentionHeatmap(**settings)`, from looks whose sinks are dropped already."""
    heads = settings["heads"]
    if not isinstance(heads, str):
        rows, columns = [layers.index(layer) for layer, _ in heads], [head for _, head in heads]
        return lambda look: look.maps[rows, columns].astype(np.float32).mean(0)
    deep = heat_layers(layers[-1] + 1, settings["start_layer"], layers)
    first = layers.index(deep[0])
    return lambda look: look.maps[first:].max(1).astype(np.float32).mean(0)


def _sinks(looks: Sequence[Look]) -> list[tuple[float, float]]:
    """Places (x, y), shares of the picture, that are attended to in the mean of all heads whatever is asked."""
    places = []
    for shape in sorted({look.inside.shape for look in looks}):
        same = [look for look in looks if look.inside.shape == shape]
        if len(same) < PICTURES:
            continue
        mean = np.stack([look.maps.astype(np.float32).mean((0, 1)) for look in same])
        mean = mean / np.maximum(mean.mean((1, 2), keepdims=True), 1e-30)
        elsewhere = np.stack([look.inside == 0 for look in same])
        usual = (mean * elsewhere).sum(0) / np.maximum(elsewhere.sum(0), 1)
        rows, columns = np.nonzero((usual > SINK) & (elsewhere.sum(0) >= PICTURES))
        places += [((x + 0.5) / shape[1], (y + 0.5) / shape[0]) for y, x in zip(rows, columns, strict=True)]
    return [(round(float(x), 4), round(float(y), 4)) for x, y in places]


def _drop(maps: Ndarray, sinks: Sequence[tuple[float, float]]) -> None:
    """Set the cells of places to nothing."""
    height, width = maps.shape[-2:]
    for x, y in sinks:
        maps[..., min(int(y * height), height - 1), min(int(x * width), width - 1)] = 0
