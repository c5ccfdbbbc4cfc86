"""Build the sdist and the wheel and check them: metadata, stable ABI, platform, symbols, the wheel where there is no compiler
and everything is at its lowest version, and the sdist's own tests.

`make package` calls it, in an environment with build, twine, auditwheel and abi3audit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
PROJECT_PYTHON = ROOT / ".venv" / "bin" / "python"


def run(*command, cwd=ROOT, env=None):
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], cwd=cwd, env=env, check=True)


def main():
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST)  # the wheel is built from the sdist
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    check_wheel(wheel)
    check_installed(wheel)
    check_sdist(sdist)
    print(f"{sdist.name}: {sdist.stat().st_size / 1e6:.1f} MB, {wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")


def check_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (extension,) = (name for name in names if name.endswith((".so", ".pyd")))
        assert "-cp311-abi3-" in wheel.name, wheel.name
        assert ".abi3." in extension, extension
        assert not any(name.startswith(("tests/", "docs/", "training/")) for name in names)
        if sys.platform == "linux":
            content = archive.read(extension)
            assert content.startswith(b"\x7fELF")
            assert b".symtab" not in content, f"{extension} is not stripped"
    run(sys.executable, "-m", "abi3audit", "--strict", wheel)
    if sys.platform == "linux":
        run(sys.executable, "-m", "auditwheel", "show", wheel)


TRIAL = """
import numpy as np, pmtools
from pmtools import _kernel
assert _kernel.NAME.startswith("c "), _kernel.NAME
image = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
warp = pmtools.fit_warp(np.eye(4), source_hw=(60, 80))
assert warp.image(image).shape == image.shape
np.testing.assert_allclose(warp.inverse_points(warp.points(np.array([[20.0, 30.0]]))), [[20.0, 30.0]])
print("the wheel works with", _kernel.NAME, np.__version__)
"""


def check_installed(wheel):
    """The wheel in an empty environment, with no compiler to be found and the lowest versions of what it needs."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode("utf-8").splitlines()
    needed = [
        Requirement(line.partition(": ")[2])
        for line in lines
        if line.startswith("Requires-Dist") and "extra" not in line
    ]
    pins = [f"{one.name}=={one.specifier}".replace("==>=", "==") for one in needed]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        binaries = Path(folder, "Scripts" if sys.platform == "win32" else "bin")
        environment = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_CONSTRAINT", "CC")
        }
        environment["PATH"] = str(binaries)
        python = binaries / "python"
        run(python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", wheel, *pins, cwd=folder, env=environment)
        run(python, "-c", TRIAL, cwd=folder, env=environment)


def check_sdist(sdist):
    """The sdist has what its tests need: some of each kind run from it, where the project is installed."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        for name in ("LICENSE", "CITATION.cff", "SECURITY.md", "Makefile", "tests/golden/README.md", "examples"):
            assert (unpacked / name).exists(), name
        if PROJECT_PYTHON.exists():
            some = ["tests/test_warp.py", "tests/test_io.py", "tests/test_compat.py", "tests/test_surface.py"]
            run(PROJECT_PYTHON, "-m", "pytest", "-q", "-n", "0", *some, cwd=unpacked)


if __name__ == "__main__":
    main()
