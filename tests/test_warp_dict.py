"""`Warp.to_dict` and `Warp.from_dict`: exact both ways, and files from anywhere are refused or make a warp."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pmtools
from pmtools import Warp, fit_warp
from pmtools.testing import points, warps


@given(warps(), st.data())
def test_dict_round_trip_is_exact(warp, data):
    again = Warp.from_dict(json.loads(json.dumps(warp.to_dict())))
    xy = data.draw(points(warp.source_hw))
    np.testing.assert_array_equal(again.points(xy), warp.points(xy))
    assert again.target_hw == warp.target_hw


def test_dict_of_a_batch_and_of_a_chain(rng):
    batch = fit_warp(rng.random((2, 4, 4)), source_hw=(8, 8)).then(pmtools.frames.crop((8, 8), (1, 1, 7, 5)))
    again = Warp.from_dict(batch.to_dict())
    image = rng.random((2, 8, 8, 1))
    np.testing.assert_array_equal(again.image(image), batch.image(image))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.clear(),
        lambda d: d.update(version=2),
        lambda d: d.pop("x"),
        lambda d: d["x"].update(source_size=0),
        lambda d: d["x"].update(source_size="8"),
        lambda d: d["x"].update(window=[0.0]),
        lambda d: d["x"].update(pieces=[]),
        lambda d: d["x"]["pieces"][0].update(before=[0.0, 0.0]),
        lambda d: d["x"]["pieces"][0]["after"].reverse(),
        lambda d: d["x"]["pieces"][0]["after"].append(float("nan")),
        lambda d: d["x"]["pieces"][0].update(after=None),
        lambda d: d["x"]["pieces"][0].update(before=0, after=1),
        lambda d: d["x"]["pieces"][0].update(before=["0", "8"], after=["0", "8"]),
        lambda d: d["x"]["pieces"][0].update(before=[0, 10**400], after=[0, 8]),
        lambda d: d["x"]["pieces"][0].update(before=[0, 1e-310], after=[0, 8]),
        lambda d: d["x"]["pieces"][0].update(before=[-1e308, 1e308], after=[0, 8]),
        lambda d: d["x"].update(window=[6, 2]),
        lambda d: d["x"].update(window=[-1, 8]),
        lambda d: d["x"].update(window=[0, 9]),
        lambda d: d["x"].update(window=[float("inf"), float("inf")]),
        lambda d: d["x"].update(source_size=9),
        lambda d: d["x"].update(source_size=7),
        lambda d: d["y"].update(target_size=9),
        lambda d: d["x"].update(source_size=10**12),
        lambda d: d["x"].update(target_size=10**400),
        lambda d: d.update(x=fit_warp(np.ones((2, 3, 3)), source_hw=(8, 8)).to_dict()["x"]),
    ],
)
def test_spoilt_dicts_are_refused(spoil):
    data = fit_warp(np.eye(3), source_hw=(8, 8)).to_dict()
    spoil(data)
    with pytest.raises(ValueError, match="`data`"):
        Warp.from_dict(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from([0, 8, 8.0, 1e308]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["before", "after"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def places(value):
    """Every container of a JSON value with every key in it."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


@settings(max_examples=150)
@given(warps(max_side=12), st.sampled_from([(0, 0, 5, 4), (-3, -2, 4, 6), (20, 20, 24, 25)]), st.data())
def test_a_changed_dict_is_refused_or_a_warp(warp, box, data):
    chain = data.draw(st.sampled_from([warp, warp.inverse(), warp.then(pmtools.frames.crop(warp.target_hw, box))]))
    changed = json.loads(json.dumps(chain.to_dict()))
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(list(places(changed))))
        container[key] = data.draw(json_values)
    try:
        again = Warp.from_dict(changed)
    except ValueError:  # and no other error
        return
    assert Warp.from_dict(again.to_dict()).to_dict() == again.to_dict()
    if max(*again.source_hw, *again.target_hw) < 100:
        with np.errstate(all="ignore"):  # knots may be far away
            assert again.image(np.ones(again.source_hw)).shape == again.target_hw


@pytest.mark.parametrize("make", [lambda w: w, lambda w: w.inverse()])
@pytest.mark.parametrize("box", [(2, 1, 6, 5), (-3, -2, 4, 12), (20, 20, 24, 25)])
def test_dicts_of_chains_with_frames_are_read(make, box, rng):
    warp = fit_warp(rng.random((4, 4)), source_hw=(8, 8))
    cut = pmtools.frames.crop((8, 8), box)
    for chain in (cut, warp.then(cut), cut.then(fit_warp(rng.random((3, 3)), source_hw=cut.target_hw))):
        assert Warp.from_dict(make(chain).to_dict()).to_dict() == make(chain).to_dict()


@pytest.mark.parametrize("data", [None, [], "warp", 3])
def test_what_is_no_dict_is_refused(data):
    with pytest.raises(ValueError, match=r"`data` must be what `Warp\.to_dict` returns"):
        Warp.from_dict(data)
