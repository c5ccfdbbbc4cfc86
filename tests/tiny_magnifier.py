"""The magnifier on tiny models: how the tests run it, and what they compare it with."""

import numpy as np
import torch
from tiny import PICTURES, model_of, processor_of, prompts_for

from pmtools.decoding import PerceptionMagnifier

GREEDY = {"do_sample": False, "max_new_tokens": 4, "return_dict_in_generate": True, "output_logits": True}
UNIFORM = np.ones((5, 7))


def magnifier(family="llava", **options):
    return PerceptionMagnifier(processor_of(family), **{"threshold": 0.05, **options})


def run(pm, family="llava", images=PICTURES, text=None, **options):
    inputs = pm.processor(images=images, text=text or prompts_for(family), return_tensors="pt", padding=True)
    return model_of(family).generate(**inputs, custom_generate=pm, **{**GREEDY, **options})


def plain(pm, family="llava", images=PICTURES, text=None, **options):
    inputs = pm.processor(images=images, text=text or prompts_for(family), return_tensors="pt", padding=True)
    inputs.pop("pm_images")
    return model_of(family).generate(**inputs, **{**GREEDY, **options})


#: Through a processor that rounds to 8 bits, a warp that differs in its last digit may turn a grey level over; what that does to
#: the logits here depends on the machine, and was 6e-3 at most. Sequences that are mixed up differ by more than ten times that.
GREY_LEVELS = 2e-2


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def same(got, want, atol=1e-5):
    assert got.sequences.tolist() == want.sequences.tolist()
    close(torch.stack(got.logits), torch.stack(want.logits), atol)


class Reader:
    """A streamer that counts, as a reader in another thread would."""

    def __init__(self):
        self.tokens, self.ends = [], 0

    def put(self, value):
        self.tokens += value.flatten().tolist()

    def end(self):
        self.ends += 1
