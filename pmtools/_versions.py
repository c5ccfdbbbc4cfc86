"""What is installed and in use: the text that belongs in a bug report."""

from __future__ import annotations

import platform

from pmtools import _kernel

#: Packages whose version changes what comes out. They are not imported for the question.
PACKAGES = ("numpy", "pillow", "scipy", "scikit-image", "array-api-compat", "torch", "transformers")

#: The transformers that the tests run on, lowest and newest; the page "Tested versions" has the others.
TESTED_TRANSFORMERS = ("5.17", "5.24.0")


def untested_transformers(missing: str, /) -> RuntimeError:
    """The error where transformers is not what it was: which release, what is missing, and the way out."""
    return RuntimeError(
        f"transformers {_version('transformers')} {missing}; pmtools is tested with {' to '.join(TESTED_TRANSFORMERS)}, "
        "install one of these"
    )


def show_versions() -> str:
    """Versions of pmtools, of Python and of the packages it uses, and which resampling kernel runs.

    Returns
    -------
    str
        One `name: version` a line; print it.

    Examples
    --------
    >>> show_versions().splitlines()[1].partition(":")[0]
    'kernel'
    """
    lines = {
        "pmtools": _version("pmtools"),
        "kernel": _kernel.NAME,
        "threads": str(_kernel.thread_count()),
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        **{name: _version(name) for name in PACKAGES},
    }
    return "\n".join(f"{name}: {version}" for name, version in lines.items())


def _version(package: str) -> str:
    from importlib import metadata  # as slow to import as half of this package

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
