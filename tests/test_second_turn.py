"""A cache that one call returned goes into the next: the answer is that to the whole conversation as one prompt."""

from functools import cache

import pytest
import torch
from tiny import FAMILIES, close, model_of, picture, processor_of, with_mark

from pmtools.adapters.caches import cache_name, cached_tokens, find_cache
from pmtools.adapters.image_inputs import takes_features
from pmtools.decoding import METHODS, Greedy, PerceptionMagnifier

NEW = 4  # tokens of each answer
FIRST = [picture(120, 90, 1)]
OPTIONS = {
    "max_new_tokens": NEW,
    "min_new_tokens": NEW,
    "do_sample": False,
    "return_dict_in_generate": True,
    "output_logits": True,
}
QUESTION = "Is <image> there?"
#: The second question, and its image if it has one.
LATER = {"about the same image": (" So why?", []), "about another one": (" And <image> now?", [picture(70, 100, 2)])}
CONTINUED = [family for family in FAMILIES if family != "paligemma"]


def inputs_of(method, text, images):
    return method.processor(images=[images], text=[text], return_tensors="pt", padding=True)


def first_turn(method, family):
    inputs, model = inputs_of(method, with_mark(QUESTION, family), FIRST), model_of(family)
    # a random model may say an image token, which no second prompt could hold: it has no features
    never = [model.config.image_token_id]
    return model.generate(**inputs, custom_generate=method, suppress_tokens=never, **OPTIONS)


def conversation(method, first, later, family="llava"):
    """The inputs of both turns: the first one's tokens, its answer's, and the second question's."""
    text, images = LATER[later]
    inputs = inputs_of(method, with_mark(QUESTION + "?" * NEW + text, family), FIRST + images)
    said = first.sequences.shape[1]
    same = inputs["input_ids"][:, : said - NEW] == first.sequences[:, : said - NEW]
    if not bool(same.all()):
        pytest.skip(
            "this family writes an image in fewer tokens where there are several, so no prompt starts like the first"
        )
    inputs["input_ids"][:, :said] = first.sequences
    return inputs


def in_decoder(model, call):
    """What a call returns, and the lengths of the text model's passes in it."""
    lengths = []

    def look(module, args, keywords):
        given = keywords.get("inputs_embeds")
        lengths.append((keywords["input_ids"] if given is None else given).shape[1])

    handle = model.get_decoder().register_forward_pre_hook(look, with_kwargs=True)
    try:
        return call(), lengths
    finally:
        handle.remove()


def dictated(row, ids):
    """The next token, whatever the logits: a grey level that rounding turns over may decide a tie."""
    return [40 + len(ids) % 50]


def both_ways(method, family, later, says=None, **more):
    model = model_of(family)
    options = {**OPTIONS, "prefix_allowed_tokens_fn": says}
    first = first_turn(method, family)
    kept = find_cache(first)
    held, inputs = cached_tokens(kept), conversation(method, first, later, family)
    whole = model.generate(**inputs, custom_generate=method, **options)
    maps = [step.heatmaps for step in method.last if hasattr(step, "heatmaps")]
    went_on, lengths = in_decoder(
        model, lambda: model.generate(**{**inputs, **more}, **{cache_name(): kept}, custom_generate=method, **options)
    )
    assert lengths[0] == inputs["input_ids"].shape[1] - held  # the first turn's text was not run again
    assert torch.equal(went_on.sequences, whole.sequences)
    for ours, theirs in zip(method.last, maps, strict=False):
        for a, b in zip(ours.heatmaps[0], theirs[0], strict=True):
            close(a, b)
    return whole, went_on, held


def skip_unless_images_can_be_told_apart(family, later):
    if LATER[later][1] and not takes_features(model_of(family)):
        pytest.skip("this transformers takes all pixels or none")


@pytest.mark.parametrize("later", LATER)
class TestEveryFamily:
    @pytest.mark.parametrize("family", CONTINUED)
    def test_plain_decoding(self, family, later):
        skip_unless_images_can_be_told_apart(family, later)
        whole, went_on, _ = both_ways(Greedy(processor_of(family)), family, later)
        for a, b in zip(went_on.logits, whole.logits, strict=True):
            close(a, b)

    @pytest.mark.slow
    @pytest.mark.parametrize("refresh", ["every", "first", "adaptive"])
    @pytest.mark.parametrize("family", CONTINUED)
    def test_the_magnifier(self, family, later, refresh):
        skip_unless_images_can_be_told_apart(family, later)
        method = PerceptionMagnifier(processor_of(family), refresh=refresh)
        whole, went_on, held = both_ways(method, family, later, says=dictated)
        for a, b in zip(went_on.logits, whole.logits, strict=True):
            close(a, b, atol=2e-2)  # rounding of heatmaps moves a few pixels by a grey level
        answered = whole.sequences.shape[1]
        said = answered - NEW - len(LATER[later][0].replace("<image>", ""))  # one token a letter, at least
        assert held <= said
        assert cached_tokens(find_cache(went_on)) == (answered - NEW if refresh == "first" else answered - 1)


def test_pixels_may_be_left_out():
    method = PerceptionMagnifier(processor_of("qwen2_vl"))
    first = first_turn(method, "qwen2_vl")
    inputs = conversation(method, first, "about the same image", "qwen2_vl")
    want = model_of("qwen2_vl").generate(**inputs, custom_generate=method, **OPTIONS)
    inputs = {name: value for name, value in inputs.items() if name not in ("pixel_values", "image_grid_thw")}
    found = model_of("qwen2_vl").generate(
        **inputs, **{cache_name(): find_cache(first)}, custom_generate=method, **OPTIONS
    )
    assert torch.equal(found.sequences, want.sequences)


def test_another_conversation_between_the_turns():
    """Qwen's models keep positions from the latest call; those of the conversation count."""
    method = PerceptionMagnifier(processor_of("qwen2_vl"))
    first = first_turn(method, "qwen2_vl")
    inputs = conversation(method, first, "about the same image", "qwen2_vl")
    want = model_of("qwen2_vl").generate(**inputs, custom_generate=method, **OPTIONS)
    method.generate(model_of("qwen2_vl"), [picture(160, 60, 3)] * 2, "<image> or <image>?", max_new_tokens=2)
    found = model_of("qwen2_vl").generate(
        **inputs, **{cache_name(): find_cache(first)}, custom_generate=method, **OPTIONS
    )
    assert torch.equal(found.sequences, want.sequences)


@pytest.mark.parametrize("name", METHODS)
def test_every_method(name):
    method = METHODS[name](processor_of("llava"))
    if not method._keeps_prompts:
        pytest.skip("its prompts are others for each question: refused below")
    first = first_turn(method, "llava")
    inputs = conversation(method, first, "about the same image")
    model = model_of("llava")
    whole = model.generate(**inputs, custom_generate=method, **OPTIONS)
    went_on = model.generate(**inputs, **{cache_name(): find_cache(first)}, custom_generate=method, **OPTIONS)
    assert torch.equal(went_on.sequences, whole.sequences)


class TestRefusals:
    @staticmethod
    @cache
    def turn():
        method = Greedy(processor_of("llava"))
        return method, first_turn(method, "llava")

    def refused(self, match, inputs=None, family="llava", **options):
        method, first = self.turn()
        inputs = conversation(method, first, "about the same image") if inputs is None else inputs
        with pytest.raises(ValueError, match=match):
            model_of(family).generate(
                **inputs, **{cache_name(): find_cache(first)}, custom_generate=method, **{**OPTIONS, **options}
            )

    def test_a_prompt_that_is_all_in_the_cache(self):
        method, _ = self.turn()
        self.refused("must hold the first tokens of `input_ids`", inputs_of(method, QUESTION, FIRST))

    def test_new_tokens_alone(self):
        method, first = self.turn()
        inputs = conversation(method, first, "about the same image")
        length = inputs["input_ids"].shape[1]
        new = inputs["input_ids"][:, cached_tokens(find_cache(first)) :].repeat(1, 9)
        mask = torch.ones(1, new.shape[1] + length - 1, dtype=torch.long)
        self.refused("the whole conversation in `input_ids`", {**inputs, "input_ids": new, "attention_mask": mask})

    def test_beams(self):
        self.refused("without beams", num_beams=2)

    def test_other_rows(self):
        method, first = self.turn()
        inputs = conversation(method, first, "about the same image")
        twice = method.processor(
            images=[FIRST, FIRST], text=[QUESTION + " and some more, then"] * 2, return_tensors="pt", padding=True
        )
        assert twice["input_ids"].shape[1] > inputs["input_ids"].shape[1] - NEW
        self.refused("one row for each of 2 prompts", twice)

    @pytest.mark.parametrize("name", ["vicrop", "blur"])
    def test_a_method_that_edits_images(self, name):
        method = METHODS[name](processor_of("llava"))
        first = first_turn(method, "llava")
        inputs = conversation(method, first, "about the same image")
        with pytest.raises(ValueError, match="edits the images again"):
            model_of("llava").generate(**inputs, **{cache_name(): find_cache(first)}, custom_generate=method, **OPTIONS)

    def test_a_model_that_reads_its_prompt_both_ways(self):
        method = PerceptionMagnifier(processor_of("paligemma"))
        first = first_turn(method, "paligemma")
        inputs = conversation(method, first, "about the same image")
        with pytest.raises(ValueError, match="read their prompt both ways"):
            model_of("paligemma").generate(
                **inputs, **{cache_name(): find_cache(first)}, custom_generate=method, **OPTIONS
            )
