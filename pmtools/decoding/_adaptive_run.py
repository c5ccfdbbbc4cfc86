"""The adaptive mode: original and magnified stream in one cache, images magnified again where the warp has moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pmtools.adapters.caches import cache_rows, find_cache, put_cache
from pmtools.adapters.sequences import TokenSequences
from pmtools.adapters.source_images import SourceImages
from pmtools.adapters.twin_cache import first_rows, replace_rows, twin_cache
from pmtools.decoding._magnifying_run import MagnifyingRun
from pmtools.warp import Warp

if TYPE_CHECKING:
    import torch

    from pmtools.decoding.pm import PerceptionMagnifier


class AdaptiveRun(MagnifyingRun):
    """One call of `generate` with `refresh="adaptive"`."""

    def __init__(self, pm: PerceptionMagnifier, model: Any, images: SourceImages) -> None:
        super().__init__(pm, model, images)
        self.all_rows = list(range(len(images)))
        self.probes: list[list[Warp]] = [[] for _ in images]  # warps of the unrefined heatmaps of the last refresh

    def finish(self, output: Any) -> Any:
        """What `generate` returns, with the original stream's cache."""
        if (cache := find_cache(output)) is not None:
            put_cache(output, cache_rows(cache, self.all_rows))
        return output

    def _original_stream(self, sequences: TokenSequences, inputs: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Both streams in one pass after the first step; the original stream has the first rows."""
        if not self.steps:
            return super()._original_stream(sequences, inputs)
        count, twice = len(self.all_rows), self.all_rows * 2
        twin, both = find_cache(inputs), sequences.rows(twice)
        output, mass = self._looked("both", self.tokens.select(twice), lambda: both.run(twin))
        output.logits = output.logits[count:, -1:]
        for name in ("hidden_states", "attentions"):  # if requested: the original stream's
            if output.get(name) is not None:
                output[name] = tuple(layer[:count] for layer in output[name])
        return output, twin, None if mass is None else mass[:count]

    def _rows_to_refresh(self, sequences: TokenSequences, mass: torch.Tensor | None) -> list[int]:
        """The rows in which some part of an image has moved by more than `tolerance` patches."""
        rows = super()._rows_to_refresh(sequences, mass)
        heatmaps = self._heatmaps(mass, rows)
        probes = dict(zip(rows, self._warps(heatmaps, rows), strict=True))
        if self.steps:
            rows = [row for row, maps in zip(rows, heatmaps, strict=True) if self._moved(row, probes[row], maps)]
        for row in rows:
            self.probes[row] = probes[row]
        return rows

    def _moved(self, row: int, probes: list[Warp], heatmaps: list[torch.Tensor]) -> bool:
        parts = zip(probes, self.probes[row], heatmaps, strict=True)
        return any(_movement(new, old, heatmap.shape) > self.pm.tolerance for new, old, heatmap in parts)

    def _rows_of(self, cache: Any, rows: list[int]) -> Any:
        if not self.steps:
            return super()._rows_of(cache, rows)
        return first_rows(cache, len(rows)) if rows == self.all_rows else cache_rows(cache, rows)

    def _join(self, output: Any, magnified: Any, rows: list[int]) -> None:
        if not self.steps:
            super()._join(output, magnified, rows)
            put_cache(output, twin_cache(find_cache(output), find_cache(magnified), on_reorder=self._reorder))
            return
        replace_rows(find_cache(output), [row + len(self.all_rows) for row in rows], find_cache(magnified))
        output.logits[rows] = magnified.logits[:, -1:]

    def _reorder(self, origins: torch.Tensor) -> None:
        """Follow reordered beams: each row continues the row it came from."""
        for state in (self.heatmaps, self.warps, self.probes):
            state[:] = [state[row] for row in origins.tolist()]


def _movement(new: Warp, old: Warp, grid_hw: Sequence[int]) -> float:
    """How far apart the sources of the same output points are under two warps, at most, in cells of the grid."""
    import torch

    height, width = new.target_hw
    share = torch.linspace(0, 1, 4 * max(grid_hw) + 1, dtype=torch.float64, device="cpu")[:, None]
    points = share * torch.tensor([width, height], dtype=torch.float64, device="cpu")
    cell = torch.tensor([width / grid_hw[1], height / grid_hw[0]], dtype=torch.float64, device="cpu")
    return float(((new.inverse_points(points) - old.inverse_points(points)) / cell).abs().max())
