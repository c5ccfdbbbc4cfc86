"""What `pmtools demo` shows: how many answers magnification fixes and makes wrong, and one that it fixes.

Both are counted, so that a chosen example cannot mislead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmtools import frames
from pmtools.evaluation.scenes import SceneItem, scene_items
from pmtools.evaluation.scenes.benchmark import grade
from pmtools.typing import SizeHW
from pmtools.warp import Warp

if TYPE_CHECKING:
    from pmtools.zoo import DemoModel

__all__ = ["Demonstration", "Example", "answer_both", "demonstrate"]


@dataclass(frozen=True)
class Example:
    """A question, and the model's replies from the plain image and from the magnified one.

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
        Size of the model's input.
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


@dataclass(frozen=True)
class Demonstration:
    """Outcome of a run over unseen scenes.

    Attributes
    ----------
    questions, fixed, newly_wrong, correct_before, correct_after : int
        Fixed: greedy decoding wrong, PM correct; newly wrong: the opposite.
    example : Example or None
        Of the fixed questions about small or medium objects, about one object if possible, the one whose object grew
        most.
    """

    questions: int
    fixed: int
    newly_wrong: int
    correct_before: int
    correct_after: int
    example: Example | None


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
        One per picture.
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
    seen: list[Example] = []
    for start in range(0, len(items), batch_size):
        batch = items[start : start + batch_size]
        seen += answer_both(demo, batch)
        if progress:
            progress(len(batch))
    before = [grade(example.item, example.plain) for example in seen]
    after = [grade(example.item, example.magnified) for example in seen]
    fixed = [e for e, b, a in zip(seen, before, after, strict=True) if a and not b]
    shown = [e for e in fixed if e.item.size != "large" and e.item.question.relevant]
    return Demonstration(
        questions=len(seen),
        fixed=len(fixed),
        newly_wrong=sum(b and not a for b, a in zip(before, after, strict=True)),
        correct_before=sum(before),
        correct_after=sum(after),
        example=max(shown, key=_clarity, default=None),
    )


def answer_both(demo: DemoModel, items: Sequence[SceneItem], /) -> list[Example]:
    """The model's replies to items, plain and magnified.

    Parameters
    ----------
    demo : DemoModel
    items : sequence of SceneItem

    Returns
    -------
    list of Example
    """
    from pmtools.decoding import Greedy, PerceptionMagnifier

    pm = PerceptionMagnifier(demo.processor, **demo.settings)
    images, prompts = [[item.image] for item in items], [demo.prompt(item.question.text) for item in items]
    plain, magnified = (
        decoder.generate(demo.model, images, prompts, max_new_tokens=1, do_sample=False)
        for decoder in (Greedy(demo.processor), pm)
    )
    side = demo.model.config.vision_config.image_size
    rows = zip(items, plain, magnified, pm.last[0].heatmaps, pm.last[0].warps, strict=True)
    return [Example(item, a, b, heatmap, warp, (side, side)) for item, a, b, (heatmap,), (warp,) in rows]


def _clarity(example: Example) -> tuple[bool, float]:
    """Sort key: examples with one existing object first, then by growth."""
    question = example.item.question
    return len(question.relevant) == 1 and question.answer != "no", example.growth


def _areas(boxes: Any) -> Any:
    """Areas of boxes (k, 4)."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
