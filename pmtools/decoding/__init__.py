"""Decoding methods for vision-language models, as `custom_generate` callables of transformers' `generate`."""

from __future__ import annotations

from pathlib import Path

from pmtools.decoding._image_prompting import ImagePrompting, ImagePromptingStep, options_like_pm
from pmtools.decoding._magnified import magnified
from pmtools.decoding._steps import MagnifierStep
from pmtools.decoding.api import API
from pmtools.decoding.greedy import Greedy
from pmtools.decoding.ibd import IBD
from pmtools.decoding.m3id import M3ID
from pmtools.decoding.method import DecodingMethod
from pmtools.decoding.methods import METHODS
from pmtools.decoding.official import OfficialMagnifier
from pmtools.decoding.pai import PAI
from pmtools.decoding.pm import PerceptionMagnifier
from pmtools.decoding.vcd import VCD
from pmtools.decoding.vdd import VDD
from pmtools.decoding.vicrop import ViCrop

#: A `custom_generate` folder: `model.generate(custom_generate=HUB_FOLDER, trust_remote_code=True, processor=..., images=...)`.
HUB_FOLDER = str(Path(__file__).parents[1] / "hub")

__all__ = [
    "API",
    "HUB_FOLDER",
    "IBD",
    "M3ID",
    "METHODS",
    "PAI",
    "VCD",
    "VDD",
    "DecodingMethod",
    "Greedy",
    "ImagePrompting",
    "ImagePromptingStep",
    "MagnifierStep",
    "OfficialMagnifier",
    "PerceptionMagnifier",
    "ViCrop",
    "magnified",
    "options_like_pm",
]
