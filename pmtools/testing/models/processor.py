"""Processors for the tiny models: transformers' own classes around a tiny tokenizer."""

from __future__ import annotations

from typing import Any

from pmtools import _checks
from pmtools.testing.models.table import FAMILIES, TABLE


def image_mark(family: str, /) -> str:
    """The text for an image in a prompt of a family of `FAMILIES`: `<image>`, and what its chat templates put around it."""
    return TABLE[_checks.choice(family, "family", FAMILIES)].mark


def tiny_processor(model: Any, /, *, backend: str | None = None) -> Any:
    """A processor for a model of `tiny_model`: of transformers' class for its family.

    In texts and chats, `<image>` marks an image in every family.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        From `tiny_model`.
    backend : str, optional
        "pil" or "torchvision". Default: the first one that transformers has for the family.

    Returns
    -------
    transformers.ProcessorMixin

    Raises
    ------
    ValueError
        If transformers has no such back end for the family.
    ImportError
        If a package is missing that the family's processor needs.
    """
    family = TABLE[getattr(model, "tiny_family", model.config.model_type)]
    backend = family.backends[0] if backend is None else _checks.choice(backend, "backend", family.backends)
    return family.processor(backend)
