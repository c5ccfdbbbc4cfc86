"""Captured attention in layers that do not see the whole sequence: windows, chunks, recurrent and cross-attention layers.

The reference is eager attention, of the whole sequence at once and without a cache.
"""

from functools import cache

import pytest
import torch
import transformers as hf
from text_models import HYBRID, SLIDING, SMALL, pair

from pmtools.adapters.attention import capture_attention, heat_layers
from pmtools.adapters.caches import cache_name, cached_tokens
from pmtools.adapters.editing import biased_image, boosted_image, edited_attention
from pmtools.adapters.interception import attention_layers, cross_layers

LENGTHS = (12, 13, 14, 15, 16)  # a prompt and some steps; windows and chunks drop keys on the way


def batch(padded):
    ids = torch.randint(3, 90, (2, LENGTHS[-1]), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    if padded:
        mask[0, :3] = 0
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def new_cache(model, kind):
    return hf.DynamicCache(config=model.config) if kind == "dynamic" else hf.StaticCache(model.config, max_cache_len=32)


def steps(model, kind, padded):
    """The inputs of a prompt and of steps after it, on one cache, and their end."""
    ids, mask, positions = batch(padded)
    kept = new_cache(model, kind)
    for start, end in zip((0, *LENGTHS), LENGTHS, strict=False):
        inputs = {"input_ids": ids[:, start:end], "position_ids": positions[:, start:end], cache_name(): kept}
        yield {**inputs, "attention_mask": mask[:, :end] if padded else None}, end


@torch.no_grad()
def whole(model, end, padded, **options):
    ids, mask, positions = (item[:, :end] for item in batch(padded))
    return model(ids, attention_mask=mask if padded else None, position_ids=positions, use_cache=False, **options)


def at(attention, columns):
    share = attention[:, :, -1].gather(-1, columns.clamp(min=0)[:, None].expand(-1, attention.shape[1], -1))
    return share * (columns >= 0)[:, None]


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


COLUMNS = torch.tensor([[3, 7, 11, -1], [1, 4, 9, 10]])


def check(name, kind, padded):
    model, eager = pair(name)
    for inputs, end in steps(model, kind, padded):
        with torch.no_grad(), capture_attention(model, COLUMNS, heads=True) as tap:
            model(**inputs)
        found = [layer for layer in whole(eager, end, padded, output_attentions=True).attentions if layer is not None]
        if len(found) != len(tap.layers):  # some releases return recurrent layers' places, some do not
            found = [found[layer] for layer in tap.layers]
        for layer, attention in enumerate(found):
            close(tap.head_maps[:, layer], at(attention, COLUMNS))
    assert tap.head_maps.std() > 1e-2  # attention is not uniform, so a shifted column would show


@pytest.mark.parametrize("name", ["gpt_oss", "inkling", "inkling2", "modernbert_decoder"])
@pytest.mark.parametrize("padded", [True, False])
def test_biases_sinks_and_a_head_called_decoder(name, padded):
    check(name, "dynamic", padded)


def test_a_model_that_asks_for_the_name_of_its_attention():
    model, eager = pair("deepseek_v32")  # it hides what its indexer leaves out if the name is "eager" or "sdpa"
    want = whole(eager, LENGTHS[-1], False, output_attentions=True)
    with capture_attention(model, COLUMNS, heads=True) as tap:
        close(whole(model, LENGTHS[-1], False).logits, want.logits)
    assert not all(attention[..., -1, :].all() for attention in want.attentions)
    for layer, attention in enumerate(want.attentions):
        close(tap.head_maps[:, layer], at(attention, COLUMNS))


def test_keys_that_stand_for_several_tokens_are_left_out():
    model = pair("deepseek_v4")[0]
    with torch.no_grad(), capture_attention(model, COLUMNS) as tap:
        model(batch(False)[0])
    assert tap.layers == (0, 2)
    with pytest.raises(ValueError, match=r"some keys of \[1\] stand for several tokens"):
        capture_attention(model, COLUMNS, layers=[0, 1]).__enter__()


@pytest.mark.parametrize("name", SLIDING + HYBRID)
class TestEveryKind:
    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    @pytest.mark.parametrize("padded", [True, False])
    def test_captured_equals_eager_on_the_whole_sequence(self, name, kind, padded):
        check(name, kind, padded)

    def test_layers_without_attention_do_not_count(self, name):
        decoder = pair(name)[0].get_decoder()
        layers = (1, 3) if name in HYBRID else (0, 1, 2, 3)
        assert attention_layers(decoder) == layers
        assert cross_layers(decoder) == ()
        if name in HYBRID:
            with torch.no_grad(), capture_attention(pair(name)[0], COLUMNS, layers=[0, 1]) as tap:
                pair(name)[0](batch(False)[0])
            with pytest.raises(ValueError, match=r"\[0\] had none"):
                _ = tap.maps


@pytest.mark.parametrize("name", ["gemma3", "mistral"])
@pytest.mark.parametrize("edit", [lambda on: boosted_image(on, strength=2.0), lambda on: biased_image(on, bias=3.0)])
def test_edits_meet_the_right_keys_of_a_window(name, edit):
    model = pair(name)[0]
    is_image = torch.zeros(2, LENGTHS[-1], dtype=torch.bool)
    is_image[:, 9:13] = True  # some of them in the window at the end
    for inputs, end in steps(model, "dynamic", False):
        with torch.no_grad(), edited_attention(model, edit(is_image[:, :end])):
            logits = model(**inputs).logits[:, -1]
    plain = whole(model, LENGTHS[-1], False).logits[:, -1]
    assert (logits - plain).abs().max() > 1e-3
    if name == "mistral" and edit(is_image).__qualname__.startswith("biased"):  # every query is edited: no step needed
        with torch.no_grad(), edited_attention(model, edit(is_image)):
            close(logits, whole(model, LENGTHS[-1], False).logits[:, -1])


@pytest.mark.parametrize("name", ["inkling2", "gpt_oss"])
def test_an_edit_that_adds_nothing_keeps_biases_and_sinks(name):
    model = pair(name)[0]
    inputs, plain = batch(False)[0], whole(model, LENGTHS[-1], False).logits[:, -1]
    is_image = torch.zeros(2, LENGTHS[-1], dtype=torch.bool)
    with torch.no_grad(), edited_attention(model, boosted_image(is_image, strength=1.0)):
        close(model(inputs[:, : LENGTHS[-1]]).logits[:, -1], plain)


def test_flags_of_another_length_are_refused():
    model = pair("mistral")[0]
    with (
        torch.no_grad(),
        edited_attention(model, biased_image(torch.ones(2, 20, dtype=torch.bool), bias=1.0)),
        pytest.raises(ValueError, match="one entry per key, 16 in this layer, got 20"),
    ):
        model(batch(False)[0])


def test_columns_beyond_the_sequence_are_refused():
    model = pair("mistral")[0]
    with (
        torch.no_grad(),
        capture_attention(model, torch.tensor([[3], [16]])),
        pytest.raises(ValueError, match="below 16, the keys of this forward pass, got 16"),
    ):
        model(batch(False)[0])


class TestCrossAttention:
    """Mllama: two of its four layers attend to the image, not to the sequence."""

    COLUMNS = torch.tensor([[0, 2, 6, -1], [1, 5, 3, 4]])

    @staticmethod
    @cache
    def models():
        config = hf.models.mllama.MllamaTextConfig(
            **{**SMALL, "cross_attention_layers": [1, 3]},
            rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        )
        torch.manual_seed(0)
        found = [hf.MllamaForCausalLM(config).eval() for _ in range(2)]
        with torch.no_grad():
            for key, weight in found[0].named_parameters():
                if "gate" in key:
                    weight.fill_(1.0)  # it starts closed
                if "q_norm" in key or "k_norm" in key or "q_proj" in key:
                    weight.mul_(4)
        found[1].load_state_dict(found[0].state_dict())
        found[1].set_attn_implementation("eager")
        return found

    @torch.no_grad()
    def test_columns_are_those_of_the_image(self):
        model, eager = self.models()
        ids, _, positions = batch(False)
        image = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0))
        kept = hf.DynamicCache(config=model.config)
        for start, end in zip((0, *LENGTHS), LENGTHS, strict=False):
            seen = {"cross_attention_states": image, "cross_attention_mask": torch.zeros(2, 1, end - start, 7)}
            seen["full_text_row_masked_out_mask"] = torch.ones(2, 1, end - start, 1)
            if start:
                del seen["cross_attention_states"]  # they are in the cache
            with capture_attention(model, self.COLUMNS, layers=[1, 3], heads=True) as tap:
                model(ids[:, start:end], position_ids=positions[:, start:end], **{cache_name(): kept}, **seen)
            seen["cross_attention_states"] = image
            seen["cross_attention_mask"] = torch.zeros(2, 1, end, 7)
            seen["full_text_row_masked_out_mask"] = torch.ones(2, 1, end, 1)
            want = eager(ids[:, :end], use_cache=False, output_attentions=True, **seen).attentions
            for place, layer in enumerate(tap.layers):
                close(tap.head_maps[:, place], at(want[layer], self.COLUMNS))
        assert tap.head_maps.std() > 1e-2
        assert cached_tokens(kept) == LENGTHS[-1]

    def test_the_sequence_is_the_default(self):
        model = self.models()[0]
        assert cross_layers(model.get_decoder()) == (1, 3)
        with torch.no_grad(), capture_attention(model, self.COLUMNS) as tap:
            model(batch(False)[0])
        assert tap.layers == (0, 2)
        assert tap.maps.shape == (2, 2, 4)

    def test_both_kinds_at_once_are_refused(self):
        with pytest.raises(ValueError, match="got both"):
            capture_attention(self.models()[0], self.COLUMNS, layers=[0, 1]).__enter__()

    def test_a_pass_without_an_image(self):
        model = self.models()[0]
        with torch.no_grad(), capture_attention(model, self.COLUMNS, layers=[1, 3]) as tap:
            model(batch(False)[0])
        with pytest.raises(ValueError, match="the pass had none"):
            _ = tap.maps


def test_heat_comes_from_layers_with_attention():
    assert heat_layers(4, 1, attention_layers(pair("qwen3_5")[0].get_decoder())) == [1, 3]
