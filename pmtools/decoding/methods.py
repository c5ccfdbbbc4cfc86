"""The table of decoding methods: everything that lists methods is made from it."""

from __future__ import annotations

from pmtools.alternatives import ALTERNATIVES
from pmtools.decoding._image_prompting import method_of
from pmtools.decoding.api import API
from pmtools.decoding.greedy import Greedy
from pmtools.decoding.ibd import IBD
from pmtools.decoding.m3id import M3ID
from pmtools.decoding.method import DecodingMethod
from pmtools.decoding.official import OfficialMagnifier
from pmtools.decoding.pai import PAI
from pmtools.decoding.pm import PerceptionMagnifier
from pmtools.decoding.vcd import VCD
from pmtools.decoding.vdd import VDD
from pmtools.decoding.vicrop import ViCrop

#: Every method by its name: `METHODS[name](processor, **options)`. A file and a row here add a method, a row of `ALTERNATIVES`
#: adds one too.
METHODS: dict[str, type[DecodingMethod]] = {
    "greedy": Greedy,
    "pm": PerceptionMagnifier,
    "pm-official": OfficialMagnifier,
    "vcd": VCD,
    "vdd": VDD,
    "m3id": M3ID,
    "pai": PAI,
    "ibd": IBD,
    "api": API,
    "vicrop": ViCrop,
    **{name: method_of(name) for name in ALTERNATIVES},
}
