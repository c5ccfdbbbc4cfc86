"""Decoding methods for vision-language models, as `custom_generate` callables of transformers' `generate`."""

from __future__ import annotations

from pmtools.decoding.pm import MagnifierStep, PerceptionMagnifier

__all__ = ["MagnifierStep", "PerceptionMagnifier"]
