"""What `pmtools demo` shows: how many answers magnification mends and breaks, and one that it mends.

Counts both, so that a chosen example cannot mislead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmtools import frames
from pmtools._magnify import fit_warp
from pmtools.evaluation.runner import grade
from pmtools.evaluation.scene_methods import SceneMethods, Settings
from pmtools.evaluation.scenes import SceneItem, scene_items
from pmtools.typing import SizeHW
from pmtools.warp import Warp

if TYPE_CHECKING:
    from PIL.Image import Image

    from pmtools.zoo import DemoModel

__all__ = ["Demonstration", "Example", "demonstrate", "scene_methods"]


@dataclass(frozen=True)
class Example:
    """A question that the model answers wrongly from the plain image and rightly from the magnified one.

    Attributes
    ----------
    item : SceneItem
    plain, magnified : str
        The two replies.
    heatmap : array of shape (h, w)
        PM's refined map.
    warp : Warp
        From the image to the magnified image.
    input_hw : (int, int)
        What reaches the model.
    """

    item: SceneItem
    plain: str
    magnified: str
    heatmap: Any
    warp: Warp
    input_hw: SizeHW

    @property
    def input_boxes_xyxy(self) -> tuple[Any, Any]:
        """Boxes of the objects asked about on the model's input, plain and magnified: two arrays of shape (k, 4)."""
        boxes = self.item.relevant_boxes_xyxy
        plain = frames.resize(self.warp.source_hw, self.input_hw)
        magnified = self.warp.then(frames.resize(self.warp.target_hw, self.input_hw))
        return plain.boxes(boxes), magnified.boxes(boxes)

    @property
    def growth(self) -> float:
        """How many times its area the objects asked about have in the magnified image."""
        before, after = (_areas(boxes).sum() for boxes in self.input_boxes_xyxy)
        return float(after / before)

    def picture(self) -> Image:
        """The image, the map, the magnified image, and below what the model is given of the object in each.

        Returns
        -------
        PIL image, mode RGB

        Raises
        ------
        ImportError
            If Matplotlib is not installed.
        """
        from pmtools.zoo.demonstration_picture import draw_example

        return draw_example(self)


@dataclass(frozen=True)
class Demonstration:
    """Outcome of a run over unseen scenes.

    Attributes
    ----------
    questions, mended, broken, right_before, right_after : int
        Mended: greedy wrong, PM right; broken: the other way round.
    example : Example or None
        Of the mended questions about small or medium objects, about one object if possible, the one whose object grew
        most.
    """

    questions: int
    mended: int
    broken: int
    right_before: int
    right_after: int
    example: Example | None


def scene_methods(demo: DemoModel, /) -> SceneMethods:
    """The demo model's methods with its own settings."""
    return SceneMethods(demo.model, demo.processor, settings=Settings(**demo.settings), edits=demo.edits)


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
    shown = [k for k in mended if items[k].size != "large" and items[k].question.relevant]
    examples = _examples(methods, items, replies, shown) if shown else []
    return Demonstration(
        questions=len(items),
        mended=len(mended),
        broken=sum(b and not a for b, a in zip(before, after, strict=True)),
        right_before=sum(before),
        right_after=sum(after),
        example=max(examples, key=_clarity, default=None),
    )


def _examples(
    methods: SceneMethods, items: Sequence[SceneItem], replies: dict[str, list[str]], shown: Sequence[int]
) -> list[Example]:
    """Some of the items with what the model saw of them."""
    heatmaps = methods.heatmaps([items[k] for k in shown])
    s = methods.settings
    options: Any = {"gain": s.gain, "kernel_size": s.kernel_size, "marginal": s.marginal, "floor": s.floor}
    size = methods.model.config.vision_config.image_size
    found = []
    for k, heatmap in zip(shown, heatmaps, strict=True):
        warp = fit_warp(heatmap, source_hw=items[k].pixels.shape[:2], **options)
        found.append(Example(items[k], replies["greedy"][k], replies["pm"][k], heatmap, warp, (size, size)))
    return found


def _clarity(example: Example) -> tuple[bool, float]:
    """One object that is there comes first; then what grew most."""
    question = example.item.question
    return len(question.relevant) == 1 and question.answer != "no", example.growth


def _areas(boxes: Any) -> Any:
    """Areas of boxes (k, 4)."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
