"""Refinement against hand-worked loops with made-up attention."""

from __future__ import annotations

import numpy as np
import pytest

from pmtools import highlight_mask, refine


class Attention:
    """Softmax attention over the visible cells of a fixed score map; remembers what it was asked."""

    def __init__(self, scores: np.ndarray, xp) -> None:
        self.scores, self.xp, self.calls = scores, xp, []

    def __call__(self, visible):
        self.calls.append(None if visible is None else self.xp.numpy(visible))
        shown = np.ones_like(self.scores, bool) if visible is None else self.calls[-1]
        # a sink outside the image takes the rest, as the text does in a model
        weight = np.where(shown, np.exp(self.scores), 0)
        return self.xp.asarray(weight / (weight.sum((-2, -1), keepdims=True) + 10.0))


def by_hand(attend, threshold, relative, max_iterations):
    """The loop of METHOD section 2, one image, plain NumPy."""
    maps, masks = [attend(None)], [None]
    visible = np.ones(maps[0].shape, bool)
    for _ in range(max_iterations):
        if (maps[-1] * visible).sum() <= max(threshold, relative * maps[0].sum()):
            break
        high = highlight_mask(maps[-1], visible=visible)
        if not high.any():
            break
        visible = visible & ~high
        maps.append(attend(visible))
        masks.append(visible)
    masks[0] = np.ones(maps[0].shape, bool)
    total = sum(np.where(mask, heat, 0) for heat, mask in zip(maps, masks, strict=True))
    return total / sum(mask.astype(float) for mask in masks), len(maps)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 2.0])
@pytest.mark.parametrize("relative", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("max_iterations", [0, 1, 8])
def test_equals_the_loop_by_hand(xp, rng, threshold, relative, max_iterations):
    scores = rng.normal(size=(5, 6)) * 2
    attention = Attention(scores, xp)
    found = refine(attention, threshold=threshold, relative_threshold=relative, max_iterations=max_iterations)
    numpy_attention = Attention(scores, type(xp)("numpy", np.asarray, np.asarray, np.ndarray))
    aggregate, passes = by_hand(numpy_attention, threshold, relative, max_iterations)
    assert len(found.maps) == len(found.masks) == len(attention.calls) == passes
    np.testing.assert_allclose(xp.numpy(found.aggregate), aggregate, rtol=1e-12)
    assert attention.calls[0] is None
    for call, mask in zip(attention.calls[1:], found.masks[1:], strict=True):
        np.testing.assert_array_equal(call, xp.numpy(mask))


def test_hand_worked():
    heat = np.array([[0.5, 0.3, 0.1]])
    replies = iter([heat, np.array([[0.0, 0.0, 0.25]])])
    found = refine(lambda visible: next(replies), threshold=0.3)
    # 0.9 is left: {0.5, 0.3} is the high cluster; then 0.25 is left, which is enough; the last pass counts
    assert found.masks[1].tolist() == [[False, False, True]]
    np.testing.assert_allclose(found.aggregate, [[0.5, 0.3, (0.1 + 0.25) / 2]])


@pytest.mark.parametrize("options", [{"threshold": 0.4}, {"threshold": 0.0, "relative_threshold": 0.7}])
def test_a_batch_equals_its_items(xp, rng, options):
    scores = rng.normal(size=(4, 5, 6)) * np.array([0.1, 1.0, 3.0, 0.0])[:, None, None]
    together = refine(Attention(scores, xp), **options, max_iterations=5)
    for i in range(4):
        alone = refine(Attention(scores[i], xp), **options, max_iterations=5)
        np.testing.assert_allclose(xp.numpy(together.aggregate)[i], xp.numpy(alone.aggregate), rtol=1e-12)
        assert sum(bool(xp.numpy(mask)[i].any()) for mask in together.masks) == len(alone.maps)


def test_what_hidden_cells_hold_does_not_matter():
    first = np.array([[0.6, 0.1, 0.05]])

    def attend(visible):
        return first if visible is None else np.where(visible, first, 123.0)

    found = refine(attend, threshold=0.0, max_iterations=3)
    assert found.aggregate[0, 0] == 0.6


def test_cells_that_never_take_part_count_nowhere(xp, rng):
    scores = rng.normal(size=(2, 4, 5)) * 2
    part = np.ones((2, 4, 5), bool)
    part[0, :, 3:] = False  # the first item is narrower: its last columns are padding
    attention = Attention(scores, xp)

    def attend(visible):  # padding gets attention; it must not matter
        result = attention(xp.asarray(part) if visible is None else visible)
        return result + xp.asarray(np.where(part, 0.0, 0.7))

    together = refine(attend, visible=xp.asarray(part), threshold=0.2)
    alone = refine(Attention(scores[0, :, :3], xp), threshold=0.2)
    aggregate = xp.numpy(together.aggregate)
    np.testing.assert_allclose(aggregate[0, :, :3], xp.numpy(alone.aggregate), rtol=1e-12)
    assert not aggregate[0, :, 3:].any()
    assert not any(xp.numpy(mask)[0, :, 3:].any() for mask in together.masks)


def test_what_ended_the_loop_is_told(xp):
    """One map loses its mass when its highlight is hidden, the other keeps more than the threshold, the third is flat."""
    first = np.array([[[0.6, 0.1, 0.05]], [[0.9, 0.4, 0.35]], [[0.2, 0.2, 0.2]]])

    def attend(visible):
        return xp.asarray(first) if visible is None else xp.asarray(np.where(xp.numpy(visible), first, 0.0))

    found = refine(attend, threshold=0.3, max_iterations=2)
    assert xp.numpy(found.met_threshold).tolist() == [True, False, False]
    assert not xp.numpy(refine(attend, threshold=0.3, max_iterations=1).met_threshold).any()  # never asked again
    assert xp.numpy(refine(attend, threshold=9.0).met_threshold).all()


@pytest.mark.parametrize(("relative", "passes"), [(0.3, 3), (0.45, 2), (1.0, 1)])
def test_a_relative_threshold_does_not_mind_the_scale_of_a_map(relative, passes):
    """Sums of 2.0, 0.8 and 0.5: the threshold of the paper is never met."""
    left = {None: [1.2, 0.5, 0.3], 2: [0.0, 0.5, 0.3], 1: [0.0, 0.0, 0.5]}
    for scale in (1.0, 1e-3):
        found = refine(
            lambda visible, by=scale: by * np.array([left[None if visible is None else int(visible.sum())]]),
            threshold=0.3 * scale,
            relative_threshold=relative,
            max_iterations=2,
        )
        assert len(found.maps) == passes
        assert bool(found.met_threshold) == (passes < 3)


def test_constant_attention_stops_at_once():
    calls = []
    refine(lambda visible: calls.append(visible) or np.ones((3, 3)))
    assert calls == [None]


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": -1},
        {"threshold": np.nan},
        {"relative_threshold": -0.1},
        {"relative_threshold": 1.1},
        {"max_iterations": -1},
        {"max_iterations": 1.5},
    ],
)
def test_bad_options(options):
    with pytest.raises((TypeError, ValueError), match=f"`{next(iter(options))}`"):
        refine(lambda visible: np.eye(3), **options)


def test_bad_attention():
    with pytest.raises(TypeError, match="`attend` must be a function"):
        refine(np.eye(3))
    with pytest.raises(ValueError, match="`attend"):
        refine(lambda visible: np.ones(9))
    with pytest.raises(ValueError, match="`visible` must be a bool array"):
        refine(lambda visible: np.eye(3), visible=np.ones((3, 4), bool))
    with pytest.raises(ValueError, match="keep its shape"):
        refine(lambda visible: np.eye(3) if visible is None else np.eye(4), threshold=0)
