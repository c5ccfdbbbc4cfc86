"""What belongs to one call: streamers, steps, settings of the checkpoint; and a view of the model for other people's code."""

import copy
import inspect
import pickle
import shutil
import threading
from pathlib import Path

import pytest
import torch
import transformers
from tiny import PICTURES, PROMPTS, model_of, picture, processor_of
from tiny_magnifier import GREEDY, Reader, magnifier, plain, run, same
from transformers import GenerationConfig, TextIteratorStreamer

from pmtools.decoding import HUB_FOLDER, METHODS, Greedy, PerceptionMagnifier, magnified
from pmtools.testing.models import tiny_model, tiny_processor

SHORT = {"max_new_tokens": 3, "do_sample": False}


class Gated:
    """The model, in which all calls of `generate` are inside at once, as slow prompts of a server are."""

    def __init__(self, model, gate):
        self.model, self.gate = model, gate

    def __getattr__(self, name):
        return getattr(self.model, name)

    def generate(self, *inputs, **options):
        self.gate.wait()
        return self.model.generate(*inputs, **options)


class TestThreads:
    COUNT = 6

    def ask_at_once(self, pm, prompts):
        gate, readers, steps = threading.Barrier(len(prompts)), [Reader() for _ in prompts], [None] * len(prompts)
        model = Gated(model_of("llava"), gate)

        def ask(index):
            pm.generate(model, picture(), prompts[index], streamer=readers[index], **SHORT)
            steps[index] = pm.last

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return readers, steps

    def test_each_streamer_gets_its_own_tokens_and_its_own_end(self):
        pm = magnifier(refine="none")
        prompts = ["a" * (index + 1) + " <image>?" for index in range(self.COUNT)]
        readers, steps = self.ask_at_once(pm, prompts)
        for prompt, reader, own in zip(prompts, readers, steps, strict=True):
            alone = Reader()
            pm.generate(model_of("llava"), picture(), prompt, streamer=alone, **SHORT)
            assert (reader.tokens, reader.ends) == (alone.tokens, 1)
            assert len(own) == SHORT["max_new_tokens"]
        assert len({id(own) for own in steps}) == self.COUNT

    def test_a_thread_that_made_no_call_sees_the_latest(self):
        pm = magnifier(refine="none")
        thread = threading.Thread(target=pm.generate, args=(model_of("llava"), picture(), PROMPTS[0]), kwargs=SHORT)
        thread.start()
        thread.join()
        assert len(pm.last) == SHORT["max_new_tokens"]

    def test_the_tokenizer_is_never_changed(self):
        pm = magnifier(refine="none")
        before = pickle.dumps(pm.processor.tokenizer.__dict__.get("padding_side")), pm.processor.tokenizer.padding_side
        self.ask_at_once(pm, ["a <image>?", "bb <image>?"])
        after = pickle.dumps(pm.processor.tokenizer.__dict__.get("padding_side")), pm.processor.tokenizer.padding_side
        assert after == before

    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda pm: pickle.loads(pickle.dumps(pm))])
    def test_methods_can_be_copied_and_pickled(self, again):
        pm = magnifier(refine="none")
        run(pm, max_new_tokens=1)
        other = again(pm)
        same(run(other), run(pm), 0)


def with_settings(**settings):
    model = tiny_model()
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    return model


FASTER = [
    {"use_cache": False},
    {"cache_implementation": "static"},
    {"prompt_lookup_num_tokens": 3},
    {"prefill_chunk_size": 7},
]


class TestSettingsOfTheCheckpoint:
    def answers(self, model, **options):
        pm = PerceptionMagnifier(tiny_processor(model), refine="none")
        return pm.generate(model, picture(), PROMPTS[0], **{**SHORT, "max_new_tokens": 6}, **options)

    def test_stop_strings(self):
        whole = self.answers(tiny_model())
        stop = next(char for char in whole if char.isascii())
        want = whole[: whole.index(stop) + 1]
        assert self.answers(with_settings(stop_strings=[stop])) == want
        tokenizer = tiny_processor(tiny_model()).tokenizer
        assert self.answers(with_settings(stop_strings=[stop]), tokenizer=tokenizer) == want
        assert self.answers(tiny_model(), stop_strings=stop) == want
        pm = magnifier(refine="none")
        for model in (tiny_model(), with_settings(stop_strings="nowhere")):
            config = GenerationConfig(max_new_tokens=6, do_sample=False, stop_strings=[stop])
            assert pm.generate(model, picture(), PROMPTS[0], generation_config=config) == want
            assert pm.generate(model, picture(), PROMPTS[0], generation_config=config, stop_strings=None) == whole
        assert self.answers(with_settings(stop_strings=[stop]), stop_strings=None) == whole  # as transformers does
        assert self.answers(with_settings(stop_strings=[])) == whole

    def test_token_healing_is_refused_wherever_it_stands(self):
        config = GenerationConfig(token_healing=True, max_new_tokens=6, do_sample=False)
        for model, options in ((with_settings(token_healing=True), {}), (tiny_model(), {"generation_config": config})):
            with pytest.raises(ValueError, match=r"`token_healing` cannot be used here.*give `token_healing=False`"):
                self.answers(model, **options)
            assert self.answers(model, **options, token_healing=False) == self.answers(tiny_model())

    @pytest.mark.parametrize("settings", FASTER)
    def test_what_a_configuration_of_the_call_prefers_changes_no_token(self, settings):
        model, pm = tiny_model(), magnifier(refine="none")
        config = GenerationConfig(max_new_tokens=3, do_sample=False, **settings)
        before = config.to_dict()
        want = pm.generate(model, picture(), PROMPTS[0], **SHORT)
        assert pm.generate(model, picture(), PROMPTS[0], generation_config=config) == want
        assert config.to_dict() == before
        assert len(pm.last) == 3

    @pytest.mark.parametrize(
        "settings",
        [
            {"force_words_ids": [[5]]},
            {"force_words_ids": [[5]], "num_beams": 2},
            {"penalty_alpha": 0.5, "top_k": 4},
            {"num_beam_groups": 2, "num_beams": 2, "diversity_penalty": 1.0},
            {"dola_layers": "low"},
        ],
    )
    def test_what_would_change_tokens_is_refused_wherever_it_stands(self, settings):
        name = next(iter(settings))
        with pytest.raises(ValueError, match=rf"give `{name}=None`, which overrides"):
            self.answers(with_settings(**settings))
        with pytest.raises(ValueError, match=rf"give `{name}=None`, which overrides"):
            self.answers(tiny_model(), **settings)
        assert self.answers(with_settings(**settings), **{name: None}, num_beams=1) == self.answers(tiny_model())

    @pytest.mark.parametrize("settings", FASTER)
    def test_what_the_checkpoint_prefers_changes_no_token(self, settings):
        assert self.answers(with_settings(**settings)) == self.answers(tiny_model())
        model = with_settings(**settings)
        same(run_on(model), run_on(tiny_model()), 0)

    @pytest.mark.parametrize(
        ("option", "says"),
        [
            ({"use_cache": False}, "`use_cache` must be True"),
            ({"cache_implementation": "static"}, "DynamicCache"),
            ({"prompt_lookup_num_tokens": 3}, "`prompt_lookup_num_tokens` must be None"),
            ({"prefill_chunk_size": 7}, "`prefill_chunk_size` must be None"),
            ({"use_mtp": True}, "`use_mtp` must be None"),
            ({"token_healing": True}, "`token_healing` cannot be used"),
            ({"cache_implementation": "paged"}, "continuous batches"),
            ({"assistant_model": 1}, "each token needs the whole method"),
            ({"custom_generate": 1}, "the method itself"),
        ],
    )
    def test_what_the_call_asks_for_is_refused(self, option, says):
        with pytest.raises(ValueError, match=says):
            self.answers(tiny_model(), **option)


def run_on(model):
    pm = PerceptionMagnifier(tiny_processor(model), threshold=0.05, refine="none")
    inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
    return model.generate(**inputs, custom_generate=pm, **GREEDY)


CHAT = [{"role": "user", "content": [{"type": "image", "image": picture()}, {"type": "text", "text": "what?"}]}]


class TestView:
    def test_its_generate_is_the_method(self):
        view = magnified(model_of("llava"), processor_of("llava"), threshold=0.05)
        inputs = view.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        same(view.generate(**inputs, **GREEDY), run(magnifier()), 0)
        assert len(view.method.last) == GREEDY["max_new_tokens"]

    def test_the_model_stays_as_it_is(self):
        model = model_of("llava")
        before = dict(vars(model))
        view = magnified(model, processor_of("llava"))
        assert vars(model) == before
        assert "generate" not in vars(type(model))
        assert isinstance(view, type(model))
        assert type(view).__name__ == type(model).__name__
        assert next(view.parameters()) is next(model.parameters())
        same(plain(Greedy(processor_of("llava"))), model.generate(**plain_inputs(), **GREEDY), 0)

    @pytest.mark.parametrize("method", ["greedy", "vcd", "blur", "vicrop"])
    def test_any_method_by_its_name(self, method):
        view = magnified(model_of("llava"), processor_of("llava"), method=method)
        own = METHODS[method](processor_of("llava"))
        inputs = view.processor(images=picture(), text=PROMPTS[0], return_tensors="pt")
        want = model_of("llava").generate(**inputs, custom_generate=own, **SHORT)
        assert torch.equal(view.generate(**inputs, **SHORT), want)

    def test_a_method_that_was_made_already(self):
        pm = magnifier()
        assert magnified(model_of("llava"), processor_of("llava"), method=pm).method is pm
        with pytest.raises(TypeError, match="to the method itself"):
            magnified(model_of("llava"), processor_of("llava"), method=pm, gain=3.0)
        with pytest.raises(ValueError, match="`method` must be one of"):
            magnified(model_of("llava"), processor_of("llava"), method="magic")

    def test_what_is_set_on_it_holds(self):
        view = magnified(model_of("llava"), processor_of("llava"), refine="none")
        view.generation_config = GenerationConfig(max_new_tokens=2, min_new_tokens=2, do_sample=False)
        inputs = view.processor(images=picture(), text=PROMPTS[0], return_tensors="pt")
        assert view.generate(**inputs).shape[1] == inputs["input_ids"].shape[1] + 2
        assert model_of("llava").generation_config is not view.generation_config

    def test_arguments_by_position(self):
        view = magnified(model_of("llava"), processor_of("llava"), refine="none")
        inputs = dict(view.processor(images=picture(), text=PROMPTS[0], return_tensors="pt"))
        want = view.generate(**inputs, **SHORT)
        assert torch.equal(view.generate(inputs.pop("input_ids"), GenerationConfig(**SHORT), **inputs), want)
        assert list(inspect.signature(view.generate).parameters)[:2] == ["inputs", "generation_config"]

    def test_a_processor_of_another_method(self):
        pm = magnifier(refine="none")
        view = magnified(model_of("llava"), pm.processor, refine="none")
        inputs = view.processor(images=picture(), text=PROMPTS[0], return_tensors="pt")  # hung on a lock of its own
        assert torch.equal(view.generate(**inputs, **SHORT), pm.generate_ids(model_of("llava"), **inputs, **SHORT))
        with pytest.raises(ValueError, match="the one that the method was made with"):
            magnified(model_of("llava"), copy.copy(processor_of("llava")), method=pm)

    @pytest.mark.parametrize("model", ["llava", torch.nn.Linear(2, 2)])
    def test_what_cannot_generate(self, model):
        with pytest.raises(TypeError, match="`model` must be a transformers model that generates"):
            magnified(model, processor_of("llava"))

    @pytest.mark.parametrize("cancel", [False, True])
    def test_an_error_ends_a_streamer_unless_its_server_tells_of_it(self, cancel):
        reader = Reader()
        if cancel:
            reader.cancel = lambda: None
        view = magnified(model_of("llava"), processor_of("llava"))
        inputs = view.processor(images=picture(), text=PROMPTS[0], return_tensors="pt")
        with pytest.raises(ValueError, match="beam search"):
            view.generate(**inputs, num_beams=2, streamer=reader, **SHORT)
        assert reader.ends == (0 if cancel else 1)

    @pytest.mark.parametrize("batch_size", [1, 2])
    def test_a_pipeline_with_nothing_changed(self, batch_size):
        view = magnified(model_of("llava"), processor_of("llava"), threshold=0.05)
        pipe = transformers.pipeline("image-text-to-text", model=view, processor=view.processor)
        found = pipe(text=[CHAT, CHAT], batch_size=batch_size, return_full_text=False, generate_kwargs=dict(SHORT))
        text = view.processor.apply_chat_template(CHAT, add_generation_prompt=True)
        want = magnifier().generate(model_of("llava"), picture(), text, **SHORT)
        assert [item["generated_text"].strip() for [item] in found] == [want] * 2
        assert len(view.method.last) == SHORT["max_new_tokens"]

    def test_a_streamer_in_another_thread(self):
        view = magnified(model_of("llava"), processor_of("llava"), threshold=0.05)
        inputs = view.processor.apply_chat_template(
            CHAT, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
        )
        streamer = TextIteratorStreamer(
            view.processor.tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=60
        )
        thread = threading.Thread(target=view.generate, kwargs={**inputs, "streamer": streamer, **SHORT})
        thread.start()
        text = "".join(streamer)
        thread.join()
        ids = view.generate(**inputs, **SHORT)[0, inputs["input_ids"].shape[1] :]
        assert text == view.processor.decode(ids, skip_special_tokens=True)

    def test_stop_strings_with_a_tokenizer(self):
        view = magnified(model_of("llava"), processor_of("llava"), refine="none")
        inputs = view.processor(images=picture(), text=PROMPTS[0], return_tensors="pt")
        whole = view.generate(**inputs, **{**SHORT, "max_new_tokens": 6})[0, inputs["input_ids"].shape[1] :]
        stop = view.processor.decode(whole[:2])[-1]
        for tokenizer in (view.processor.tokenizer, view.processor, None):
            found = view.generate(**inputs, stop_strings=stop, tokenizer=tokenizer, **{**SHORT, "max_new_tokens": 6})
            assert found.shape[1] - inputs["input_ids"].shape[1] <= 2

    def test_inputs_of_the_models_own_processor_need_their_images(self):
        view = magnified(model_of("llava"), processor_of("llava"))
        with pytest.raises(ValueError, match="`images` must be given once"):
            view.generate(**plain_inputs(), **SHORT)
        image = picture(80, 80)
        inputs = processor_of("llava")(images=image, text=PROMPTS[0], return_tensors="pt")
        assert view.generate(**inputs, images=[image], **SHORT).shape[0] == 1


def plain_inputs():
    inputs = magnifier().processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
    return {name: value for name, value in inputs.items() if name != "pm_images"}


class TestHubFolder:
    def test_a_folder_of_custom_code(self, tmp_path, monkeypatch):
        monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path))
        image, reader = picture(80, 80), Reader()
        inputs = processor_of("llava")(images=image, text=PROMPTS[0], return_tensors="pt")
        found = model_of("llava").generate(
            **inputs,
            custom_generate=HUB_FOLDER,
            trust_remote_code=True,
            processor=processor_of("llava"),
            images=[image],
            method_options={"threshold": 0.05},
            streamer=reader,
            stop_strings="never said",
            tokenizer=processor_of("llava").tokenizer,
            **SHORT,
        )
        want = run(magnifier(), images=image, text=PROMPTS[0], **SHORT)
        assert torch.equal(found, want.sequences)
        assert (reader.tokens, reader.ends) == (found[0].tolist(), 1)

    def test_none_overrides_the_checkpoint_as_in_other_calls(self, tmp_path, monkeypatch):
        monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path))
        image = picture(80, 80)
        inputs = processor_of("llava")(images=image, text=PROMPTS[0], return_tensors="pt")
        options = {"processor": processor_of("llava"), "images": [image], "method_options": {"threshold": 0.05}}
        want = run(magnifier(), images=image, text=PROMPTS[0], **SHORT).sequences
        model = with_settings(eos_token_id=int(want[0, -2]), penalty_alpha=0.5, top_k=4)
        free = {"eos_token_id": None, "penalty_alpha": None}
        found = model.generate(**inputs, custom_generate=HUB_FOLDER, trust_remote_code=True, **options, **free, **SHORT)
        assert torch.equal(found, want)

    def test_a_model_that_comes_with_it(self, tmp_path, monkeypatch):
        monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
        folder = tmp_path / "model"
        model_of("llava").save_pretrained(folder)
        shutil.copytree(Path(HUB_FOLDER) / "custom_generate", folder / "custom_generate")
        model = transformers.AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True).eval()
        assert "generate" in vars(model)  # transformers puts the folder's function there
        image = picture(80, 80)
        inputs = processor_of("llava")(images=image, text=PROMPTS[0], return_tensors="pt")
        options = {"processor": processor_of("llava"), "images": [image], "method_options": {"threshold": 0.05}}
        want = run(magnifier(), images=image, text=PROMPTS[0], **SHORT)
        assert torch.equal(model.generate(**inputs, **options, **SHORT), want.sequences)

    def test_without_a_processor_the_way_out_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path))
        with pytest.raises(ValueError, match="`processor` must be the model's own"):
            model_of("llava").generate(**plain_inputs(), custom_generate=HUB_FOLDER, trust_remote_code=True)
