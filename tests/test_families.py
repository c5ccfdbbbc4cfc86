"""Every family with the processor class that transformers has for it: capture, layout, decoding in each mode.

`make test` runs each family once and some of them in full; `make test-families` runs everything, with both image back ends.
"""

import contextlib
from functools import cache

import families_table
import pytest
import torch
import transformers
from families_table import REFUSED, supported
from packaging.version import Version
from test_attention import at_columns
from tiny import PICTURES, picture, prompts_for, with_mark
from tiny_magnifier import GREEDY, UNIFORM

from pmtools.adapters.attention import capture_attention
from pmtools.adapters.image_tokens import ImageTokens
from pmtools.adapters.layouts import image_token_layout, probe_layout
from pmtools.decoding import PerceptionMagnifier
from pmtools.testing.models import tiny_model, tiny_processor
from pmtools.testing.models.table import TABLE

pytestmark = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.24"),
    reason="older releases lack families, or build them in another way",
)
EVERY = supported()
SIZES = [(200, 200), (320, 180), (121, 363)]  # (width, height): 1:1, 16:9, 1:3
THIN = [(1, 1), (1, 50), (50, 1), (3, 900), (900, 3)]


@cache
def model_of(family, attn_implementation="sdpa"):
    return tiny_model(family, attn_implementation=attn_implementation)


@cache
def processor_of(family, backend=None):
    return tiny_processor(model_of(family), backend=backend)


@pytest.fixture(autouse=True)
def what_the_family_needs(request):
    """Skips a family of which a package is missing, and says which."""
    if family := request.node.callspec.params.get("family") if hasattr(request.node, "callspec") else None:
        try:
            processor_of(family)
        except ImportError as reason:
            pytest.skip(str(reason).strip().splitlines()[0])
    with llama_4_as_it_was_meant():
        yield


@contextlib.contextmanager
def llama_4_as_it_was_meant():
    """In transformers 5.24 Llama 4 asks the output of its text model for what it does not have."""
    from transformers.modeling_outputs import MoeCausalLMOutputWithPast

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MoeCausalLMOutputWithPast, "image_outputs", None, raising=False)
        yield


def inputs_of(processor, family, pictures=PICTURES):
    inputs = processor(images=pictures, text=prompts_for(family), return_tensors="pt", padding=True)
    return inputs.to(model_of(family).dtype)  # Llama 4's pixels come in bfloat16


@pytest.mark.parametrize("family", supported())
def test_a_uniform_map_is_plain_decoding(family):
    check_uniform(family, "first")


@pytest.mark.parametrize("refresh", ["every", "adaptive"])
@pytest.mark.parametrize("family", EVERY)
def test_a_uniform_map_is_plain_decoding_at_every_token(family, refresh):
    check_uniform(family, refresh)


@pytest.mark.parametrize("family", supported())
def test_a_uniform_map_is_plain_decoding_of_thin_pictures(family):
    check_uniform(family, "first", [[picture(4, 50)], [picture(29, 17)]])


def check_uniform(family, refresh, pictures=PICTURES):
    pm = PerceptionMagnifier(processor_of(family), heatmap=UNIFORM, refresh=refresh)
    inputs = inputs_of(pm.processor, family, pictures)
    got = model_of(family).generate(**inputs, custom_generate=pm, **GREEDY)
    inputs.pop("pm_images")
    want = model_of(family).generate(**inputs, **GREEDY)
    assert got.sequences.tolist() == want.sequences.tolist()
    torch.testing.assert_close(torch.stack(got.logits), torch.stack(want.logits), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", EVERY)
@torch.no_grad()
def test_captured_attention_is_what_eager_attention_returns(family):
    inputs = inputs_of(processor_of(family), family)
    assert (inputs["attention_mask"] == 0).any()
    image = inputs["input_ids"] == model_of(family).config.image_token_id
    columns = torch.nn.utils.rnn.pad_sequence([row.nonzero()[:, 0] for row in image], True, -1)
    reference = model_of(family, "eager")(**inputs, output_attentions=True)
    want = at_columns([layer for layer in reference.attentions if layer is not None], columns)
    for implementation in ("eager", "sdpa"):
        model = model_of(family, implementation)
        # Gemma 4 does not scale its scores down: what SDPA rounds in one layer grows to 2e-5 in the last
        atol = 5e-5 if (family, implementation) == ("gemma4", "sdpa") else 1e-5
        with capture_attention(model, columns, heads=True) as tap:
            model(**inputs)
        torch.testing.assert_close(tap.head_maps, want, atol=atol, rtol=0)
    assert want.std() > 1e-4  # attention is not uniform, so a shifted column would show


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("family", EVERY)
def test_the_layout_passes_the_probe(family, width, height):
    backends = TABLE[family].backends if (width, height) == SIZES[0] else TABLE[family].backends[:1]
    for backend in backends:
        processor = processor_of(family, backend)
        layout = image_token_layout(model_of(family), processor)
        assert min(probe_layout(model_of(family), processor, layout, (height, width))) >= 0.9


@pytest.mark.parametrize("family", EVERY)
def test_thin_pictures_have_their_place_or_are_refused_by_the_processor(family):
    model, processor = model_of(family), PerceptionMagnifier(processor_of(family)).processor
    layout = image_token_layout(model, processor)
    for width, height in THIN:
        prompt = with_mark("<image>", family)
        try:
            inputs = processor(images=[[picture(width, height)]], text=[prompt], return_tensors="pt")
        except ValueError:  # of transformers: no pixel of it is left, or its aspect ratio is beyond 200
            if max(width, height) < 200 * min(width, height):
                raise
            continue
        assert layout.grids((height, width), 1)[0] == (inputs["input_ids"] == layout.image_token_id).sum()
        tokens = ImageTokens(layout, inputs["input_ids"], [[(height, width)]])
        ((heatmap,),) = tokens.heatmaps(tokens.coverage)
        torch.testing.assert_close(heatmap, torch.ones_like(heatmap))  # equal tokens give an equal map
        for x0, y0, x1, y1 in (grid.box_xyxy for grid in layout.grids((height, width), 1)[1] if 0 not in grid.shape_hw):
            assert width > 1 or (x0 <= 0 and x1 >= 1)  # one column of pixels is shown whole or not at all
            assert height > 1 or (y0 <= 0 and y1 >= 1)


@pytest.mark.slow
@pytest.mark.parametrize("family", EVERY)
def test_every_mode_runs_or_says_why_not(family):
    found, _ = families_table.read()
    assert families_table.modes(family) == found[family]


@pytest.mark.parametrize("family", REFUSED)
def test_what_is_refused_is_refused_with_the_page_that_says_so(family):
    pm = PerceptionMagnifier(processor_of(family), heatmap=UNIFORM)
    inputs = inputs_of(pm.processor, family)
    with pytest.raises(ValueError, match="Supported models"):
        model_of(family).generate(**inputs, custom_generate=pm, **GREEDY)


class TestThePage:
    def test_it_is_what_the_command_writes(self):
        found, versions = families_table.read()
        assert families_table.page(found, versions) == families_table.PAGE.read_text(encoding="utf-8")

    def test_another_table_is_seen(self, monkeypatch):
        monkeypatch.setitem(families_table.LIMITS, "llava", "none of them")
        with pytest.raises(AssertionError):
            self.test_it_is_what_the_command_writes()

    def test_it_has_thirty_families_and_more(self):
        found, _ = families_table.read()
        assert list(found) == supported()
        assert len(found) >= 30
