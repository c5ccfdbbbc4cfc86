"""Kept streams against forward passes from scratch; the magnifier with kept streams against itself without."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import FAMILIES, PICTURES, PROMPTS, prompts_of
from tiny_magnifier import GREY_LEVELS, close, magnifier, run, same

from pmtools.adapters.caches import empty_cache, find_cache, fork
from pmtools.adapters.heatmaps import GivenHeatmap
from pmtools.adapters.image_inputs import encoded_images, images_of_rows, takes_features
from pmtools.adapters.prompts import continued
from pmtools.adapters.streams import KeptStreams, Original

#: Image tokens that are hidden in each row, by their number: sets that come back, sets that begin alike, none.
SETS = {"a": ([1, 2], [0, 3, 5]), "b": ([1, 2, 3], [0, 3]), "c": ([3], []), "d": ([0], [0, 1, 2, 3, 4])}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


class Answer:
    """A padded batch of two that answers with given tokens, in a bank of streams."""

    def __init__(self, family="llava", limit=8):
        prompts = prompts_of(family)
        sequences, pixels = prompts.prepared()
        self.prompt, self.layout, self.model = sequences, prompts.layout, prompts.model
        self.image = encoded_images(self.model, pixels)
        self.is_image = sequences.is_image(self.layout.image_token_id)
        self.images = images_of_rows(self.image, self.is_image, prompts.encoded)
        self.streams = KeptStreams(self.model, self.layout, limit)
        self.first, self.tokens = prompts.tokens().first, torch.zeros(2, 0, dtype=torch.long)
        self.cache, self.passes = empty_cache(self.model), []
        self.answer([])

    def answer(self, new):
        """Some more tokens in both rows, run by the original stream."""
        self.tokens = torch.cat([self.tokens, torch.tensor(new, dtype=torch.long).expand(2, -1)], dim=1)
        found = continued(self.prompt, self.tokens) if new or self.tokens.numel() else self.prompt
        if (kind := self.layout.suffix_token_type) is not None:
            found = found.with_suffix_type(self.prompt.length, kind)
        self.sequences = replace(found, prompt_length=self.prompt.length)
        started = self.cache.get_seq_length() > 0
        self.cache = find_cache(self.sequences.run(fork(self.cache), image=None if started else self.image))

    def hidden(self, name):
        flags = torch.zeros_like(self.sequences.input_ids, dtype=torch.bool)
        for row, some in enumerate(SETS[name]):
            flags[row, self.is_image[row].nonzero()[some, 0]] = True
        return flags

    def without(self, name, rows=(0, 1)):
        """Logits of the last token, by the bank."""
        original = Original(self.sequences, self.cache, self.first, "xy")
        logits = torch.full((2, self.model.config.get_text_config().vocab_size), torch.nan)
        self.passes = []
        for part in self.streams.parts(original, list(rows), self.images, hidden=self.hidden(name)):
            new = part.sequences.length - part.start.get_seq_length()
            output = part.run()
            self.streams.keep(part, find_cache(output))
            self.passes.append((part.rows, new, part.runs_on))
            logits[part.rows] = output.logits[:, -1]
        return logits[list(rows)]

    def from_scratch(self, name, rows=(0, 1)):
        """The same by one pass over everything, with the tokens masked."""
        output = self.sequences.hiding(self.hidden(name)).run(empty_cache(self.model), image=self.image)
        return output.logits[list(rows), -1]

    def check(self, name, rows=(0, 1)):
        close(self.without(name, rows), self.from_scratch(name, rows))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("limit", [0, 3, 16])
def test_a_bank_equals_passes_from_scratch(family, limit):
    answer = Answer(family, limit)
    answer.check("a")
    assert not any(runs_on for *_, runs_on in answer.passes)
    answer.check("b")
    for new, names in ([40], "ab"), ([41], "cb"), ([42, 43, 44], "da"), ([45], "abcd"):
        answer.answer(new)
        for name in names:
            answer.check(name)
            if limit == 16 and name in "ab":
                assert all(runs_on for *_, runs_on in answer.passes)
            if limit == 0:
                assert not any(runs_on for *_, runs_on in answer.passes)
    assert len(answer.streams._streams) <= limit


def test_the_check_sees_another_sets_stream():
    answer = Answer()
    answer.check("d", [0])
    answer.answer([40])
    stream = answer.streams._streams[0]
    named_a = answer.prompt.input_ids.masked_fill(answer.hidden("a")[:, :-1], -1)[0].numpy()
    answer.streams._streams = [replace(stream, tokens=named_a)]
    with pytest.raises(AssertionError, match="not close"):
        answer.check("a", [0])
    assert answer.passes == [([0], 1, True)]


def test_only_new_tokens_are_run():
    answer = Answer()
    answer.without("a")
    answer.answer([40])
    answer.without("b")
    answer.answer([41])
    answer.without("a")
    assert answer.passes == [([0, 1], 2, True)]  # since its last use
    answer.answer([42])
    answer.without("a", [1])
    assert answer.passes == [([1], 1, True)]
    answer.answer([43])
    answer.without("a")
    assert answer.passes == [([1], 1, True), ([0], 2, True)] or answer.passes == [([0], 2, True), ([1], 1, True)]


def test_a_new_set_begins_where_it_first_differs():
    answer = Answer()
    if not takes_features(answer.model):
        pytest.skip("this transformers takes all pixels or none, so that a new set begins before the image")
    columns = answer.is_image[0].nonzero()[:, 0]
    answer.without("c", [0])  # token 3 of the image is the first hidden one
    assert answer.passes == [([0], answer.sequences.length - int(columns[3]) - 1, False)]
    answer.without("a", [0])  # hides 1 and 2
    assert answer.passes == [([0], answer.sequences.length - int(columns[1]) - 2, False)]
    answer.answer([40])
    answer.without("b", [0])  # 1, 2 and 3, after "a"
    assert answer.passes == [([0], answer.sequences.length - int(columns[3]) - 1, False)]


def test_the_streams_used_last_are_kept():
    answer = Answer(limit=2)
    for name in "aba":  # in one row
        answer.without(name, [0])
        answer.answer([40])
    answer.without("c", [0])  # drops b
    answer.answer([41])
    answer.without("a", [0])
    assert answer.passes[0][2]
    answer.without("b", [0])
    assert not answer.passes[0][2]


def test_other_answers_of_a_prompt_share_its_streams():
    """As beams do: both rows belong to one prompt, and one takes over the other's tokens."""
    answer = Answer()
    pictures = [PICTURES[0], PICTURES[0]]
    prompts = prompts_of(images=pictures, text=[PROMPTS[0]] * 2)
    answer.prompt, pixels = prompts.prepared()
    answer.image = encoded_images(answer.model, pixels)
    answer.is_image = answer.prompt.is_image(answer.layout.image_token_id)
    answer.images = images_of_rows(answer.image, answer.is_image, prompts.encoded)
    answer.first = prompts.tokens().first
    found = []
    for tokens in ([[40, 41], [42, 43]], [[42, 43, 44], [42, 43, 45]], [[40, 46, 47, 48], [42, 43, 44, 49]]):
        sequences = replace(continued(answer.prompt, torch.tensor(tokens)), prompt_length=answer.prompt.length)
        answer.sequences, answer.cache = (
            sequences,
            find_cache(sequences.run(empty_cache(answer.model), image=answer.image)),
        )
        hidden = torch.zeros_like(sequences.input_ids, dtype=torch.bool)
        hidden[:, answer.is_image[0].nonzero()[[1, 4], 0]] = True
        original = Original(sequences, answer.cache, answer.first, "xx")
        logits = torch.full((2, answer.model.config.get_text_config().vocab_size), torch.nan)
        passes = []
        for part in answer.streams.parts(original, [0, 1], answer.images, hidden=hidden):
            passes.append((part.rows, part.sequences.length - part.start.get_seq_length()))
            output = part.run()
            answer.streams.keep(part, find_cache(output))
            logits[part.rows] = output.logits[:, -1]
        close(logits, sequences.hiding(hidden).run(empty_cache(answer.model), image=answer.image).logits[:, -1])
        found.append(passes)
    assert found[1] == [([0, 1], 1)]
    assert sorted(found[2]) == [([0], 3), ([1], 1)]


# ------------------------------------------------------------------------------------------ in the magnifier


@pytest.mark.parametrize("refresh", ["every", "adaptive"])
@pytest.mark.parametrize("options", [{"num_beams": 2}, {"max_new_tokens": 7}])
def test_the_magnifier_with_and_without_kept_streams(refresh, options):
    found = []
    for kept in (0, 32):
        pm = magnifier(refresh=refresh, tolerance=0.2, kept_streams=kept, preprocess="fused")
        found.append((run(pm, **options), pm.last))
    (want, steps), (got, own) = found
    same(got, want)
    for step, other in zip(steps, own, strict=True):
        assert step.iterations == other.iterations
        assert step.repeated == (0,) * len(step.repeated)
        for maps, others in zip(step.heatmaps, other.heatmaps, strict=True):
            close(maps[0], others[0])


def test_repeated_sets_are_counted(monkeypatch):
    """The highlight of a map is its first four cells that are visible, whatever the map."""

    def first_four(heatmap, *, visible, **options):
        flat = visible.flatten(-2)
        return (flat & (flat.cumsum(-1) <= 4)).reshape(visible.shape)

    monkeypatch.setattr("pmtools.refinement.highlight_mask", first_four)
    pm, without = (magnifier(threshold=0.0, max_iterations=3, kept_streams=kept) for kept in (6, 0))
    same(run(pm), run(without), GREY_LEVELS)
    assert [step.repeated for step in pm.last] == [(0, 0), (3, 3), (3, 3), (3, 3)]
    assert [step.repeated for step in without.last] == [(0, 0)] * 4
    fewer = magnifier(threshold=0.0, max_iterations=3, kept_streams=2)  # fewer than come back
    same(run(fewer), run(without), GREY_LEVELS)
    assert [step.repeated for step in fewer.last] == [(0, 0)] * 4


@pytest.mark.parametrize("preprocess", ["processor", "fused"])
@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen2_5_vl", "gemma3"])
def test_a_magnified_stream_runs_on_while_its_pixels_stay(family, preprocess):
    if preprocess == "fused" and family == "llava_next":
        pytest.skip("its tiles are not fused")
    maps = [np.random.default_rng(seed).gamma(0.5, size=(5, 7)) for seed in (1, 2)]
    source = GivenHeatmap(lambda image, step: maps[step // 2 if image.width == 120 else 0])
    pm, without = (magnifier(family, heatmap=source, preprocess=preprocess, kept_streams=kept) for kept in (8, 0))
    same(run(pm, family), run(without, family))
    assert [step.ran_on for step in pm.last] == [(False, False), (True, True), (False, True), (True, True)]
    assert [step.forwards.get("encode", 0) for step in pm.last] == [2, 0, 1, 0]
    assert [step.ran_on for step in without.last] == [(False, False)] * 4
