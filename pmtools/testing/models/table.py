"""The table of families, by the names that `tiny_model` takes."""

from __future__ import annotations

from pmtools.testing.models import cross_attention, gemma, grids, llava, qwen, tiles
from pmtools.testing.models.family import Family

TABLE: dict[str, Family] = {
    name: family
    for group in (llava, qwen, grids, tiles, gemma, cross_attention)
    for name, family in group.FAMILIES.items()
}
#: Families that `tiny_model` and `tiny_processor` build.
FAMILIES = tuple(TABLE)
