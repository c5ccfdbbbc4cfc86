"""The magnifier with other heatmaps than its own attention, and with rows whose answers have ended."""

import numpy as np
import pytest
import torch
from tiny import PICTURES, PROMPTS, model_of, picture, processor_of, prompts_of
from tiny_magnifier import close, magnifier, run

from pmtools._magnify import warp_from_perception
from pmtools.adapters.heatmaps import SOURCES, ControlHeatmap
from pmtools.decoding import _loop
from pmtools.settings import WarpSettings
from pmtools.testing.models import tiny_model


class Final:
    """A source whose maps are perception maps already."""

    perceptual = True

    def __call__(self, prompts):
        return [[np.eye(3) for _ in row] for row in prompts.images]


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "attention"])  # there, the options decide
@pytest.mark.parametrize("refresh", ["every", "adaptive"])
def test_any_source_by_its_name(name, refresh):
    pm = magnifier(heatmap=name, refresh=refresh)
    run(pm, max_new_tokens=2)
    for got, want in zip(pm.last[0].heatmaps, SOURCES[name](prompts_of()), strict=True):
        close(got[0].double(), want[0].double())


def test_a_source_that_sees_prompts_is_asked_once():
    asked = []

    def source(prompts):
        asked.append(prompts.step)
        return SOURCES["relative"](prompts)

    pm = magnifier(heatmap=source)
    run(pm, max_new_tokens=3, num_beams=2)
    assert asked == [0]
    for row in (0, 1):  # beams of one prompt share its map
        assert torch.equal(pm.last[-1].heatmaps[2 * row][0], pm.last[0].heatmaps[2 * row + 1][0])


def test_a_control_of_attention():
    pm = magnifier(heatmap=ControlHeatmap("uniform", SOURCES["attention"]))
    run(pm, max_new_tokens=1)
    assert all(bool((row[0] == row[0][0, 0]).all()) for row in pm.last[0].heatmaps)


def test_final_maps_do_without_gain():
    pm = magnifier(heatmap=Final(), floor=0.1)
    run(pm, images=picture(), text=PROMPTS[0], max_new_tokens=1)
    want = warp_from_perception(np.eye(3), WarpSettings(floor=0.1), source_hw=(90, 120))
    points = np.array([[20.0, 30.0], [100.0, 80.0]])
    close(torch.as_tensor(pm.last[0].warps[0][0].points(points)), torch.as_tensor(want.points(points)))


class End:
    """Lets the first row's answer end with its second token."""

    def __init__(self, prompt_length, token):
        self.prompt_length, self.token = prompt_length, token

    def __call__(self, ids, scores):
        if ids.shape[1] == self.prompt_length + 1:
            scores = scores.clone()
            scores[0] = -torch.inf
            scores[0, self.token] = 0
        return scores


@pytest.mark.parametrize("refresh", ["every", "adaptive"])
@pytest.mark.parametrize("refine", ["exact", "cached"])
def test_rows_that_have_ended_are_not_magnified(refresh, refine):
    pm = magnifier(refresh=refresh, refine=refine, tolerance=0)
    inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
    end = End(inputs["input_ids"].shape[1], processor_of().tokenizer.eos_token_id)
    out = run(pm, logits_processor=[end], max_new_tokens=5)
    assert [step.refreshed for step in pm.last] == [(True, True)] * 2 + [(False, True)] * 3
    assert [step.forwards["encode"] for step in pm.last] == [2, 2, 1, 1, 1]
    alone = run(pm, images=PICTURES[1], text=PROMPTS[1], max_new_tokens=5)
    assert out.sequences[1, -5:].tolist() == alone.sequences[0, -5:].tolist()


def test_a_token_without_a_step_is_an_error(monkeypatch):
    """A helper of transformers that went past the step would decode plainly, without a word."""
    model = tiny_model()
    kind = type(model)
    monkeypatch.setattr(kind, "_prefill", lambda self, *args, **options: kind.forward(model, **past[0]), raising=False)
    past = [dict(processor_of()(images=picture(), text=PROMPTS[0], return_tensors="pt"))]
    pm = magnifier()
    inputs = pm.processor(images=picture(), text=PROMPTS[0], return_tensors="pt")
    with pytest.raises(RuntimeError, match="without calling the method's step"):
        model.generate(**inputs, custom_generate=pm, max_new_tokens=2, do_sample=False)


def test_a_loop_that_is_gone_is_named_with_the_way_out(monkeypatch):
    from transformers import GenerationMixin

    monkeypatch.delattr(GenerationMixin, "_beam_search")
    wanted = r"transformers [\d.]+\S* has no `_beam_search`.*is tested with 5\.17 to [\d.]+, install one of these"
    with pytest.raises(RuntimeError, match=wanted):
        run(magnifier(), images=picture(), text=PROMPTS[0], max_new_tokens=1, num_beams=2)


def test_the_view_is_the_model_and_leaves_it_alone():
    model = model_of()
    before = dict(vars(model))
    view = _loop._stepping(model, lambda *_: None)
    assert isinstance(view, type(model))
    assert view.config is model.config
    assert vars(model) == before
