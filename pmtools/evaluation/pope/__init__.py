"""POPE: questions from files, and scores."""

from __future__ import annotations

from pmtools.evaluation.pope.files import read_pope, read_pope_folder
from pmtools.evaluation.pope.scoring import POPEScore, read_pope_reply, score_pope

__all__ = [
    "POPEScore",
    "read_pope",
    "read_pope_folder",
    "read_pope_reply",
    "score_pope",
]
