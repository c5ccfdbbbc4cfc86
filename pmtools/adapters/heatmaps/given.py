"""Your own maps as a source."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pmtools import _array, _checks
from pmtools.adapters.prompts import Prompts
from pmtools.io import to_array
from pmtools.typing import Array, Heatmap


@dataclass(frozen=True)
class GivenHeatmap:
    """Your own map: one for every image, or a function of the image and the decoding step.

    Attributes
    ----------
    heatmap : array of shape (h, w), grey PIL image, or callable
        `heatmap(image)` or `heatmap(image, step)`, with an RGB PIL image and the number of the step from 0.

    Raises
    ------
    TypeError, ValueError
        If it is not a map, or is a callable of other arguments; when called, if the callable does not return a map.
    """

    heatmap: Heatmap | Callable[..., Heatmap]

    def __post_init__(self) -> None:
        if not callable(self.heatmap):
            given_map(self.heatmap)
        elif not any(takes(self.heatmap, count) for count in (1, 2)):
            raise TypeError(
                f"`heatmap` must take (image) or (image, step), got a callable of {inspect.signature(self.heatmap)}"
            )

    @property
    def every_step(self) -> bool:
        """Whether the map may differ at each step."""
        return callable(self.heatmap) and takes(self.heatmap, 2)

    def __call__(self, prompts: Prompts, /) -> list[list[Heatmap]]:
        """Heatmaps of the images of each prompt."""
        given = self.heatmap
        if not callable(given):
            return [[given_map(given) for _ in row] for row in prompts.images]
        step = (prompts.step,) if self.every_step else ()
        return [[given_map(given(image, *step)) for image in row] for row in prompts.images]


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with `count` positional arguments."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    return True


def given_map(heatmap: Heatmap, /) -> Array:
    """The caller's map as an array of shape (h, w).

    Parameters
    ----------
    heatmap : array of shape (h, w), or grey PIL image
        Non-negative, any scale.

    Raises
    ------
    TypeError, ValueError
        If it is not a map, or is more than one.
    """
    weights = _checks.weights(to_array(heatmap) if _array.is_pil(heatmap) else heatmap, "heatmap")
    if len(weights.shape) != 2:
        raise ValueError(
            f"`heatmap` must be one 2-D map (h, w), got shape {tuple(weights.shape)}; give a grey one per image"
        )
    return weights
