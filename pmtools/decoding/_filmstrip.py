"""The steps of a call, which a notebook shows as a filmstrip: where the model looked, and what it saw, token by token.

This file knows of steps only that they may have `pictures()`.
"""

from __future__ import annotations

import base64
import html
import io
from typing import Any

_FRAMES, _SIDE = 8, 160  # steps shown; pixels of a picture's longer side


class Steps(list[Any]):
    """A list of steps, in order."""

    def _repr_html_(self) -> str | None:
        """Pictures of the first steps; None, and with it the text, where a method has none."""
        shown = [(number, step.pictures()) for number, step in enumerate(self[:_FRAMES]) if hasattr(step, "pictures")]
        if not any(pictures for _, pictures in shown):
            return None
        frames = "".join(_frame(number, pictures) for number, pictures in shown)
        more = f"<p>{_FRAMES} of {len(self)} steps</p>" if len(self) > _FRAMES else ""
        return f'<div style="display:flex;gap:.5em;overflow-x:auto">{frames}</div>{more}'


def heat(level: Any) -> Any:
    """Black over red to yellow: a colour map without Matplotlib, for `pmtools.viz.overlay`."""
    import numpy as np

    return np.clip(np.stack([2 * level, 2 * level - 0.8, level - 0.8], axis=-1), 0, 1)


def _frame(number: int, pictures: dict[str, Any]) -> str:
    parts = "".join(f"<div>{html.escape(name)}</div>{_picture(name, image)}" for name, image in pictures.items())
    return f'<div style="flex:none"><b>token {number + 1}</b>{parts}</div>'


def _picture(name: str, image: Any) -> str:
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="{html.escape(name)}" src="data:image/jpeg;base64,{data}">'
