"""Tiny random vision-language models and processors of every supported family; nothing is downloaded.

For tests of code that works on transformers models. The weights are random, so answers mean nothing; the shapes,
caches, masks, positions and image-token orders are those of the real families.
"""

from __future__ import annotations

from pmtools.testing.models.family import TILE
from pmtools.testing.models.model import tiny_model
from pmtools.testing.models.processor import image_mark, tiny_processor
from pmtools.testing.models.table import FAMILIES
from pmtools.testing.models.tokenizer import tiny_tokenizer

__all__ = ["FAMILIES", "TILE", "image_mark", "tiny_model", "tiny_processor", "tiny_tokenizer"]
