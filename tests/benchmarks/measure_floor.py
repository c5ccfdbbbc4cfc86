"""What the floor costs and what it buys: the measurement behind `pmtools.settings.WarpSettings`.

For heatmaps of several kinds, how far the floored warp moves points from the paper's warp (floor 1e-6), and how much the
most squeezed pixels are compressed. Run: python tests/benchmarks/measure_floor.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import pmtools

SIDE = 336
FLOORS = (0.01, 0.02, 0.05, 0.1, 0.2)


def heatmaps(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Maps by kind: those of the golden files, attention-like sparse maps, one and two boxes, and noise."""
    golden = sorted((Path(__file__).parents[1] / "golden").glob("*.npz"))
    y, x = np.mgrid[0:24, 0:24] + 0.5

    def blob(spread: float) -> np.ndarray:
        cx, cy = rng.uniform(2, 22, 2)
        return np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * spread**2))

    def boxes(n: int) -> np.ndarray:
        corners = rng.uniform(0, 260, (n, 2))
        return pmtools.heatmaps.from_boxes(
            np.concatenate([corners, corners + rng.uniform(12, 70, (n, 2))], 1), source_hw=(SIDE, SIDE)
        )

    return {
        "golden": [np.load(path)["heatmap"] for path in golden],
        "attention-like": [blob(rng.uniform(0.8, 3)) + rng.gamma(0.15, 0.1, (24, 24)) for _ in range(60)],
        "one box": [boxes(1) for _ in range(60)],
        "two boxes": [boxes(2) for _ in range(60)],
        "exponential noise": [rng.exponential(size=(24, 24)) for _ in range(20)],
    }


def main() -> None:
    points = np.stack([np.linspace(0, SIDE, 1001)] * 2, axis=-1)
    print(f"{'gain k maps':28s} {'paper':>9s}" + "".join(f"{f'floor {floor:g}':>18s}" for floor in FLOORS))
    print(f"{'':28s} {'squeeze':>9s}" + f"{'shift%':>9s}{'squeeze':>9s}" * len(FLOORS))
    for gain, kernel_size in ((10.0, 3), (15.0, 5), (10.0, 1)):
        for kind, maps in heatmaps(np.random.default_rng(7)).items():
            row = []
            for floor in (1e-6, *FLOORS):
                shift, squeeze = [], []
                for heatmap in maps:
                    options = {"source_hw": (SIDE, SIDE), "gain": gain, "kernel_size": kernel_size}
                    paper = pmtools.fit_warp(heatmap, floor=1e-6, **options)
                    warp = pmtools.fit_warp(heatmap, floor=floor, **options)
                    shift.append(np.abs(warp.points(points) - paper.points(points)).max() / SIDE * 100)
                    squeeze.append(1 / min(axis.min() for axis in warp.local_magnification()))
                row.append((np.median(shift), max(squeeze)))
            print(
                f"{gain:g} {kernel_size} {kind:23s} {row[0][1]:9.1f}" + "".join(f"{s:9.2f}{q:9.1f}" for s, q in row[1:])
            )


if __name__ == "__main__":
    main()
