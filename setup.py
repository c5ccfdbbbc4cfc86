"""The optional compiled kernel; everything else about the package is in pyproject.toml."""

import sys

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "pmtools._resample",
            ["pmtools/_resample.c"],
            # products and sums are rounded one after the other, as NumPy's are: clang would fuse them on ARM
            extra_compile_args=["/O2", "/std:c11"]
            if sys.platform == "win32"
            else ["-O3", "-std=c11", "-ffp-contract=off"],
            extra_link_args=["-s"] if sys.platform == "linux" else [],  # no debugging symbols: a tenth of the size
            py_limited_api=True,
            optional=True,  # without a compiler the installation succeeds, and NumPy serves
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
