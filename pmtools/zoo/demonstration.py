"""What `make demo` shows: a question that magnification mends, and how often it mends and breaks answers.

Counts both, so that a chosen example cannot mislead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmtools.evaluation.runner import grade
from pmtools.evaluation.scene_methods import SceneMethods, Settings
from pmtools.evaluation.scenes import SceneItem, scene_items

if TYPE_CHECKING:
    from pmtools.zoo import DemoModel

__all__ = ["Demonstration", "demonstrate", "scene_methods"]


@dataclass(frozen=True)
class Demonstration:
    """Outcome of a run over unseen scenes.

    Attributes
    ----------
    questions, mended, broken, right_before, right_after : int
        Mended: greedy wrong, PM right; broken: the other way round.
    example : SceneItem or None
        The first question that PM mends on a small or medium object.
    greedy, magnified : str
        The two replies to the example; empty where there is none.
    heatmap : array of shape (h, w) or None
        PM's refined map of the example.
    """

    questions: int
    mended: int
    broken: int
    right_before: int
    right_after: int
    example: SceneItem | None
    greedy: str
    magnified: str
    heatmap: Any


def scene_methods(demo: DemoModel, /) -> SceneMethods:
    """The demo model's methods with its own settings."""
    return SceneMethods(demo.model, demo.processor, settings=Settings(**demo.settings))


def demonstrate(
    demo: DemoModel,
    /,
    *,
    questions: int = 200,
    seed: int = 2026,
    batch_size: int = 40,
    progress: Callable[[int], object] | None = None,
) -> Demonstration:
    """Answer unseen scene questions with and without magnification, and pick an example.

    Parameters
    ----------
    demo : DemoModel
    questions : int, optional
        One of each picture.
    seed : int, optional
    batch_size : int, optional
    progress : callable, optional
        Called with the number of questions done since the last call.

    Returns
    -------
    Demonstration
    """
    items: list[SceneItem] = []
    for item in scene_items(seed=seed):
        if len(items) == questions:
            break
        if not items or item.image_index != items[-1].image_index:
            items.append(item)
    methods = scene_methods(demo)
    replies: dict[str, list[str]] = {"greedy": [], "pm": []}
    for start in range(0, len(items), batch_size):
        batch = items[start : start + batch_size]
        for name, texts in methods(batch, list(replies)).items():
            replies[name] += texts
        if progress:
            progress(len(batch))
    before, after = ([grade(i, r) for i, r in zip(items, replies[name], strict=True)] for name in ("greedy", "pm"))
    mended = [k for k in range(len(items)) if after[k] and not before[k]]
    shown = next((k for k in mended if items[k].size != "large"), None)
    return Demonstration(
        questions=len(items),
        mended=len(mended),
        broken=sum(b and not a for b, a in zip(before, after, strict=True)),
        right_before=sum(before),
        right_after=sum(after),
        example=None if shown is None else items[shown],
        greedy="" if shown is None else replies["greedy"][shown],
        magnified="" if shown is None else replies["pm"][shown],
        heatmap=None if shown is None else methods.heatmaps([items[shown]])[0],
    )
