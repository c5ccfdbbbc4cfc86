"""Run the reading benchmark with every method, resumably, and compute its numbers.

Knows pictures, a reader and the table of methods.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pmtools.evaluation.answering import answer_items, write_whole
from pmtools.evaluation.overlap import iou
from pmtools.evaluation.reading.looks import METHODS, Case
from pmtools.evaluation.reading.reader import Read, Reader, normalised
from pmtools.evaluation.reading.report import summarize, table
from pmtools.evaluation.reading.settings import SETTINGS
from pmtools.evaluation.reading.signs import Picture

__all__ = ["evaluate_reading", "grade"]

#: Least overlap (IoU) at which a text counts as placed, and at which another line counts as found.
PLACED, FOUND = 0.5, 0.2


class _Shown:
    """Shows each picture by each method, and records what was read and where it is on the original."""

    def __init__(self, reader: Reader, **options: Any) -> None:
        self.reader, self.options = reader, options

    def __call__(self, items: Sequence[Picture], methods: Sequence[str], /) -> dict[str, list[str]]:
        replies: dict[str, list[str]] = {method: [] for method in methods}
        for item in items:
            case = Case(item, self.reader, **self.options)
            for method in methods:
                found = [read for look in METHODS[method](case) for read in _on_the_original(look, self.reader)]
                replies[method].append(json.dumps([[read.text, *read.box_xyxy.round(1).tolist()] for read in found]))
        return replies


def _on_the_original(look: Any, reader: Reader) -> list[Read]:
    found = reader(look.image)
    if not found:
        return []
    boxes = look.back(np.stack([read.box_xyxy for read in found]))
    return [Read(read.text, box) for read, box in zip(found, boxes, strict=True)]


def grade(item: Picture, reply: str, /) -> dict[str, Any]:
    """Grade a reply.

    Parameters
    ----------
    item : Picture
    reply : str
        A JSON list of `[text, x0, y0, x1, y1]`, in pixels of the picture.

    Returns
    -------
    dict
        `read` and `placed`, a bool for each text asked for: read letter by letter, and read at its place;
        `others`, the share of the other texts that something was found at, or -1 where there are none.
    """
    found = [Read(text, np.array(box, float)) for text, *box in json.loads(reply or "[]")]
    read, placed = [], []
    for k in item.asked:
        same = [each for each in found if normalised(each.text) == normalised(item.texts[k])]
        read.append(bool(same))
        placed.append(any(iou(each.box_xyxy, item.boxes_xyxy[k]) > PLACED for each in same))
    others = [item.boxes_xyxy[k] for k in range(len(item.texts)) if k not in item.asked]
    seen = [any(iou(each.box_xyxy, box) > FOUND for each in found) for box in others]
    return {"read": read, "placed": placed, "others": float(np.mean(seen)) if seen else -1.0}


def _record(item: Picture, reply: str) -> dict[str, Any]:
    return {"group": item.group, "texts": [item.texts[k] for k in item.asked], "reply": reply, **grade(item, reply)}


def evaluate_reading(
    pictures: Iterable[Picture],
    reader: Reader,
    /,
    *,
    out: str | Path,
    longest: int,
    methods: Sequence[str] = tuple(METHODS),
    setup: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] = SETTINGS,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Show every picture by every method, resumably, and write the tables.

    Parameters
    ----------
    pictures : iterable of Picture
    reader : Reader
    out : path
        Folder for `answers/<method>.jsonl`, `setup.json`, `summary.json` and `tables.md`.
    longest : int
        Longer side of the input, in pixels.
    methods : sequence of str, optional
        Names in `METHODS`; with `"plain"`, the others are compared with it.
    setup : mapping, optional
        Further settings that determine the answers.
    settings : mapping, optional
        Of the paper's warp: `gain`, `kernel_size`, `floor`.
    seed : int, optional
    progress : callable, optional
        Called with the number of answers done since the last call.

    Returns
    -------
    dict
        As `pmtools.evaluation.reading.report.summarize`.
    """
    found = answer_items(
        pictures,
        _Shown(reader, longest=longest, seed=seed, settings=dict(settings)),
        methods=methods,
        out=out,
        record=_record,
        setup={"benchmark": "reading", "longest": longest, "seed": seed, "settings": dict(settings), **(setup or {})},
        batch_size=1,
        progress=progress,
    )
    summary = summarize(found, seed=seed)
    write_whole(Path(out) / "summary.json", json.dumps(summary, indent=2) + "\n")
    write_whole(Path(out) / "tables.md", table(summary) + "\n")
    return summary
