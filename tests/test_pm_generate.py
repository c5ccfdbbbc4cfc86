"""The magnifier and `generate`: its arguments, answers in one call, pipelines, and what the steps tell."""

import copy

import numpy as np
import pytest
import tokenizers
import torch
from tiny import FAMILIES, PICTURES, PROMPTS, model_of, picture, processor_of
from tiny_magnifier import GREEDY, Reader, close, magnifier, plain, run, same
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from pmtools import zoo
from pmtools.adapters.caches import find_cache
from pmtools.decoding import METHODS, Greedy, PerceptionMagnifier
from pmtools.decoding._stopping import StopsAtStrings


def right_padding(family):
    """A magnifier whose tokenizer pads on the right."""
    processor = copy.copy(processor_of(family))
    processor.tokenizer = copy.deepcopy(processor.tokenizer)
    processor.tokenizer.padding_side = "right"
    return PerceptionMagnifier(processor, threshold=0.05)


class TestArgumentsOfGenerate:
    def test_logits_processors_and_stopping_criteria(self):
        seen = []

        def count(ids, scores):
            seen.append(ids.shape[1])
            return scores

        def stop(ids, scores, **_):
            return torch.full((ids.shape[0],), len(seen) == 2)

        out = run(magnifier(), logits_processor=[count], stopping_criteria=[stop])
        assert len(seen) == 2 == len(out.logits)

    @pytest.mark.parametrize("refresh", ["every", "first", "adaptive"])
    def test_hidden_states(self, refresh):
        pm = magnifier(refresh=refresh, tolerance=0.2)
        out, want = (call(pm, output_hidden_states=True) for call in (run, plain))
        for got, own in zip(out.hidden_states, want.hidden_states, strict=True):
            assert [layer.shape for layer in got] == [layer.shape for layer in own]
        if refresh != "first":
            close(out.hidden_states[0][-1], want.hidden_states[0][-1])

    def test_plain_tensors_come_back_without_return_dict(self):
        out = run(magnifier(refresh="first"), return_dict_in_generate=False)
        assert isinstance(out, torch.Tensor)

    @pytest.mark.parametrize("refresh", ["every", "adaptive"])
    def test_the_returned_cache_is_the_original_stream(self, refresh):
        pm = magnifier("llava", refresh=refresh)
        out = run(pm)
        inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        mask = torch.nn.functional.pad(inputs["attention_mask"], (0, 3), value=1)
        with torch.no_grad():
            want = find_cache(
                model_of("llava")(
                    input_ids=out.sequences[:, :-1],
                    pixel_values=inputs["pixel_values"],
                    attention_mask=mask,
                    position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
                )
            )
        for layer, own in zip(find_cache(out).layers, want.layers, strict=True):
            close((layer.keys * mask[:, None, :, None]), own.keys * mask[:, None, :, None])

    def test_the_streamer_of_the_magnifier(self):
        class Collect:
            def __init__(self):
                self.tokens, self.ended = [], False

            def put(self, value):
                self.tokens.append(value.flatten().tolist())

            def end(self):
                self.ended = True

        streamer = Collect()
        pm = magnifier(refresh="first")
        inputs = pm.processor(images=PICTURES[0], text=PROMPTS[0], return_tensors="pt")
        out = model_of("llava").generate(**inputs, custom_generate=pm.streaming(streamer), **GREEDY)
        assert [token for part in streamer.tokens for token in part] == out.sequences[0].tolist()
        assert streamer.ended


class TestStreamers:
    def test_beams_have_none(self):
        reader, passes, model = Reader(), [], copy.deepcopy(model_of("llava"))
        model.register_forward_pre_hook(lambda *_: passes.append(1))
        with pytest.raises(ValueError, match="`streamer` cannot be used with beam search"):
            magnifier().generate(model, picture(), PROMPTS[0], streamer=reader, num_beams=2, max_new_tokens=2)
        assert not passes
        assert (reader.tokens, reader.ends) == ([], 1)

    @pytest.mark.parametrize("early", [True, False])
    def test_a_run_that_raises_ends_them(self, early):
        def broken(ids, scores):
            raise KeyError("mine")

        reader = Reader()
        pm = magnifier(refresh="first")
        options = {"use_cache": False} if early else {"logits_processor": [broken]}
        inputs = pm.processor(images=PICTURES[0], text=PROMPTS[0], return_tensors="pt")
        with pytest.raises(ValueError if early else KeyError):
            model_of("llava").generate(**inputs, custom_generate=pm.streaming(reader), **GREEDY, **options)
        assert reader.ends == 1

    def test_images_that_are_none_end_them(self):
        reader = Reader()
        with pytest.raises(ValueError, match="cannot be opened"):
            magnifier().generate(model_of("llava"), "cat.png", PROMPTS[0], streamer=reader)
        assert reader.ends == 1

    def test_a_run_that_ends_well_ends_them_once(self):
        reader = Reader()
        magnifier(refresh="first").generate(model_of("llava"), picture(), PROMPTS[0], streamer=reader, max_new_tokens=2)
        assert reader.ends == 1
        assert len(reader.tokens) > 2


class TestGenerate:
    def test_a_prompt_with_its_image_token(self):
        pm = magnifier(refresh="first")
        text = pm.generate(model_of("llava"), picture(), PROMPTS[0], max_new_tokens=4, do_sample=False)
        out = run(pm, images=picture(), text=PROMPTS[0])
        assert text == processor_of("llava").tokenizer.decode(out.sequences[0, -4:], skip_special_tokens=True).strip()

    def test_a_question_becomes_a_chat_turn(self):
        pm = magnifier(refresh="first")
        text = pm.generate(model_of("llava"), picture(), "Is it red?", max_new_tokens=3, do_sample=False)
        template = "USER: <image>\nIs it red? ASSISTANT:"
        assert text == pm.generate(model_of("llava"), picture(), template, max_new_tokens=3, do_sample=False)

    def test_stop_strings_and_streamer(self):
        from transformers import TextStreamer

        pm = magnifier(refresh="first")
        whole = pm.generate(model_of("llava"), picture(), PROMPTS[0], max_new_tokens=6, do_sample=False)
        said = []

        class Collect(TextStreamer):
            def on_finalized_text(self, text, stream_end=False):
                said.append(text)

        streamer = Collect(pm.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        stop = next(char for char in whole if char.isascii())
        text = pm.generate(
            model_of("llava"),
            picture(),
            PROMPTS[0],
            max_new_tokens=6,
            do_sample=False,
            stop_strings=[stop],
            streamer=streamer,
        )
        assert whole.startswith(text)
        assert text.endswith(stop)
        assert "".join(said).strip() == text

    def test_stop_strings_of_a_word_tokenizer(self):
        demo = zoo.demo_model()
        prompt = demo.prompt("Is there a circle?")
        greedy = Greedy(demo.processor)
        seen = []
        answer = greedy.generate(
            demo.model, picture(), prompt, stop_strings="no-such-word", max_new_tokens=3, min_new_tokens=3
        )
        first = answer.split()[0]
        criteria = [lambda ids, scores, **_: seen.append(ids.shape[1]) or torch.zeros(len(ids), dtype=torch.bool)]
        options = {"max_new_tokens": 3, "min_new_tokens": 3, "stopping_criteria": criteria}
        assert greedy.generate(demo.model, picture(), prompt, stop_strings=first, **options) == first
        assert len(seen) == 1

    def test_each_sequence_stops_by_itself_and_the_prompt_counts_for_nothing(self):
        tokenizer = processor_of("llava").tokenizer
        prompt = tokenizer(["stop it"], return_tensors="pt")["input_ids"]
        answers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("do stop", "go on .")]
        ids = torch.cat([prompt.expand(2, -1), torch.tensor([row[:3] for row in answers])], dim=1)
        text = tokenizer.decode(answers[0][:3])
        criterion = StopsAtStrings(tokenizer, ["stop it", text], prompt.shape[1])
        assert criterion(ids, None).tolist() == [True, False]

    @pytest.mark.parametrize(
        ("stop", "answer", "stops"), [(" b", "▁b", True), ("b", "▁b", True), ("? b", "▁b", False), (" b", "b", False)]
    )
    def test_a_space_at_the_start_of_an_answer_counts(self, stop, answer, stops):
        """LLaVA-1.5's tokenizer strips it from what it decodes; transformers' own criterion finds it too."""
        vocabulary = {token: index for index, token in enumerate(["<unk>", "a", "?", "b", "▁b"])}
        inner = Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
        replace, strip = tokenizers.decoders.Replace("▁", " "), tokenizers.decoders.Strip(" ", 1, 0)
        inner.decoder = tokenizers.decoders.Sequence([replace, tokenizers.decoders.Fuse(), strip])
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
        ids = torch.tensor([[vocabulary[token] for token in ("a", "?", answer)]])
        assert StopsAtStrings(tokenizer, [stop], 2)(ids, None).tolist() == [stops]

    @pytest.mark.parametrize(
        ("given", "error"),
        [("", ValueError), (["a", ""], ValueError), ([3], TypeError), (5, TypeError), (b"a", TypeError)],
    )
    def test_stop_strings_that_cannot_be(self, given, error):
        with pytest.raises(error, match="`stop_strings` must"):
            magnifier().generate(model_of("llava"), picture(), PROMPTS[0], stop_strings=given, max_new_tokens=1)

    def test_several_prompts(self):
        pm = magnifier(refresh="first")
        images = [row[0] for row in PICTURES]
        answers = pm.generate(model_of("llava"), images, PROMPTS, max_new_tokens=4, do_sample=False)
        assert answers[1] == pm.generate(model_of("llava"), images[1], PROMPTS[1], max_new_tokens=4, do_sample=False)

    @pytest.mark.parametrize("family", ["llava", "qwen2_vl", "internvl"])
    def test_tokenizers_that_pad_right(self, family):
        pm = right_padding(family)
        same(run(pm, family), run(magnifier(family), family), 0)
        images, model = [row[0] for row in PICTURES], model_of(family)
        answers = pm.generate(model, images, PROMPTS, max_new_tokens=4, do_sample=False)
        assert answers == magnifier(family).generate(model, images, PROMPTS, max_new_tokens=4, do_sample=False)
        assert pm.processor.tokenizer.padding_side == "right"
        with pytest.raises(ValueError, match="cannot be opened"):
            pm.generate(model, ["no image"], PROMPTS[0])
        assert pm.processor.tokenizer.padding_side == "right"

    def test_inputs_padded_on_the_right_are_refused(self):
        pm, images = right_padding("llava"), [picture(60, 60)] * 2
        inputs = pm.processor.inner(images=images, text=PROMPTS, return_tensors="pt", padding=True)
        with pytest.raises(ValueError, match="padded on the right"):
            model_of("llava").generate(**inputs, images=images, custom_generate=pm, max_new_tokens=1)
        with pytest.raises(ValueError, match="padded on the right"):
            METHODS["vcd"](pm.processor.inner).logits_processor(model_of("llava"), inputs, images=images)

    def test_greedy_is_the_plain_model(self):
        greedy = Greedy(processor_of("llava"))
        same(run(greedy), plain(greedy))
        assert METHODS["greedy"] is Greedy


def test_pipelines():
    from transformers import pipeline

    pm = magnifier(refresh="first")
    pipe = pipeline("image-text-to-text", model=model_of("llava"), processor=pm.processor)
    options = {"custom_generate": pm, "max_new_tokens": 4, "do_sample": False}
    found = pipe(images=picture(), text=PROMPTS[0], generate_kwargs=options, return_full_text=False)
    assert found[0]["generated_text"].strip() == pm.generate(
        model_of("llava"), picture(), PROMPTS[0], max_new_tokens=4, do_sample=False
    )
    chat = [
        {"role": "user", "content": [{"type": "image", "image": picture()}, {"type": "text", "text": "Is it red?"}]}
    ]
    found = pipe(text=chat, generate_kwargs=options, return_full_text=False)
    assert found[0]["generated_text"].strip() == pm.generate(
        model_of("llava"), picture(), "Is it red?", max_new_tokens=4, do_sample=False
    )


def test_the_steps_tell_what_was_done():
    pm = magnifier(refresh="first")
    run(pm, max_new_tokens=3)
    assert len(pm.last) == 3
    first, later = pm.last[0], pm.last[1]
    assert first.refreshed == (True, True)
    assert later.refreshed == (False, False)
    assert first.forwards == {"original": 1, "refine": max(first.iterations), "encode": 2, "magnified": 1}
    assert later.forwards == {"magnified": 1}
    assert first.seconds > 0
    assert later.warps[0][0] is first.warps[0][0]


@pytest.mark.parametrize("family", FAMILIES)
class TestImageTokensThatTheModelWrites:
    """They stand for no image: plain `generate` goes on from them as from words, and so does every stream."""

    def written(self, family):
        def force(ids, scores):
            force.calls += 1
            if force.calls in (2, 3):
                scores = scores.clone()
                scores[:, model_of(family).config.image_token_id] = 1e4
            return scores

        force.calls = 0
        return {"logits_processor": [force], "max_new_tokens": 5, "min_new_tokens": 5}

    def test_uniform_maps_give_plain_decoding(self, family):
        call = {"family": family, "images": [[picture(80, 80, 1)]], "text": PROMPTS[:1]}
        want = plain(magnifier(family), **call, **self.written(family))
        found = run(magnifier(family, heatmap=np.ones((4, 4))), **call, **self.written(family))
        same(found, want)
        assert found.sequences[0, -4:-2].tolist() == [model_of(family).config.image_token_id] * 2

    @pytest.mark.parametrize(
        "options", [{"refine": "exact"}, {"refine": "none", "refresh": "adaptive", "tolerance": 0.0}]
    )
    def test_with_attention(self, family, options):
        pm = magnifier(family, **options)
        out = run(pm, family=family, **self.written(family))
        assert all(step.heatmaps[0][0].shape == pm.last[0].heatmaps[0][0].shape for step in pm.last)
        assert out.sequences[0, -4:-2].tolist() == [model_of(family).config.image_token_id] * 2
