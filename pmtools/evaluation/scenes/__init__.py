"""The scenes benchmark: synthetic pictures, questions with exact answers, running and reporting."""

from __future__ import annotations

from pmtools.evaluation.scenes.items import CATEGORIES, SIZES, SceneItem, scene_items

__all__ = [
    "CATEGORIES",
    "SIZES",
    "SceneItem",
    "scene_items",
]
