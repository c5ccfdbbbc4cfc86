"""How far noise moves the grid of a warp from frame to frame, plain and smoothed, and how far smoothing lags behind.

    python tests/benchmarks/measure_smoothing.py

A Gaussian peak on 24 x 24 cells with 5 % of noise of its height, 1000 x 1000 pixels: standing still for the jitter, and moving
5 pixels a frame without noise for the lag.
"""

from __future__ import annotations

import numpy as np

import pmtools

HW = (1000, 1000)
EDGES = np.linspace(0, 1000, 41)
GRID = np.stack(np.meshgrid(EDGES, EDGES), axis=-1)


def heatmap(x: float, y: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    cells = (np.arange(24) + 0.5) / 24 * 1000
    peak = np.exp(-((cells[None] - x) ** 2 + (cells[:, None] - y) ** 2) / (2 * 80**2))
    return np.clip(peak + noise * rng.standard_normal((24, 24)), 0, None)


def smoothed_maps(maps: list[np.ndarray], half_life: float) -> list[np.ndarray]:
    weight, mean, found = 1 - 2 ** (-1 / half_life), None, []
    for one in maps:
        mean = one if mean is None else mean + weight * (one - mean)
        found.append(mean)
    return found


def fitted(maps: list[np.ndarray]) -> list[pmtools.Warp]:
    return [pmtools.fit_warp(one, source_hw=HW) for one in maps]


def jitter(warps: list[pmtools.Warp]) -> float:
    """The greatest move of a grid point from a frame to the next, mean over frames after the start."""
    at = np.array([warp.points(GRID) for warp in warps[20:]])
    return float(np.abs(np.diff(at, axis=0)).max(axis=(1, 2, 3)).mean())


def lag(warps: list[pmtools.Warp], truth: list[pmtools.Warp]) -> float:
    return float(
        np.mean([np.abs(a.points(GRID) - b.points(GRID)).max() for a, b in zip(warps[20:], truth[20:], strict=True)])
    )


def main() -> None:
    rng = np.random.default_rng(0)
    still = [heatmap(400, 550, 0.05, rng) for _ in range(80)]
    moving = [heatmap(200 + 5 * t, 550, 0.0, rng) for t in range(80)]
    truth = fitted(moving)
    print("half life | jitter: warps | maps | lag at 5 px a frame: warps | maps  (px)")
    print(f"none | {jitter(fitted(still)):.1f} | | 0 |")
    for half_life in (1, 2, 4, 8):
        warps, moved = (list(pmtools.smooth_warps(some, half_life=half_life)) for some in (fitted(still), truth))
        maps, moved_maps = (fitted(smoothed_maps(some, half_life)) for some in (still, moving))
        print(
            f"{half_life} | {jitter(warps):.1f} | {jitter(maps):.1f} | {lag(moved, truth):.1f} | {lag(moved_maps, truth):.1f}"
        )


if __name__ == "__main__":
    main()
