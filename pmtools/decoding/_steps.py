"""What the magnifier records of each decoding step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pmtools._brief import brief
from pmtools.decoding._filmstrip import heat
from pmtools.warp import Warp

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class MagnifierStep:
    """What one decoding step saw and did.

    Lists have one entry per sequence (prompts, times beams or returned sequences), each a list with one entry per
    image.

    Attributes
    ----------
    heatmaps : list of lists of tensors of shape (h, w)
        Over the content of each image, after refinement; the current ones if nothing was refreshed.
    warps : list of lists of Warp
        From each original image to its magnified image.
    refreshed : tuple of bool
        Whether the sequence's images were magnified again in this step.
    iterations : tuple of int
        Passes with hidden tokens.
    repeated : tuple of int
        Those of them that hid what an earlier step had hidden too, so that only new tokens were run.
    ran_on : tuple of bool
        Whether the magnified images were the last step's to the bit, so that only new tokens were run after them.
    met_threshold : tuple of bool
        Whether refinement ended because little attention was left, by `threshold` or `relative_threshold`. Where it never is,
        `max_iterations` alone says how often the model looks again.
    forwards : dict
        Forward passes over the batch, by stream: "original", "refine", "magnified", "both"; "encode" counts images.
    seconds : float
        Wall time of the step; on a GPU, of queueing it.
    """

    heatmaps: list[list[torch.Tensor]]
    warps: list[list[Warp]]
    refreshed: tuple[bool, ...]
    iterations: tuple[int, ...]
    repeated: tuple[int, ...]
    ran_on: tuple[bool, ...]
    met_threshold: tuple[bool, ...]
    forwards: dict[str, int]
    seconds: float
    _sources: list[list[Any]] = field(repr=False)
    _view: Callable[[Any, Any], Any] = field(repr=False)

    def __repr__(self) -> str:
        return brief(self)

    def images(self) -> list[list[Any]]:
        """The magnified images of the step, made again from the originals."""
        return magnified_images(self._view, self._sources, self.warps)

    def pictures(self) -> dict[str, Any]:
        """Where the step looked and what it saw, of the first sequence's first image: a notebook shows them."""
        from pmtools import viz

        if not self.warps or not self.warps[0]:
            return {}
        original = self._sources[0][0]
        return {
            "where it looked": viz.overlay(original, self.heatmaps[0][0], colormap=heat),
            "what it saw": viz.side_by_side([self.images()[0][0]], gap=0),
        }


def magnified_images(
    view: Callable[[Any, Any], Any], images: list[list[Any]], warps: list[list[Any]]
) -> list[list[Any]]:
    """Each image seen through its warp, at its own size."""
    return [[view(image, warp) for image, warp in zip(*row, strict=True)] for row in zip(images, warps, strict=True)]


def through_warp(image: Any, warp: Warp, *, antialias: bool) -> Any:
    """The image magnified by a warp."""
    return warp.image(image, antialias=antialias)
