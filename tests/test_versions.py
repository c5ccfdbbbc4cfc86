"""`show_versions` says what runs, and imports nothing heavy for it."""

from __future__ import annotations

import subprocess
import sys

import numpy
import PIL

from pmtools import _kernel
from pmtools._versions import show_versions


def test_it_tells_what_is_in_use():
    lines = dict(line.split(": ", 1) for line in show_versions().splitlines())
    assert lines["numpy"] == numpy.__version__
    assert lines["pillow"] == PIL.__version__
    assert lines["kernel"] == _kernel.NAME
    assert int(lines["threads"]) >= 1
    assert lines["python"].startswith(sys.version.split()[0])


def test_it_imports_nothing_heavy():
    code = (
        "import sys, pmtools._versions as v; v.show_versions(); print({'torch', 'scipy', 'skimage'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr("pmtools._versions.PACKAGES", ("numpy", "a-package-nobody-wrote"))
    assert show_versions().endswith("a-package-nobody-wrote: not installed")
