"""What the magnifier leaves as it was, and what it refuses."""

import copy

import numpy as np
import pytest
import torch
from tiny import PICTURES, PROMPTS, model_of, picture, processor_of
from tiny_magnifier import GREEDY, magnifier

from pmtools.adapters import capture_attention, sequences
from pmtools.decoding import METHODS, PerceptionMagnifier

# ----------------------------------------------------------------------------------------- what stays as it was


class TestNothingIsLeftBehind:
    def used_model(self):
        model = copy.deepcopy(model_of("llava"))
        inputs = processor_of("llava")(images=picture(60, 60), text=PROMPTS[0], return_tensors="pt")
        model.generate(**inputs, max_new_tokens=2)  # transformers itself notes a few things on first use
        return model

    def snapshot(self, model):
        names = [
            (name, type(module), module.training, tuple(sorted(vars(module))), len(module._forward_hooks))
            for name, module in model.named_modules()
        ]
        configs = [model.config.to_json_string(), model.generation_config.to_json_string()]
        texts = [str(module.config._attn_implementation) for module in model.modules() if hasattr(module, "config")]
        return names, configs, texts

    @pytest.mark.parametrize("refresh", ["every", "first", "adaptive"])
    @pytest.mark.parametrize("breaks", [None, 0, 1])
    def test_model_and_configuration(self, refresh, breaks):
        model = self.used_model()
        before = self.snapshot(model)

        def stop(ids, scores, **_):
            if breaks is not None and len(pm.last) > breaks:
                raise KeyError("mine")
            return torch.zeros(ids.shape[0], dtype=torch.bool)

        pm = magnifier(refresh=refresh, tolerance=0)
        inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        options = {**GREEDY, "custom_generate": pm, "stopping_criteria": [stop]}
        if breaks is None:
            model.generate(**inputs, **options)
        else:
            with pytest.raises(KeyError, match="mine"):
                model.generate(**inputs, **options)
        assert self.snapshot(model) == before

    def test_the_snapshot_sees_what_is_left_behind(self):
        model = self.used_model()
        before = self.snapshot(model)
        with capture_attention(model, torch.zeros(1, 1, dtype=torch.long)):
            assert self.snapshot(model) != before
        model.lm_head.register_forward_hook(lambda *_: None)
        assert self.snapshot(model) != before

    def test_an_exception_in_the_middle_of_a_refinement(self, monkeypatch):
        model = self.used_model()
        before = self.snapshot(model)

        def broken(*_):
            raise KeyError("mine")

        monkeypatch.setattr("pmtools.adapters.streams.kept_features", broken)
        monkeypatch.setattr(sequences.TokenSequences, "hiding", broken)
        pm = magnifier()
        inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        with pytest.raises(KeyError, match="mine"):
            model.generate(**inputs, custom_generate=pm, **GREEDY)
        assert self.snapshot(model) == before

    def test_inputs_are_not_changed(self):
        pm = magnifier()
        inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        before = {name: copy.deepcopy(value) for name, value in inputs.items()}
        model_of("llava").generate(**inputs, custom_generate=pm, **GREEDY)
        assert inputs.keys() == before.keys()
        assert all(torch.equal(inputs[name], before[name]) for name in ("input_ids", "attention_mask", "pixel_values"))


# --------------------------------------------------------------------------------------------------- refusals


class TestRefusals:
    def refused(self, match, *, family="llava", pm=None, error=ValueError, inputs=None, **options):
        pm = pm or magnifier(family)
        if inputs is None:
            inputs = pm.processor(images=PICTURES[0], text=PROMPTS[0], return_tensors="pt")
        with pytest.raises(error, match=match):
            model_of(family).generate(
                **inputs, custom_generate=pm, **{"max_new_tokens": 2, "do_sample": False, **options}
            )

    def test_no_image(self):
        inputs = processor_of("llava")(images=picture(60, 60), text=PROMPTS[0], return_tensors="pt")
        self.refused("`images` must be given once.*neither", inputs=inputs)

    def test_a_prompt_without_image(self):
        inputs = processor_of("llava").tokenizer("Hello", return_tensors="pt")
        self.refused("image tokens", inputs=inputs, images=[picture(60, 60)])

    @pytest.mark.parametrize("method", ["pm", "greedy", "blur"])
    def test_an_image_token_and_no_image(self, method):
        with pytest.raises(ValueError, match="once per image, 0 times, got 1"):
            METHODS[method](processor_of("llava")).generate(model_of("llava"), [], PROMPTS[0])

    def test_images_twice(self):
        self.refused("`images` must be given once.*both", images=[picture(60, 60)])

    @pytest.mark.parametrize("count", [2, 3])
    def test_image_count_and_prompt_that_disagree(self, count):
        inputs = processor_of("llava")(images=picture(60, 60), text=PROMPTS[0], return_tensors="pt")
        self.refused("holds 16 image tokens, but its", inputs=inputs, images=[picture(60, 60)] * count)

    def test_images_of_several_prompts_in_one_list(self):
        pm = magnifier()
        with pytest.raises(ValueError, match="which of the 2 prompts"):
            pm.processor(images=[picture()] * 3, text=PROMPTS, return_tensors="pt")

    def test_not_an_image(self):
        with pytest.raises(TypeError, match="`images` must hold PIL images, arrays"):
            magnifier().processor(images={"bytes": b""}, text=PROMPTS[0], return_tensors="pt")

    def test_a_processor_of_another_family(self):
        from transformers import LlavaProcessor

        pm = magnifier("llava")
        assert isinstance(pm.processor.inner, LlavaProcessor)
        inputs = magnifier("qwen2_vl").processor(images=picture(), text=PROMPTS[0], return_tensors="pt")
        self.refused("12 image tokens.* make 16: .*this model.s own processor", family="qwen2_vl", pm=pm, inputs=inputs)

    def test_a_processor_with_another_image_token(self):
        processor = copy.copy(processor_of("llava"))
        processor.image_token_id = 99
        pm = PerceptionMagnifier(processor)
        inputs = magnifier().processor(images=picture(), text=PROMPTS[0], return_tensors="pt")
        self.refused("image tokens can be placed|must mark images by token", pm=pm, inputs=inputs)

    def test_inputs_that_lost_the_sides_of_the_image(self):
        inputs = processor_of("llava")(images=picture(120, 90), text=PROMPTS[0], return_tensors="pt")
        self.refused("crops its centre", inputs=inputs, images=[picture(120, 90)])

    def test_a_static_cache(self):
        self.refused("DynamicCache", cache_implementation="static")

    def test_no_cache(self):
        self.refused("`use_cache` must be True", use_cache=False)

    def test_prompt_lookup(self):
        self.refused("`prompt_lookup_num_tokens` must be None", prompt_lookup_num_tokens=2)

    def test_an_assistant(self):
        with pytest.raises(ValueError, match="`assistant_model` cannot be used"):
            magnifier().generate(model_of("llava"), picture(), PROMPTS[0], assistant_model=model_of("llava"))

    def test_chunked_prefill(self):
        self.refused("prefill_chunk_size", prefill_chunk_size=8)

    def test_fused_tiles(self):
        self.refused(
            "cuts it into tiles|resamples once, in its own way",
            family="llava_next",
            pm=magnifier("llava_next", preprocess="fused"),
        )

    @pytest.mark.parametrize(
        ("option", "value", "error"),
        [
            ("refine", "sometimes", ValueError),
            ("refresh", "never", ValueError),
            ("preprocess", "magic", ValueError),
            ("heatmap", "clip", ValueError),
            ("heatmap", np.array([[-1.0]]), ValueError),
            ("tolerance", -1, ValueError),
            ("threshold", "low", TypeError),
            ("relative_threshold", 1.5, ValueError),
            ("start_layer", 0, ValueError),
            ("kernel_size", 2, ValueError),
            ("floor", 0, ValueError),
        ],
    )
    def test_options(self, option, value, error):
        with pytest.raises(error, match=f"`{option}`"):
            magnifier(**{option: value})

    def test_no_processor(self):
        with pytest.raises(TypeError, match="AutoProcessor"):
            PerceptionMagnifier("llava")

    def test_a_prompt_without_its_image_tokens(self):
        with pytest.raises(ValueError, match="once per image"):
            magnifier().generate(model_of("llava"), picture(), "<image> <image>", max_new_tokens=1)


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (
            torch.nn.DataParallel,
            r"`model` must be .* that generates, got a DataParallel; give the one inside, model\.module",
        ),
        (lambda model: "llava", "`model` must be .*, got a str; load it with"),
        (lambda model: processor_of("llava"), "`model` must be .*, got a LlavaProcessor"),
    ],
)
def test_what_cannot_generate_is_refused(wrap, message):
    pm = magnifier("llava")
    with pytest.raises(TypeError, match=message):
        pm.generate(wrap(model_of("llava")), picture(60, 60), PROMPTS[0])
    with pytest.raises(TypeError, match=message):
        pm.generate_ids(wrap(model_of("llava")), input_ids=torch.ones(1, 3, dtype=torch.long))


@pytest.mark.parametrize(
    "prompt", [None, b"a <image>", [], [None], {"role": "user"}, [[{"role": "user"}]], picture(9, 9)]
)
def test_what_is_no_prompt_is_refused(prompt):
    with pytest.raises(
        TypeError, match=r"`prompt` must be a string or a list of them, got.*the order is model, images"
    ):
        magnifier("llava").generate(model_of("llava"), picture(60, 60), prompt)
