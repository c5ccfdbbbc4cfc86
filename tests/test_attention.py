"""Captured attention against `output_attentions=True` with eager attention, for every family and kind of forward pass."""

import contextlib
import copy
import pickle
import threading
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import FAMILIES, PROMPTS, processor_of

from pmtools.adapters.attention import capture_attention, heat_layers
from pmtools.adapters.editing import boosted_image, edited_attention
from pmtools.testing.models import tiny_model

SIZES = [(120, 90), (70, 100)]  # (width, height)


@cache
def pair(family, **text):
    return tiny_model(family, **text), tiny_model(family, attn_implementation="eager", **text)


@cache
def inputs_of(family):
    rng = np.random.default_rng(0)
    images = [[Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))] for w, h in SIZES]
    return dict(processor_of(family)(images=images, text=PROMPTS, return_tensors="pt", padding=True))


def image_columns(model, input_ids):
    hits = [row.nonzero()[:, 0] for row in input_ids == model.config.image_token_id]
    return torch.nn.utils.rnn.pad_sequence(hits, batch_first=True, padding_value=-1)


def at_columns(attentions, columns):
    rows = torch.stack([layer[:, :, -1] for layer in attentions], dim=1)  # (B, layers, heads, keys)
    index = columns.clamp(min=0)[:, None, None].expand(-1, *rows.shape[1:3], -1)
    return rows.gather(-1, index) * (columns >= 0)[:, None, None]


@torch.no_grad()
def check(family, inputs, columns, **text):
    sdpa, eager = pair(family, **text)
    reference = eager(**inputs, output_attentions=True)
    want = at_columns(reference.attentions, columns)
    for model in (sdpa, eager):
        with capture_attention(model, columns, heads=True) as tap:
            captured = model(**inputs)
        assert tap.layers == tuple(range(len(reference.attentions)))
        torch.testing.assert_close(tap.head_maps, want, atol=1e-5, rtol=0)
        torch.testing.assert_close(tap.maps, want.amax(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(captured.logits, model(**inputs).logits, atol=0, rtol=0)
    return want


@pytest.mark.parametrize("family", FAMILIES)
class TestEveryFamily:
    def test_prefill_of_a_padded_batch(self, family):
        inputs = inputs_of(family)
        assert (inputs["attention_mask"] == 0).any()
        want = check(family, inputs, image_columns(pair(family)[0], inputs["input_ids"]))
        assert want.std() > 1e-4  # attention is not uniform, so a shifted column would show

    def test_hidden_tokens(self, family):
        inputs = inputs_of(family)
        columns = image_columns(pair(family)[0], inputs["input_ids"])
        mask = inputs["attention_mask"].clone()
        mask[0, columns[0, 1]] = mask[1, columns[1, 3]] = 0
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)  # those of the unmasked sequence
        if family.startswith("qwen"):
            positions = positions.expand(3, -1, -1)
        want = check(family, {**inputs, "attention_mask": mask, "position_ids": positions}, columns)
        assert want[0, ..., 1].max() == 0 == want[1, ..., 3].max()

    @torch.no_grad()
    def test_decoding_steps(self, family):
        inputs = inputs_of(family)
        sdpa, eager = pair(family)
        columns = image_columns(sdpa, inputs["input_ids"])
        seen = eager.generate(
            **inputs, max_new_tokens=3, do_sample=False, return_dict_in_generate=True, output_attentions=True
        )
        for model in (sdpa, eager):
            taps = []
            with capture_attention(model, columns, heads=True) as tap:
                handle = model.get_decoder().register_forward_hook(lambda *_, t=tap, to=taps: to.append(t.head_maps))
                model.generate(**inputs, max_new_tokens=3, do_sample=False)
                handle.remove()
            assert len(taps) == 3
            for maps, attentions in zip(taps, seen.attentions, strict=True):
                torch.testing.assert_close(maps, at_columns(attentions, columns), atol=1e-5, rtol=0)


def test_the_check_sees_columns_that_are_one_off():
    inputs, (model, _) = inputs_of("llava"), pair("llava")
    columns = image_columns(model, inputs["input_ids"])
    with torch.no_grad(), capture_attention(model, columns + 1, heads=True) as tap:
        model(**inputs)
        with pytest.raises(AssertionError, match="not close"):
            torch.testing.assert_close(tap.head_maps, check("llava", inputs, columns), atol=1e-5, rtol=0)


def test_a_text_model():
    from transformers import LlamaForCausalLM

    config = pair("llava")[0].config.text_config
    model, columns = LlamaForCausalLM(config).eval(), torch.tensor([[0, 3]])
    with torch.no_grad(), capture_attention(model, columns) as tap:
        model(input_ids=torch.tensor([[20, 21, 22, 23, 24]]))
    assert tap.maps.shape == (1, 4, 2)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_key_value_groups(groups):
    inputs = inputs_of("llava")
    model = pair("llava")[0]
    check("llava", inputs, image_columns(model, inputs["input_ids"]), num_key_value_heads=groups)


def test_chosen_layers_only():
    inputs, (model, _) = inputs_of("llava"), pair("llava")
    columns = image_columns(model, inputs["input_ids"])
    with (
        torch.no_grad(),
        capture_attention(model, columns) as every,
        capture_attention(model, columns, layers=[3, 1]) as two,
    ):
        model(**inputs)
    assert two.layers == (1, 3)
    torch.testing.assert_close(two.maps, every.maps[:, [1, 3]])


def test_a_static_cache_too():
    (model, _), inputs = pair("llava"), inputs_of("llava")
    columns = image_columns(model, inputs["input_ids"])
    found = []
    for kind in ("dynamic", "static"):
        with capture_attention(model, columns) as tap:
            model.generate(**inputs, max_new_tokens=2, do_sample=False, cache_implementation=kind)
        found.append(tap.maps)
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_training_with_gradient_checkpointing(reentrant, inside):
    """Its gradients are those without the block; maps can be read, and not be trained through."""
    model, columns = tiny_model().train(), torch.tensor([[1, 2]])
    texts = [torch.arange(20, 20 + n)[None] for n in (6, 9)]
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": reentrant})

    def gradients(block):
        model.zero_grad()
        with block as tap:
            losses = [model(input_ids=ids, labels=ids, use_cache=False).loss for ids in texts]
            if inside:
                sum(losses).backward()  # runs the layers of the first text again
        if not inside:
            sum(losses).backward()
        return tap, [weight.grad for weight in model.get_decoder().parameters()]

    (_, want), (tap, found) = gradients(contextlib.nullcontext()), gradients(capture_attention(model, columns))
    assert all(map(torch.equal, found, want))
    with pytest.raises(ValueError, match=r"gradient_checkpointing_disable\(\)"):
        tap.maps.sum().backward()
    with capture_attention(model.eval(), columns) as plain:
        model(input_ids=texts[1])
    torch.testing.assert_close(tap.maps.detach(), plain.maps.detach())
    assert plain.maps.grad_fn is not None


def test_a_copy_made_inside_the_block_is_a_plain_model():
    model, ids = tiny_model(), torch.arange(20, 26)[None]
    with torch.no_grad(), capture_attention(model, torch.tensor([[1, 2]])) as tap:
        logits, maps = model(input_ids=ids).logits, tap.maps
        copied, config = copy.deepcopy(model), pickle.loads(pickle.dumps(model.config))
        assert torch.equal(copied(input_ids=ids + 9).logits, tiny_model()(input_ids=ids + 9).logits)
        assert torch.equal(copied(input_ids=ids).logits, logits)
        assert torch.equal(tap.maps, maps)
    for found in (copied.config, config):
        assert type(found.text_config._attn_implementation) is str
        assert found.text_config._attn_implementation == "sdpa"
    type(model)(config)


@pytest.mark.parametrize("own", ["sdpa", "eager"])
def test_what_models_ask_of_the_name(own):
    """Whether it is one that they know, for their masks, and whether it is another, before they ask the registry."""
    model = tiny_model(attn_implementation=own)
    with capture_attention(model, torch.tensor([[1, 2]])):
        name = model.get_decoder().config._attn_implementation
        assert name in ("eager", "sdpa")
        assert {"eager": "sdpa", "sdpa": "eager"}[own] != name != own
    assert type(model.get_decoder().config._attn_implementation) is str


def test_everything_is_restored_after_an_exception():
    (model, _), inputs = pair("llava"), inputs_of("llava")
    columns = image_columns(model, inputs["input_ids"])
    with contextlib.suppress(KeyError), capture_attention(model, columns) as tap:
        assert model.get_decoder().config._attn_implementation != "sdpa"
        raise KeyError
    assert model.get_decoder().config._attn_implementation == "sdpa"
    with torch.no_grad():
        model(**inputs)
    with pytest.raises(RuntimeError, match="run the model inside"):
        _ = tap.maps


def test_an_exception_inside_the_model_restores_too():
    (model, _), inputs = pair("llava"), inputs_of("llava")
    columns = image_columns(model, inputs["input_ids"])
    with pytest.raises(ValueError, match="one row per sequence"), capture_attention(model, columns[:1]):
        model(**inputs)
    assert model.get_decoder().config._attn_implementation == "sdpa"


def test_nothing_records_after_the_block():
    (model, _), inputs = pair("llava"), inputs_of("llava")
    with torch.no_grad():
        with capture_attention(model, image_columns(model, inputs["input_ids"])) as tap:
            model(**inputs)
        before = tap.maps
        model(**{**inputs, "pixel_values": -inputs["pixel_values"]})
    assert tap.maps is not before
    torch.testing.assert_close(tap.maps, before, atol=0, rtol=0)


def test_threads_record_their_own():
    (model, _), inputs = pair("llava"), inputs_of("llava")
    columns = image_columns(model, inputs["input_ids"])
    rows = [{name: value[i : i + 1] for name, value in inputs.items()} for i in range(2)]
    found, barrier = {}, threading.Barrier(2)

    def work(i):
        with torch.no_grad(), capture_attention(model, columns[i : i + 1]) as tap:
            barrier.wait()
            for _ in range(5 + 5 * i):  # one of them leaves first
                model(**rows[i])
                found.setdefault(i, []).append(tap.maps)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.get_decoder().config._attn_implementation == "sdpa"
    for i in range(2):
        with torch.no_grad(), capture_attention(model, columns[i : i + 1]) as tap:
            model(**rows[i])
        assert len(found[i]) == 5 + 5 * i
        for maps in found[i]:
            torch.testing.assert_close(maps, tap.maps)


class TestRefusals:
    def test_columns(self):
        with pytest.raises(TypeError, match=r"`columns` must be an integer tensor of shape \(B, n\)"):
            capture_attention(pair("llava")[0], torch.zeros(1, 3)).__enter__()

    def test_layers(self):
        with pytest.raises(ValueError, match="below 4"):
            capture_attention(pair("llava")[0], torch.zeros(1, 3, dtype=torch.long), layers=[4]).__enter__()

    def test_no_language_model(self):
        with pytest.raises(ValueError, match="get_decoder"):
            capture_attention(torch.nn.Linear(2, 2), torch.zeros(1, 3, dtype=torch.long)).__enter__()

    def test_an_encoder_and_a_decoder(self):
        from transformers import BartConfig, BartForConditionalGeneration

        config = BartConfig(vocab_size=50, d_model=16, encoder_layers=1, decoder_layers=1)
        with pytest.raises(ValueError, match="attends to an encoder's sequence too; use a decoder-only model"):
            capture_attention(BartForConditionalGeneration(config), torch.tensor([[0, 1]])).__enter__()

    def test_a_tensor_that_the_scores_would_leave_out(self):
        """Only if the attention function names it: any argument of the model's forward pass gets there."""
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.integrations.sdpa_attention import sdpa_attention_forward
        from transformers.masking_utils import sdpa_mask

        def tempered(module, query, key, value, attention_mask, temperature, **options):
            return sdpa_attention_forward(module, query * temperature, key, value, attention_mask, **options)

        AttentionInterface.register("tempered_for_tests", tempered)
        AttentionMaskInterface.register("tempered_for_tests", sdpa_mask)
        options = {"input_ids": torch.arange(20, 26)[None], "temperature": torch.tensor(2.0)}
        for name in ("sdpa", "tempered_for_tests"):
            model = tiny_model(attn_implementation=name)
            refused = pytest.raises(ValueError, match="`temperature`, which captured maps would leave out")
            expected = contextlib.nullcontext() if name == "sdpa" else refused
            with torch.no_grad(), capture_attention(model, torch.tensor([[0, 1]])), expected:
                model(**options)

    @pytest.mark.parametrize("block", ["capture", "edit"])
    def test_a_model_with_attention_code_of_its_own(self, block):
        from transformers import BloomConfig, BloomForCausalLM

        model = BloomForCausalLM(BloomConfig(vocab_size=50, hidden_size=32, n_layer=2, n_head=4)).eval()
        opened = {
            "capture": capture_attention(model, torch.tensor([[0, 1]])),
            "edit": edited_attention(model, boosted_image(torch.ones(1, 5, dtype=torch.bool), strength=1.0)),
        }[block]
        with torch.no_grad(), pytest.raises(ValueError, match="registry, but no layer of BloomModel did"), opened:
            model(torch.arange(5)[None])

    def test_heads_not_kept(self):
        with (
            pytest.raises(ValueError, match="heads=True"),
            capture_attention(pair("llava")[0], torch.zeros(1, 3, dtype=torch.long)) as tap,
        ):
            _ = tap.head_maps


def test_a_capture_in_one_thread_and_an_edit_in_another(monkeypatch):
    """Both name the same function in the configuration; neither sees the other's, and it is restored."""
    model = tiny_model()
    ids = torch.arange(20, 30)[None]
    is_image = torch.zeros(1, 10, dtype=torch.bool)
    is_image[:, 2:6] = True
    own = model.get_decoder().config._attn_implementation
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        with edited_attention(model, boosted_image(is_image, strength=3.0)):
            edited = model(input_ids=ids).logits
    opened, done = threading.Event(), threading.Event()
    seen = {}

    def capture():
        with torch.no_grad(), capture_attention(model, torch.tensor([[2, 3]])) as tap:
            opened.set()
            done.wait(30)
            seen["logits"], seen["maps"] = model(input_ids=ids).logits, tap.maps

    thread = threading.Thread(target=capture)
    thread.start()
    opened.wait(30)
    with torch.no_grad(), edited_attention(model, boosted_image(is_image, strength=3.0)):
        meanwhile = model(input_ids=ids).logits
    done.set()
    thread.join()
    assert torch.equal(meanwhile, edited)
    assert not torch.equal(edited, plain)
    assert torch.equal(seen["logits"], plain)
    assert seen["maps"].shape[0] == 1
    assert model.get_decoder().config._attn_implementation == own


def test_the_layers_that_count():
    assert heat_layers(32, "auto", None) == list(range(11, 32))
    assert heat_layers(32, 12, None) == list(range(11, 32))
    assert heat_layers(4, 2, (1, 3)) == [1, 3]
    with pytest.raises(ValueError, match="use 'auto'"):
        heat_layers(4, 5, None)
