"""Places in an answer, back on the image before its processor padded and resized it."""

from __future__ import annotations

from typing import Any

from pmtools import frames
from pmtools.adapters.layouts import pads_to_square
from pmtools.adapters.pixels import canvas_frame
from pmtools.answers import Format, Undone, undo
from pmtools.typing import SizeHW
from pmtools.warp import Warp


def undone_by(processor: Any, answer: str, shown: Warp, form: Format, /, **options: Any) -> Undone:
    """An answer about the image that a processor got, on the image before `shown`.

    Parameters
    ----------
    processor : transformers processor
    answer : str
    shown : Warp
        From the original to the image that the processor got.
    form : Format
        How the model writes places.
    **options
        Of `pmtools.answers.undo`.
    """
    seen = shown.then(canvas_frame(shown.target_hw, square=pads_to_square(processor.image_processor)))
    return undo(answer, warp=seen, format=form, input_hw=_counted_hw(processor, seen.target_hw, form), **options)


def _counted_hw(processor: Any, seen_hw: SizeHW, form: Format) -> SizeHW:
    """The size in which a model that writes pixels counts them: that after its processor's own resizing."""
    bounds = dict(getattr(processor.image_processor, "size", None) or {})
    if form.scale is not None or form.multiple == 1 or not {"shortest_edge", "longest_edge"} <= set(bounds):
        return seen_hw
    least, most = bounds["shortest_edge"], bounds["longest_edge"]
    return frames.smart_resize(seen_hw, factor=form.multiple, min_pixels=least, max_pixels=most).target_hw
