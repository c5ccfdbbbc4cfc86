"""Build the sdist and the wheel and check them: metadata, stable ABI, platform, symbols, and the sdist's own tests.

`make package` calls it, in an environment with build, twine, auditwheel and abi3audit.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
PROJECT_PYTHON = ROOT / ".venv" / "bin" / "python"


def run(*command, cwd=ROOT):
    print("+", *command)
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)


def main():
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST)  # the wheel is built from the sdist
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    check_wheel(wheel)
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
