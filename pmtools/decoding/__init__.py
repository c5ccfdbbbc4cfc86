"""Decoding methods for vision-language models, as `custom_generate` callables of transformers' `generate`."""

from __future__ import annotations

from pmtools.decoding._method import DecodingMethod
from pmtools.decoding.greedy import Greedy
from pmtools.decoding.official import OfficialMagnifier
from pmtools.decoding.pm import MagnifierStep, PerceptionMagnifier

#: Every method by its name: `METHODS[name](processor, **options)`; a file and a row more is a method more.
METHODS: dict[str, type[DecodingMethod]] = {
    "greedy": Greedy,
    "pm": PerceptionMagnifier,
    "pm-official": OfficialMagnifier,
}

__all__ = ["METHODS", "DecodingMethod", "Greedy", "MagnifierStep", "OfficialMagnifier", "PerceptionMagnifier"]
