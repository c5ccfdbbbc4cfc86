"""The settings of the paper's warp in the reading benchmark; light, so that the command line has them without the benchmark."""

from __future__ import annotations

from typing import Any

__all__ = ["SETTINGS"]

#: Chosen on the photographs for tuning (`--split tune`).
SETTINGS: dict[str, Any] = {"gain": 30.0, "kernel_size": 1, "floor": 0.1}
