"""JSON files keep every number, and hold nothing that JSON does not."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pmtools import io
from pmtools.io import ImageFileError


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_keeps_every_float(tmp_path, numbers):
    io.write_json({"cdf": numbers}, tmp_path / "w.json")
    assert io.read_json(tmp_path / "w.json") == {"cdf": numbers}


def test_json_of_numpy_values(tmp_path):
    io.write_json({"a": np.float64(0.1), "b": np.arange(3), "c": np.bool_(True), "d": "Ünï"}, tmp_path / "w.json")
    assert json.loads((tmp_path / "w.json").read_text(encoding="utf-8")) == {
        "a": 0.1,
        "b": [0, 1, 2],
        "c": True,
        "d": "Ünï",
    }


def test_json_that_cannot_be(tmp_path):
    for data, error in (({"a": np.nan}, ValueError), ({"a": object()}, TypeError), ({"a": {1, 2}}, TypeError)):
        with pytest.raises(error, match="`data` must hold"):
            io.write_json(data, tmp_path / "w.json")
    assert os.listdir(tmp_path) == []
    (tmp_path / "w.json").write_text('{"a": 1,}')
    with pytest.raises(ImageFileError, match=r"is not JSON: .*line 1 column"):
        io.read_json(tmp_path / "w.json")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000])
def test_json_that_is_nested_too_deeply(tmp_path, content):
    (tmp_path / "deep.json").write_text(content)
    with pytest.raises(ImageFileError, match=r"deep\.json.*nested too deeply"):
        io.read_json(tmp_path / "deep.json")
