"""What a call leaves behind: no tensor or image in a circle, which only the garbage collector frees, at some later time.

A long run would grow by the images of each batch, and the caches of a large model would stay on its device.
"""

import gc
from collections import Counter

import pytest
import torch
from PIL import Image
from tiny import PICTURES, PROMPTS, model_of, processor_of

from pmtools.decoding import METHODS, PerceptionMagnifier, magnified


def left_behind(call):
    """What `call` leaves to the garbage collector: tensors, images and our own objects, by type."""
    call()  # what is made once, is made here
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        call()
        gc.collect()
    finally:
        gc.set_debug(0)
        gc.enable()
    found = Counter(
        f"{type(thing).__module__}.{type(thing).__qualname__}"
        for thing in gc.garbage
        if isinstance(thing, torch.Tensor | Image.Image) or type(thing).__module__.startswith("pmtools")
    )
    gc.garbage.clear()
    gc.collect()
    return found


def generate(method, **options):
    inputs = method.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
    model_of().generate(**inputs, custom_generate=method, max_new_tokens=3, **options)


def test_the_checker_fails():
    def circle():
        things = [torch.zeros(3), PICTURES[0][0].copy()]
        things.append(things)

    assert left_behind(circle) == {"torch.Tensor": 1, "PIL.Image.Image": 1}


def test_no_method_leaves_anything():
    methods = [method(processor_of()) for method in METHODS.values()]
    assert left_behind(lambda: [generate(method) for method in methods]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("preprocess", ["processor", "fused"])
def test_no_mode_of_the_magnifier_leaves_anything(preprocess):
    modes = [
        PerceptionMagnifier(processor_of(), refresh=refresh, refine=refine, preprocess=preprocess)
        for refresh, refine in [("first", "exact"), ("every", "exact"), ("every", "cached"), ("adaptive", "cached")]
    ]
    assert left_behind(lambda: [generate(pm, num_beams=beams) for pm in modes for beams in (1, 2)]) == {}


def test_no_view_leaves_anything():
    def ask():
        view = magnified(model_of(), processor_of())
        inputs = view.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        view.generate(**inputs, max_new_tokens=2)

    assert left_behind(ask) == {}
