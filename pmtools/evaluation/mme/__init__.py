"""MME: questions and labels from files, and scores."""

from __future__ import annotations

from pmtools.evaluation.mme.files import (
    label_mme_from_folder,
    read_mme,
    read_mme_questions,
    read_mme_release,
    read_mme_results,
)
from pmtools.evaluation.mme.scoring import (
    CATEGORIES,
    COGNITION,
    HALLUCINATION,
    PERCEPTION,
    CategoryScore,
    MMEScore,
    label_yes_then_no,
    picture_points,
    right_pairs,
    score_mme,
)

__all__ = [
    "CATEGORIES",
    "COGNITION",
    "HALLUCINATION",
    "PERCEPTION",
    "CategoryScore",
    "MMEScore",
    "label_mme_from_folder",
    "label_yes_then_no",
    "picture_points",
    "read_mme",
    "read_mme_questions",
    "read_mme_release",
    "read_mme_results",
    "right_pairs",
    "score_mme",
]
