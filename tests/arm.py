"""The compiled kernel on ARM: built for it here, and run under emulation; `make test-arm` calls it.

Debian's Python for arm64 and the wheels of its dependencies go into out/arm; nothing is installed. There `tests/test_kernel.py`
runs, and the results of `CASES` seeds of the fuzz are compared with those of this machine: the same bits of 8-bit
pixels, everything else close, and no infinities.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "arm"
SYSROOT, SITE = OUT / "root", OUT / "site"
PLATFORMS = ["manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64"]
WHEELS = ["numpy", "scipy", "pillow", "array-api-compat", "tifffile", "pytest", "hypothesis", "array-api-strict"]
TESTS = ["tests/test_kernel.py"]
CHOICE = (
    "not asked_for and not unknown_kernels and not missing_extension"  # they start a Python, which needs the emulator
)
CASES = 400


def run(*command, cwd=ROOT, env=None):
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=cwd, env=env)


def debian():
    """Python and its libraries for arm64, of this machine's Debian, unpacked into the sysroot."""
    state, cache = OUT / "apt", OUT / "apt" / "cache"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()  # of packages: none is installed there
    options = {"APT::Architecture": "arm64", "APT::Architectures": "arm64", "APT::Sandbox::User": "root"}
    options |= {"Dir::State": state, "Dir::State::status": state / "status", "Dir::Cache": cache, "Debug::NoLocking": 1}
    apt = ["apt-get", "-qq", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    python = f"python3.{sys.version_info.minor}"
    run(*apt, "update")
    run(
        *apt, "install", "--download-only", "--yes", "--no-install-recommends", python, f"lib{python}-dev", "libstdc++6"
    )
    for package in (cache / "archives").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, SYSROOT], check=True)


def wheels():
    options = [part for name in PLATFORMS for part in ("--platform", name)]
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", SITE, "--only-binary=:all:", *options, *WHEELS)


def build():
    """The package with the kernel for ARM, beside the wheels."""
    shutil.rmtree(SITE / "pmtools", ignore_errors=True)
    shutil.copytree(ROOT / "pmtools", SITE / "pmtools", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    include = SYSROOT / "usr" / "include"
    flags = ["-O3", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-isystem", include]
    flags += ["-isystem", include / f"python3.{sys.version_info.minor}"]
    library = SITE / "pmtools" / "_resample.abi3.so"
    run("aarch64-linux-gnu-gcc", *flags, ROOT / "pmtools" / "_resample.c", "-o", library, "-lm")


def results(path):
    """What the kernel makes of the cases, into an .npz; run by both interpreters."""
    from pmtools import _kernel

    fuzz = runpy.run_path(str(ROOT / "tests" / "fuzz" / "fuzz_kernel.py"))
    cases = [fuzz["random_case"](seed, long=seed % 40 == 0) for seed in range(CASES)]
    made = {str(seed): _kernel.resample(*case) for seed, case in enumerate(cases)}
    print(_kernel.NAME)
    np.savez(path, **made)


def compare(here, there):
    counts = {}
    with np.load(here) as ours, np.load(there) as theirs:
        for name in ours.files:
            a, b = ours[name], theirs[name]
            if a.dtype == np.uint8:
                np.testing.assert_array_equal(b, a, f"seed {name}")
            else:
                np.testing.assert_allclose(b, a, rtol=1e-5, atol=1 if a.dtype == np.uint16 else 1e-5)
            assert np.all(np.isfinite(b))
            numbers, differing = counts.get(str(a.dtype), (0, 0))
            counts[str(a.dtype)] = (numbers + a.size, differing + np.count_nonzero(a != b))
    for dtype, (numbers, differing) in counts.items():
        print(f"{dtype}: {numbers} numbers, {differing} not the same to the last bit")


def main():
    if sys.argv[1:]:
        results(sys.argv[1])
        return
    for command in ("qemu-aarch64", "aarch64-linux-gnu-gcc", "apt-get", "dpkg-deb"):
        if not shutil.which(command):
            print(f"not tested on ARM: there is no {command}")
            return
    if not SYSROOT.exists():
        debian()
    if not SITE.exists():
        wheels()
    build()
    settings = {"PYTHONPATH": SITE, "PYTHONHOME": SYSROOT / "usr", "OPENBLAS_NUM_THREADS": 1, "QEMU_LD_PREFIX": SYSROOT}
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    python = ["qemu-aarch64", SYSROOT / "usr" / "bin" / f"python3.{sys.version_info.minor}"]
    run(sys.executable, __file__, OUT / "here.npz")
    run(*python, __file__, OUT / "there.npz", env=environment)
    compare(OUT / "here.npz", OUT / "there.npz")
    for name in ("tests", "pyproject.toml"):  # away from the package of this machine, which pytest would take
        run("cp", "-r", ROOT / name, OUT)
    command = [*python, "-m", "pytest", "-q", "-rs", "-m", "not slow", "-p", "no:cacheprovider", "-k", CHOICE, *TESTS]
    run(*command, cwd=OUT, env=environment)


if __name__ == "__main__":
    main()
