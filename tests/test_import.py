"""`import pmtools` is light, and so is asking for it: shown in fresh processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "matplotlib", "scipy", "skimage", "hypothesis", "typer", "rich", "array_api_compat")


def loaded(code: str) -> set[str]:
    """Third-party packages that a fresh interpreter has loaded after `code`."""
    report = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", report], check=True, capture_output=True, text=True).stdout.split()
    )


def test_import_loads_numpy_and_pil_only():
    assert not loaded("import pmtools") & set(HEAVY)


def test_import_loads_what_one_call_needs():
    listing = "import sys; import pmtools{}; print(*[n for n in sys.modules if n.startswith('pmtools.')], 'email' in sys.modules)"
    light, with_io = (
        subprocess.run([sys.executable, "-c", listing.format(more)], check=True, capture_output=True, text=True).stdout
        for more in ("", ", pmtools.io")
    )
    left_for_later = (
        "pmtools.io",
        "pmtools.compat",
        "pmtools.annotation",
        "pmtools.alternatives",
        "pmtools.zoom",
        "True",
    )
    assert not set(light.split()) & set(left_for_later)
    assert "pmtools.io" in with_io.split()


def test_the_check_can_fail():
    assert loaded("import pmtools, scipy.ndimage") & set(HEAVY) == {"scipy"}


def test_magnifying_arrays_needs_nothing_else():
    code = "import numpy, pmtools; pmtools.magnify(numpy.zeros((20, 30, 3)), numpy.eye(4), size_hw=(9, 40))"
    assert not loaded(code) & set(HEAVY)


@pytest.mark.parametrize("name", ["viz", "testing", "adapters", "decoding", "zoo", "evaluation"])
def test_submodules_come_when_asked_for(name):
    assert "numpy" in loaded(f"import pmtools; pmtools.{name}")


def test_an_unknown_name_is_an_attribute_error():
    import pmtools

    with pytest.raises(AttributeError, match="no attribute 'magnifi'"):
        _ = pmtools.magnifi


def test_every_public_name_is_there():
    import pmtools

    assert all(hasattr(pmtools, name) for name in pmtools.__all__)
    assert set(pmtools.__all__) <= set(dir(pmtools))
