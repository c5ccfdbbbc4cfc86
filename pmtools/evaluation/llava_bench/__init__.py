"""LLaVA-Bench: questions from files, a judge, reviews, and scores."""

from __future__ import annotations

from pmtools.evaluation.llava_bench.files import OpenQuestion, read_llava_bench
from pmtools.evaluation.llava_bench.judge import Judge, JudgeError, Verdict
from pmtools.evaluation.llava_bench.reviews import (
    count_tokens,
    judge_content,
    read_reviews,
    read_scores,
    review_answers,
)
from pmtools.evaluation.llava_bench.scoring import LLaVABenchScore, Review, score_llava_bench

__all__ = [
    "Judge",
    "JudgeError",
    "LLaVABenchScore",
    "OpenQuestion",
    "Review",
    "Verdict",
    "count_tokens",
    "judge_content",
    "read_llava_bench",
    "read_reviews",
    "read_scores",
    "review_answers",
    "score_llava_bench",
]
