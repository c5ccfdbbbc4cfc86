"""Heatmaps from a model's own attention, against attention matrices written out and PM's own; given maps and controls."""

import numpy as np
import pytest
import torch
from tiny import FAMILIES, PICTURES, PROMPTS, close, model_of, picture, processor_of, prompts_of

import pmtools
from pmtools.adapters.heatmaps import (
    SOURCES,
    AttentionHeatmap,
    CLIPRelevance,
    ControlHeatmap,
    GivenHeatmap,
    RelativeAttention,
    heatmap_source,
)
from pmtools.adapters.heatmaps.attention import ModelAttention
from pmtools.adapters.heatmaps.relative import GENERAL_QUESTION
from pmtools.adapters.prompts import Prompts
from pmtools.decoding import Greedy, PerceptionMagnifier
from pmtools.zoo import demo_model

SQUARES = [[picture(80, 80, 1)], [picture(60, 60, 2)]]


def written_out(prompts, row):
    """Attention of the last query to each image token of one prompt, alone and unpadded: (layers, heads, n)."""
    model = model_of(prompts.model.config.model_type, attn_implementation="eager")
    inputs = prompts.processor(images=[prompts.images[row]], text=[PROMPTS[row]], return_tensors="pt")
    inputs.pop("pm_images")
    with torch.no_grad():
        attentions = torch.cat(model(**inputs, output_attentions=True).attentions)
    on = inputs["input_ids"][0] == model.config.image_token_id
    return attentions[:, :, -1, on]


class TestAttention:
    @pytest.mark.parametrize(
        ("layers", "picked"),
        [("deep", [1, 2, 3]), ("single", [1]), (20 / 32, [2]), (14 / 32, [1]), ([0, 3], [0, 3]), (0.0, [0])],
    )
    @pytest.mark.parametrize("heads", ["max", "mean"])
    def test_layers_and_heads(self, layers, picked, heads):
        prompts = prompts_of(images=SQUARES)  # nothing padded: every token is image
        found = AttentionHeatmap(layers, heads=heads)(prompts)
        for row in range(2):
            matrix = written_out(prompts, row)[picked]
            want = (matrix.amax(1) if heads == "max" else matrix.mean(1)).mean(0)
            close(found[row][0], want.reshape(4, 4))

    def test_the_depths_of_llava(self):
        model = model_of(num_hidden_layers=32)
        prompts = prompts_of(images=SQUARES, model=model)

        def layers(source):
            return ModelAttention(source, model, prompts.layout).layers

        assert layers(AttentionHeatmap()) == list(range(11, 32))  # 12 in the paper's count from 1
        assert layers(AttentionHeatmap(start_layer=20)) == list(range(19, 32))
        assert layers(AttentionHeatmap("single")) == [11]
        assert layers(SOURCES["api-l"]) == [20]
        assert layers(AttentionHeatmap(RelativeAttention().layer)) == [14]

    @pytest.mark.parametrize("family", FAMILIES)
    def test_refined_is_what_the_magnifier_refines(self, family):
        prompts = prompts_of(family)
        pm = PerceptionMagnifier(processor_of(family), refresh="first", threshold=0.05, max_iterations=3)
        inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        model_of(family).generate(**inputs, custom_generate=pm, max_new_tokens=1)
        assert max(pm.last[0].iterations) > 0
        assert not any(pm.last[0].met_threshold)  # random weights attend to the image until the passes run out
        found = AttentionHeatmap(refine="exact", threshold=0.05, max_iterations=3)(prompts)
        for got, want in zip(found, pm.last[0].heatmaps, strict=True):
            close(got[0], want[0])

    def test_single_heads(self):
        prompts = prompts_of(images=SQUARES)
        heads = [[3, 1], [1, 0]]
        found = AttentionHeatmap(heads=heads)(prompts)
        for row in range(2):
            matrix = written_out(prompts, row)
            close(found[row][0], ((matrix[3, 1] + matrix[1, 0]) / 2).reshape(4, 4))
        assert hash(AttentionHeatmap(heads=heads)) == hash(AttentionHeatmap(heads=((3, 1), (1, 0))))

    @pytest.mark.parametrize(
        ("heads", "message"),
        [
            ("sum", "max"),
            ([], "pairs"),
            ([(0, -1)], "pairs"),
            ([3], "pairs"),
            ([(7, 0)], "calibrate"),
            ([(0, 99)], "below"),
        ],
    )
    def test_heads_that_are_not_there_are_refused(self, heads, message):
        with pytest.raises(ValueError, match=f"`heads`.*{message}"):
            AttentionHeatmap(heads=heads)(prompts_of())

    def test_sinks_count_for_nothing_and_nothing_else_changes(self):
        plain, dropped = (AttentionHeatmap(sinks=sinks)(prompts_of(images=SQUARES)) for sinks in ((), [(0.3, 0.9)]))
        for (before,), (after,) in zip(plain, dropped, strict=True):
            want = before.clone()
            want[3, 1] = 0  # of 4 x 4 cells, the one that holds the place
            close(after, want)

    @pytest.mark.parametrize("sinks", [[(1.2, 0.5)], [0.5], "all"])
    def test_sinks_outside_the_image_are_refused(self, sinks):
        with pytest.raises(ValueError, match="`sinks`"):
            AttentionHeatmap(sinks=sinks)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_place_is_found_in_every_grid(self, family):
        prompts = prompts_of(family)
        tokens = prompts.tokens()
        corner, middle = tokens.at([(0.0, 0.0)]), tokens.at([(0.4, 0.6)])
        assert corner.any(1).all()
        assert middle.any(1).all()
        for (heatmap,) in tokens.heatmaps(tokens.coverage * middle):  # nothing but the cells around the place
            cells = heatmap.nonzero() + 0.5
            assert ((cells / torch.tensor(heatmap.shape) - torch.tensor([0.6, 0.4])).abs().max(0).values < 0.5).all()

    def test_padding_is_cut_off(self):
        (wide,), (tall,) = AttentionHeatmap()(prompts_of())
        assert wide.shape == (3, 4)
        assert tall.shape == (4, 3)

    def test_a_model_without_the_layer_is_refused(self):
        with pytest.raises(ValueError, match="layers"):
            AttentionHeatmap([7])(prompts_of())


class TestRelativeAttention:
    def test_it_is_the_ratio_to_the_general_question(self):
        question = "USER: <image>\nIs it red? ASSISTANT:"
        images = [[picture(80, 80, 1)]]
        found = RelativeAttention()(prompts_of(images=images, text=[question]))[0][0]
        general = f"USER: <image>\n{GENERAL_QUESTION} ASSISTANT:"
        attention = AttentionHeatmap([1], heads="mean")
        asked, anyway = (attention(prompts_of(images=images, text=[text]))[0][0] for text in (question, general))
        close(found, asked / anyway)

    def test_the_general_question_itself_gives_one(self):
        text = [f"USER: <image>\n{GENERAL_QUESTION} ASSISTANT:"]
        found = RelativeAttention()(prompts_of(text=text, images=PICTURES[:1]))[0][0]
        close(found, torch.ones(found.shape))

    def test_a_processor_may_bring_its_own(self):
        text = ["USER: <image>\nWhat is seen? ASSISTANT:"]
        prompts = prompts_of(text=text, images=PICTURES[:1])
        named = RelativeAttention(question="What is seen?")(prompts)[0][0]
        close(named, torch.ones(named.shape))
        prompts.processor.inner.general_question = "What is seen?"
        try:
            close(RelativeAttention()(prompts)[0][0], named)
        finally:
            del prompts.processor.inner.general_question

    def test_the_demo_model_brings_one_in_its_words(self):
        demo = demo_model()
        processor = Greedy(demo.processor).processor
        inputs = processor(images=PICTURES[0], text=demo.prompt("Is there a star?"), return_tensors="pt")
        prompts = Prompts.from_inputs(demo.model, processor, inputs)
        assert RelativeAttention()(prompts)[0][0].shape == AttentionHeatmap()(prompts)[0][0].shape
        with pytest.raises(ValueError, match=r"`question` must be in words .* RelativeAttention\(question="):
            RelativeAttention(question=GENERAL_QUESTION)(prompts)


class TestQuestions:
    def test_the_template_is_taken_off(self):
        texts = ["USER: <image>\nIs it red? ASSISTANT:", "USER: <image>\nHow many? ASSISTANT:"]
        assert prompts_of(text=texts).questions() == ["Is it red?", "How many?"]

    def test_other_prompts_stay_whole(self):
        assert prompts_of().questions() == ["Is  there?", "What is  then, and why?"]

    def test_without_a_template(self):
        prompts = prompts_of()
        prompts.processor.inner.chat_template, kept = None, prompts.processor.inner.chat_template
        try:
            assert prompts.questions() == ["Is  there?", "What is  then, and why?"]
            assert RelativeAttention()(prompts)[0][0].shape == (3, 4)
        finally:
            prompts.processor.inner.chat_template = kept


class TestGivenAndControls:
    def test_given(self):
        heat = np.arange(6.0).reshape(2, 3)
        assert GivenHeatmap(heat)(prompts_of())[1][0] is heat
        sizes = GivenHeatmap(lambda image: np.full((1, 1), image.width))(prompts_of())
        assert [row[0].item() for row in sizes] == [120, 70]
        with pytest.raises(ValueError, match="heatmap"):
            GivenHeatmap(-heat)

    @pytest.mark.parametrize("control", pmtools.heatmaps.CONTROLS)
    def test_controls(self, control):
        prompts = prompts_of(images=SQUARES)
        source = AttentionHeatmap()
        found = ControlHeatmap(control, source, seed=3)(prompts)
        again = ControlHeatmap(control, source, seed=3)(prompts)
        for got, same, original in zip(found, again, source(prompts), strict=True):
            assert torch.equal(got[0], same[0])
            if control == "uniform":
                assert got[0].unique().numel() == 1
            else:
                close(got[0].flatten().sort().values, original[0].flatten().sort().values)
                assert not torch.equal(got[0], original[0])
        assert ControlHeatmap("rolled", CLIPRelevance(model=None, processor=None)).perceptual
        assert not ControlHeatmap("rolled", source).perceptual

    def test_names(self):
        assert heatmap_source("relative") is SOURCES["relative"]
        source = AttentionHeatmap("single")
        assert heatmap_source(source) is source
        with pytest.raises(ValueError, match="attention"):
            heatmap_source("grad-cam")
        with pytest.raises(TypeError):
            heatmap_source(object())
