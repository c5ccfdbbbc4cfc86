"""What the sources share that look at each image by itself, with the question, through a model of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pmtools.adapters.prompts import Prompts

_Map = TypeVar("_Map")


def by_question(find: Callable[[Any, str], _Map], prompts: Prompts, /) -> list[list[_Map]]:
    """`find(image, question)` of each image of each prompt."""
    return [
        [find(image, question) for image in row]
        for row, question in zip(prompts.images, prompts.questions(), strict=True)
    ]


def loaded(kind: Any, name: str, device: str | None, /) -> tuple[Any, Any]:
    """A published model of a class, and its processor; on a GPU where there is one, unless `device` says where."""
    import torch
    from transformers import AutoProcessor

    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return kind.from_pretrained(name).to(where).eval(), AutoProcessor.from_pretrained(name)
