"""Tiny models, their processors and pictures, shared by the tests of adapters and decoding methods."""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from pmtools.adapters.prompts import Prompts
from pmtools.decoding import Greedy
from pmtools.testing.models import image_mark, tiny_model, tiny_processor

#: Families that stand for all kinds of layout, caches and masks; test_families.py has every one.
FAMILIES = (
    *("llava", "llava_next", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"),
    *("internvl", "idefics3", "smolvlm", "gemma3", "paligemma"),
)
PROMPTS = ["Is <image> there?", "What is <image> then, and why?"]


def with_mark(text, family):
    """A text as the chat template of a family would write it."""
    return text.replace("<image>", image_mark(family))


def prompts_for(family):
    """`PROMPTS` as the chat template of a family would write them."""
    return [with_mark(text, family) for text in PROMPTS]


@cache
def model_of(family="llava", **text):
    return tiny_model(family, **text)


@cache
def processor_of(family="llava"):
    try:
        return tiny_processor(model_of(family))
    except ImportError as reason:  # some image processors of transformers 5.17 need torchvision
        pytest.skip(str(reason).strip().splitlines()[0])


@cache
def picture(width=120, height=90, seed=0, noise=30):
    """Waves that differ along both axes, under noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([x * 255 / width, y * 255 / height, 127 + 120 * np.sin(x / 9) * np.cos(y / 7)], axis=-1)
    return Image.fromarray(np.clip(waves + rng.normal(0, noise, waves.shape), 0, 255).astype(np.uint8))


PICTURES = [[picture(120, 90, 1)], [picture(70, 100, 2)]]


def prompts_of(family="llava", images=PICTURES, text=PROMPTS, model=None):
    processor = Greedy(processor_of(family)).processor
    inputs = processor(images=images, text=text, return_tensors="pt", padding=True)
    return Prompts.from_inputs(model or model_of(family), processor, inputs)


def close(a, b, atol=1e-5):
    torch.testing.assert_close(torch.as_tensor(a).double(), torch.as_tensor(b).double(), atol=atol, rtol=0)
