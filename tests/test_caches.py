"""Sequences run again with tokens hidden, dropped or other images, and the caches they share."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from text_models import HYBRID, pair
from tiny import FAMILIES, model_of, processor_of

import pmtools
from pmtools.adapters.caches import (
    cache_name,
    cache_rows,
    cached_rows,
    cached_tokens,
    can_be_cut,
    check_cache,
    empty_cache,
    find_cache,
    fork,
)
from pmtools.adapters.image_inputs import encoded_images, kept_features, takes_features
from pmtools.adapters.sequences import TokenSequences
from pmtools.adapters.twin_cache import first_rows, replace_rows, twin_cache
from pmtools.decoding._loop import run_loop

#: Families in which a token sees only those before it, so that hidden ones may be dropped.
CAUSAL = [family for family in FAMILIES if family not in ("gemma3", "paligemma")]


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@cache
def inputs_of(family):
    rng = np.random.default_rng(0)
    images = [[Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))] for w, h in [(120, 90), (70, 100)]]
    return dict(
        processor_of(family)(
            images=images, text=["Is <image> there?", "What is <image>, then?"], return_tensors="pt", padding=True
        )
    )


@cache
@torch.no_grad()
def state(family):
    """What a step sees at the prompt of a left-padded batch of two, after the plain forward pass."""
    seen = SimpleNamespace()

    def step(sequences, inputs, image):
        seen.sequences, seen.image, seen.output = sequences, image, model_of(family)(**inputs)
        seen.cache = find_cache(seen.output)
        return seen.output

    def once(model, input_ids, **arguments):
        return run_loop(model, step, input_ids, **arguments)

    model_of(family).generate(**inputs_of(family), custom_generate=once, max_new_tokens=1, do_sample=False)
    return seen


def some_hidden(family, counts=(2, 5)):
    """A few image tokens of each row, as many as `counts` says."""
    ids = state(family).sequences.input_ids
    hidden = torch.zeros_like(ids, dtype=torch.bool)
    for row, count in enumerate(counts):
        columns = (ids[row] == model_of(family).config.image_token_id).nonzero()[:, 0]
        hidden[row, columns[1 : 1 + count]] = True
    return hidden


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
class TestEveryFamily:
    def test_from_scratch_equals_transformers_own_pass(self, family):
        now = state(family)
        again = now.sequences.run(empty_cache(model_of(family)), image=now.image)
        close(again.logits[:, -1], now.output.logits[:, -1])

    def test_the_last_token_on_a_fork(self, family):
        now = state(family)
        again = now.sequences.run(fork(now.cache, now.sequences.length - 1))
        close(again.logits[:, -1], now.output.logits[:, -1])
        assert now.cache.get_seq_length() == now.sequences.length  # the original has not grown

    def test_positions_stay_when_tokens_are_hidden(self, family):
        now, seen = state(family), []

        def look(_, args, keywords):
            seen.append(keywords["position_ids"])

        handle = model_of(family).get_decoder().register_forward_pre_hook(look, with_kwargs=True)
        image = encoded_images(model_of(family), now.image)
        try:
            now.sequences.run(empty_cache(model_of(family)), image=image)
            hidden = now.sequences.hiding(some_hidden(family))
            hidden.run(empty_cache(model_of(family)), image=image)
            hidden.run(fork(now.cache, now.sequences.length - 1))
        finally:
            handle.remove()
        assert torch.equal(seen[0], seen[1])
        assert torch.equal(seen[0][..., -1:], seen[2])

    def test_hidden_tokens_matter(self, family):
        now = state(family)
        hidden = now.sequences.hiding(some_hidden(family)).run(empty_cache(model_of(family)), image=now.image)
        assert (hidden.logits[:, -1] - now.output.logits[:, -1]).abs().max() > 1e-3

    def test_rows(self, family):
        now = state(family)
        rows = torch.tensor([1, 0, 1])
        step = now.sequences.rows(rows).run(fork(cache_rows(now.cache, rows), now.sequences.length - 1))
        close(step.logits[:, -1], now.output.logits[rows, -1])


def without(sequences, hidden):
    """As many hidden tokens left out in each row as the row with the fewest has, and where the others were."""
    gone = hidden & (hidden.cumsum(-1) <= hidden.sum(-1).min())
    kept = (~gone).nonzero()[:, 1].reshape(len(hidden), -1)
    return sequences.at(kept, hidden), kept


@pytest.mark.parametrize("family", CAUSAL)
def test_dropped_tokens_equal_masked_tokens(family):
    model, now = model_of(family), state(family)
    if not takes_features(model):
        pytest.skip("this transformers does not take encoded images")
    hidden, image = some_hidden(family), encoded_images(model, now.image)
    masked = now.sequences.hiding(hidden).run(empty_cache(model), image=image)
    shorter, kept = without(now.sequences, hidden)
    assert shorter.length == now.sequences.length - 2  # the row with the fewest; the other masks the rest
    is_image = now.sequences.input_ids == model.config.image_token_id
    stays = torch.zeros_like(is_image).scatter(1, kept, True)
    left = kept_features(image, stays[is_image].nonzero()[:, 0], int(is_image.sum()))
    dropped = shorter.run(empty_cache(model), image=left)
    assert kept_features(image, stays[is_image].nonzero()[:, 0], int(is_image.sum()) + 1) is None
    close(dropped.logits[:, -1], masked.logits[:, -1])


@pytest.mark.parametrize("family", CAUSAL)
def test_the_text_before_the_image_may_be_kept(family):
    now = state(family)
    first = int((now.sequences.input_ids == model_of(family).config.image_token_id).nonzero()[:, 1].min())
    assert first > 0
    again = now.sequences.run(fork(now.cache, first), image=now.image)
    close(again.logits[:, -1], now.output.logits[:, -1])


class TestCaches:
    def test_forks_never_mix(self):
        now = state("llava")
        before = [(layer.keys.clone(), layer.values.clone()) for layer in now.cache.layers]
        one, other = fork(now.cache), fork(now.cache, 5)
        more = torch.ones(2, 4, 3, 16)
        for forked in (one, other):
            for layer in forked.layers:
                layer.update(more[:, : layer.keys.shape[1]], more[:, : layer.keys.shape[1]])
        assert (one.get_seq_length(), other.get_seq_length()) == (now.sequences.length + 3, 8)
        for layer, (keys, values) in zip(now.cache.layers, before, strict=True):
            assert torch.equal(layer.keys, keys)
            assert torch.equal(layer.values, values)

    def test_both_streams_in_one_cache(self):
        now = state("llava")
        length, moves = now.sequences.length, []
        short = fork(now.cache, length - 1)
        twin = twin_cache(short, cache_rows(short, torch.tensor([1, 0])), on_reorder=moves.append)
        step = now.sequences.rows(torch.tensor([0, 1, 1, 0])).run(twin)
        close(step.logits[:, -1], now.output.logits[[0, 1, 1, 0], -1])
        twin.reorder_cache(torch.tensor([1, 1]))
        assert [move.tolist() for move in moves] == [[1, 1]]
        for layer, own in zip(twin.layers, now.cache.layers, strict=True):
            close(layer.keys, own.keys[[1, 1, 0, 0]])
            close(layer.values, own.values[[1, 1, 0, 0]])
        first = first_rows(twin, 2)
        for layer, own, rows in zip(first.layers, twin.layers, cache_rows(twin, [0, 1]).layers, strict=True):
            assert torch.equal(layer.keys, rows.keys)
            assert layer.values.data_ptr() == own.values.data_ptr()  # not copied

    def test_rows_are_replaced(self):
        now = state("llava")
        target = fork(now.cache)
        replace_rows(target, torch.tensor([1]), cache_rows(now.cache, torch.tensor([0])))
        assert all(torch.equal(layer.keys[0], layer.keys[1]) for layer in target.layers)
        assert not torch.equal(now.cache.layers[0].keys[0], now.cache.layers[0].keys[1])

    def test_a_window_that_has_dropped_keys_cannot_be_cut_back(self):
        model = model_of("gemma3")
        cache = empty_cache(model)
        model(input_ids=torch.full((1, 70), 40), **{cache_name(): cache})
        with pytest.raises(ValueError, match="dropped keys"):
            fork(cache, 69)
        short = empty_cache(model)
        model(input_ids=torch.full((1, 30), 40), **{cache_name(): short})
        assert fork(short, 29).get_seq_length() == 29

    def test_what_cannot_be_forked_is_refused(self):
        from transformers import StaticCache

        with pytest.raises(ValueError, match="DynamicCache"):
            check_cache(StaticCache(config=model_of("llava").config, max_cache_len=8))
        with pytest.raises(ValueError, match="use_cache = True"):
            check_cache(None)
        check_cache(empty_cache(model_of("llava")))


@pytest.mark.parametrize("name", HYBRID)
class TestRecurrentLayers:
    """Qwen 3.5, LFM2 and Jamba: half of the layers keep a state that changes in place."""

    IDS = torch.randint(3, 90, (3, 12), generator=torch.Generator().manual_seed(0))

    def filled(self, name, ids):
        model = pair(name)[0]
        sequences = TokenSequences(model, ids, None, {})
        return sequences, find_cache(sequences.run(empty_cache(model)))

    def after(self, name, cache, token):
        """The logits of one more token."""
        ids = torch.nn.functional.pad(self.IDS[: cached_rows(cache)], (0, 1), value=token)
        return TokenSequences(pair(name)[0], ids, None, {}).run(cache).logits[:, -1]

    def whole(self, name, ids, token):
        return pair(name)[0](torch.nn.functional.pad(ids, (0, 1), value=token), use_cache=False).logits[:, -1]

    def test_forks_share_no_state(self, name):
        _, cache = self.filled(name, self.IDS)
        one, other = fork(cache), fork(cache)
        close(self.after(name, one, 7), self.whole(name, self.IDS, 7))
        close(self.after(name, other, 9), self.whole(name, self.IDS, 9))
        close(self.after(name, cache, 5), self.whole(name, self.IDS, 5))
        assert cached_tokens(one) == cached_tokens(cache) == 13

    def test_the_check_sees_states_that_are_shared(self, name):
        _, cache = self.filled(name, self.IDS)
        wrong = fork(cache)
        for layer, own in zip(wrong.layers, cache.layers, strict=True):
            vars(layer).update({key: value for key, value in vars(own).items() if key.endswith("_states")})
        self.after(name, wrong, 7)
        with pytest.raises(AssertionError, match="not close"):
            close(self.after(name, cache, 5), self.whole(name, self.IDS, 5))

    def test_rows_and_twins(self, name):
        _, cache = self.filled(name, self.IDS)
        ids = self.IDS[[2, 0]]
        want = self.whole(name, ids, 7)
        rows = cache_rows(cache, [2, 0])
        twin = twin_cache(cache_rows(cache, [2, 0]), cache_rows(cache, [1, 1]), on_reorder=lambda origins: None)
        replace_rows(twin, [2, 3], cache_rows(cache, [0, 2]))
        for found, own, expected in ((rows, ids, want), (twin, ids[[0, 1, 1, 0]], want[[0, 1, 1, 0]])):
            more = torch.nn.functional.pad(own, (0, 1), value=7)
            close(TokenSequences(pair(name)[0], more, None, {}).run(found).logits[:, -1], expected)

    def test_they_cannot_be_cut_back(self, name):
        _, cache = self.filled(name, self.IDS)
        assert not can_be_cut(cache)
        with pytest.raises(ValueError, match="cannot be cut back to fewer tokens; use refine='exact'"):
            fork(cache, 11)


class TestWhatHappened:
    """A pass that has not left all tokens in its cache is refused, whatever the reason."""

    def test_gradient_checkpointing(self):
        from pmtools.testing.models import tiny_model

        model = tiny_model()
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable()  # transformers 5.24 has another name for it
        model.train()
        sequences = TokenSequences(model, torch.full((1, 5), 40), None, {})
        with torch.enable_grad(), pytest.raises(ValueError, match=r"train mode leaves it out; call `model.eval\(\)`"):
            sequences.run(empty_cache(model))
        model.eval()
        sequences.run(empty_cache(model))

    def test_tokens_that_a_wrapper_added(self):
        model = model_of("llava")
        other = empty_cache(model)
        model(input_ids=torch.full((1, 7), 40), **{cache_name(): other})
        handle = model.register_forward_hook(lambda module, args, output: output | {cache_name(): other})
        try:
            with pytest.raises(ValueError, match="keep 5 tokens in its cache here, got 7"):
                TokenSequences(model, torch.full((1, 5), 40), None, {}).run(empty_cache(model))
        finally:
            handle.remove()

    def test_image_tokens_that_the_model_wrote(self):
        model, token = model_of("llava"), model_of("llava").config.image_token_id
        now = state("llava")
        more = torch.tensor([[40, token, 41]]).expand(2, -1)
        step = TokenSequences(
            model,
            torch.cat([now.sequences.input_ids, more], 1),
            torch.cat([now.sequences.attention_mask, torch.ones_like(more)], 1),
            {
                "position_ids": torch.cat(
                    [now.sequences.options["position_ids"]]
                    + [  # those after the prompt
                        now.sequences.options["position_ids"][:, -1:] + after for after in (1, 2, 3)
                    ],
                    1,
                )
            },
            prompt_length=now.sequences.length,
        )
        want = step.run(fork(now.cache)).logits[:, -1]  # as they were written: on the prompt's cache
        close(step.run(empty_cache(model), image=now.image).logits[:, -1], want)
        assert step.is_image(token).sum() == (now.sequences.input_ids == token).sum()
        shorter, kept = without(step, torch.nn.functional.pad(some_hidden("llava"), (0, 3)))
        assert shorter.prompt_length == now.sequences.length - (step.length - kept.shape[1])


def test_one_file_knows_what_transformers_calls_a_cache():
    """A release renamed it once; then it was in twenty places."""
    name = "past_" + "key_values"
    package = Path(pmtools.__file__).parent
    knowing = {path.name for path in package.rglob("*.py") if name in path.read_text("utf-8")}
    assert knowing == {"caches.py"}
