"""The examples in every docstring run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import pmtools

MODULES = sorted(m.name for m in pkgutil.walk_packages(pmtools.__path__, "pmtools.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", ["pmtools", *MODULES])
def test_examples(name, tmp_path, monkeypatch):
    if name.startswith(("pmtools.adapters", "pmtools.decoding", "pmtools.testing.models")):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)  # some write files
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"an extra is not installed: {error}")
    globs = {**vars(module), "np": np, "pmtools": pmtools}
    result = doctest.testmod(module, extraglobs=globs, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
