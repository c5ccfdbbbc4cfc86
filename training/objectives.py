"""Objectives: labels of patches, answers, and where to look before answering.

Localisation is supervised, so the demo model's heatmaps are not an emergent finding, as the model card states. Heads
and layers below count from 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pmtools.zoo.vocabulary import TOKEN_IDS
from training.network import Pass, PatchHeads, Readouts
from training.views import GRID, TOKENS

Batch = dict[str, Tensor]

MENTION_LAYERS, MENTION_HEAD = (1, 2), 2  # the token that completes a reference looks at what it refers to
ANSWER_LAYERS, ANSWER_HEADS = (2, 3), (0, 1)  # the last token looks at the relevant objects: PM's heatmap
ASK_LAYER, ASK_HEADS = (
    1,
    (0, 1),
)  # before that, the last token reads the references' words: it must know what to look for
HOP_LAYER, HOP_HEADS = 3, (2, 3)  # the last token of a comparison looks at the two references
COUNT_LAYERS, COUNT_HEADS = (2, 3), (2, 3)  # the last token shares its attention among bos and the objects counted
READ_LAYER = 2  # a reference knows the place of its object after this layer

WEIGHTS = {
    "answer": 1.0,
    "patch": 0.5,
    "attend": 0.3,
    "mention": 0.3,
    "ask": 0.3,
    "hop": 0.3,
    "place": 4.0,
    "count": 1.2,
    "count_read": 0.4,
    "end": 0.1,
}


def patch_loss(heads: PatchHeads, features: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Shape, colour, centre, density and position of every patch, from normalised features (..., TOKENS, width)."""
    shape, color, center, density, xy = heads(F.layer_norm(features, features.shape[-1:]))
    ground = torch.ones(6, device=features.device)
    ground[0] = 0.3  # most patches are ground
    loss_shape = F.cross_entropy(shape.flatten(0, -2), batch["shape"].flatten(), weight=ground)
    loss_color = F.cross_entropy(color.flatten(0, -2), batch["color"].flatten(), weight=ground)
    loss_center = F.binary_cross_entropy_with_logits(
        center, batch["center"], pos_weight=torch.tensor(4.0, device=features.device)
    )
    goal = batch["density"].transpose(-1, -2)  # (..., TOKENS, 10)
    loss_density = F.binary_cross_entropy_with_logits(density, goal)
    totals = density.sigmoid().sum(dim=-2) - goal.sum(dim=-2)  # (..., 10): what a count needs
    loss_total = F.smooth_l1_loss(totals, torch.zeros_like(totals))
    loss_xy = F.mse_loss(xy, patch_centers(features.device).expand_as(xy))
    with torch.no_grad():
        objects = batch["shape"] > 0
        seen = {
            "shape": _mean((shape.argmax(-1) == batch["shape"])[objects]),
            "color": _mean((color.argmax(-1) == batch["color"])[objects]),
            "xy": loss_xy.sqrt().item(),
            "total": totals.abs().mean().item(),
        }
    loss = 2 * loss_shape + loss_color + loss_center + 5 * loss_density + 0.5 * loss_total + 2 * loss_xy
    return loss, seen


def patch_centers(device: torch.device) -> Tensor:
    """Centres of the patches in [0, 1], shape (TOKENS, 2)."""
    at = (torch.arange(GRID, device=device) + 0.5) / GRID
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(TOKENS, 2)


def question_loss(
    readouts: Readouts, done: Pass, batch: Batch, lookup: Tensor, *, fade: float = 1.0
) -> tuple[Tensor, dict[str, float]]:
    """The loss of the answers, plus `fade` times the attention and place losses."""
    parts: dict[str, Tensor] = {}
    notes: dict[str, float] = {}
    seen, notes_seen = patch_loss(readouts.vision, done.vision, batch)
    projected, notes_projected = patch_loss(readouts.projected, done.projected, batch)
    parts["patch"] = (seen + projected) / 2
    notes |= notes_seen | {"xy_projected": notes_projected["xy"]}
    parts["answer"], parts["end"], right = _answer_losses(done, batch)
    notes["right"] = _mean(right)
    parts["attend"], notes["attend"] = _attend_loss(done, batch)
    parts["mention"], place, notes["mention"], notes["place"] = _mention_losses(readouts, done, batch, lookup)
    parts["ask"] = _ask_loss(done, batch)
    parts["hop"], offset, notes["sign"] = _hop_losses(readouts, done, batch)
    parts["place"] = place + offset
    parts["count"], parts["count_read"], notes["counted"] = _count_losses(readouts, done, batch)
    guides = {"ask", "attend", "mention", "hop", "place", "count", "count_read"}
    loss = torch.stack([WEIGHTS[k] * (fade if k in guides else 1.0) * v for k, v in parts.items()]).sum()
    notes |= {f"loss_{k}": v.item() for k, v in parts.items()}
    return loss, notes


def _answer_losses(done: Pass, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    at_last = _at(done.logits, batch["last"])
    weight = 1.0 + (batch["pair"] | (batch["counted"] >= 0)).float()  # the hard categories count twice
    each = F.cross_entropy(at_last.flatten(0, 1), batch["answers"].flatten(), reduction="none")
    answer = (each * weight.flatten()).sum() / weight.sum() * 1.5
    after = _at(done.logits, batch["last"] + 1)
    end = F.cross_entropy(after.flatten(0, 1), torch.full_like(batch["answers"].flatten(), TOKEN_IDS["<eos>"]))
    return answer, end, at_last.argmax(-1) == batch["answers"]


def _at(values: Tensor, index: Tensor) -> Tensor:
    """Rows of (batch, questions, SLOT, k) at a token of each question."""
    return values.gather(2, index[:, :, None, None].expand(-1, -1, 1, values.shape[-1]))[:, :, 0]


def _rows(attention: Tensor, batch_at: Tensor, question_at: Tensor, token: Tensor) -> Tensor:
    """Attention rows (k, heads, keys) of chosen queries."""
    return attention[batch_at, :, question_at, token]


def _mass_loss(mass: Tensor) -> Tensor:
    return -(mass + 1e-4).log().mean()


def _attend_loss(done: Pass, batch: Batch) -> tuple[Tensor, float]:
    regions = torch.einsum("bqho,bot->bqht", batch["relevant"].float(), batch["masks"].float()).clamp(max=1)
    index = batch["last"]
    b, q = torch.meshgrid(*(torch.arange(k, device=index.device) for k in index.shape), indexing="ij")
    loss, mass_seen = regions.new_zeros(()), 0.0
    for layer in ANSWER_LAYERS:
        rows = _rows(done.attentions[layer], b, q, index)  # (batch, questions, heads, keys)
        for k, head in enumerate(ANSWER_HEADS):
            region = regions[:, :, k]
            asked = region.any(-1)
            mass = (rows[:, :, head, 1 : 1 + region.shape[-1]] * region).sum(-1)[asked]
            loss = loss + _mass_loss(mass) / 4
            mass_seen += _mean(mass) / 4
    return loss, mass_seen


def _mention_losses(
    readouts: Readouts, done: Pass, batch: Batch, lookup: Tensor
) -> tuple[Tensor, Tensor, float, float]:
    regions = torch.einsum("bqmo,bot->bqmt", batch["mentioned"].float(), batch["masks"].float()).clamp(max=1)
    loss, place, mass_seen, error = regions.new_zeros(()), regions.new_zeros(()), 0.0, 0.0
    for slot in (0, 1):
        token, region = batch["mention_at"][:, :, slot], regions[:, :, slot]
        b, q = ((token >= 0) & ~lookup & region.any(-1)).nonzero(as_tuple=True)
        if not len(b):
            continue
        for layer in MENTION_LAYERS:
            row = _rows(done.attentions[layer], b, q, token[b, q])[:, MENTION_HEAD, 1 : 1 + region.shape[-1]]
            mass = (row * region[b, q]).sum(-1)
            loss = loss + _mass_loss(mass) / 4
            mass_seen += _mean(mass) / 4
        single = batch["mentioned"][b, q, slot].sum(-1) == 1
        b, q = b[single], q[single]
        if len(b):
            state = done.states[READ_LAYER][b, q, token[b, q]]
            goal = batch["xy"][b, batch["mentioned"][b, q, slot].float().argmax(-1)]
            miss = F.mse_loss(readouts.mention_xy(F.layer_norm(state, state.shape[-1:])), goal)
            place, error = place + miss, max(error, miss.sqrt().item())
    return loss, place, mass_seen, error


def _ask_loss(done: Pass, batch: Batch) -> Tensor:
    """A question with one reference has both heads on it."""
    index = batch["last"]
    b, q = (batch["mention_at"][:, :, 0] >= 0).nonzero(as_tuple=True)
    rows = _rows(done.attentions[ASK_LAYER], b, q, index[b, q])
    prefix = rows.shape[-1] - batch["ids"].shape[-1]
    at = batch["mention_at"][b, q]  # (k, 2)
    at = torch.where(at < 0, at[:, :1], at)
    masses = [rows[:, head].gather(1, prefix + at[:, k, None]) for k, head in enumerate(ASK_HEADS)]
    return _mass_loss(torch.cat(masses, dim=1))


def _hop_losses(readouts: Readouts, done: Pass, batch: Batch) -> tuple[Tensor, Tensor, float]:
    b, q = batch["pair"].nonzero(as_tuple=True)
    zero = done.logits.new_zeros(())
    if not len(b):
        return zero, zero, 0.5
    rows = _rows(done.attentions[HOP_LAYER], b, q, batch["last"][b, q])
    prefix = rows.shape[-1] - batch["ids"].shape[-1]
    hop = zero
    for slot, head in enumerate(HOP_HEADS):
        key = prefix + batch["mention_at"][b, q, slot]
        hop = hop + _mass_loss(rows[:, head].gather(1, key[:, None])) / 2
    objects = batch["mentioned"][b, q].float().argmax(-1)  # (k, 2)
    delta = batch["xy"][b, objects[:, 0]] - batch["xy"][b, objects[:, 1]]
    state = done.states[HOP_LAYER][b, q, batch["last"][b, q]]
    read = readouts.offset(F.layer_norm(state, state.shape[-1:]))
    return hop, F.mse_loss(read, 3 * delta) / 3, _mean((read > 0) == (delta > 0))


def _count_losses(readouts: Readouts, done: Pass, batch: Batch) -> tuple[Tensor, Tensor, float]:
    """Bos and each counted object's core get equal shares of attention, so that bos's share encodes the number."""
    b, q = (batch["counted"] >= 0).nonzero(as_tuple=True)
    zero = done.logits.new_zeros(())
    if not len(b):
        return zero, zero, 0.25
    chosen = batch["mentioned"][b, q, 0]  # (k, objects)
    cores = batch["cores"][b]  # (k, objects, tokens)
    present = (chosen & cores.any(-1)).float()
    number = present.sum(-1)
    loss, read, right = zero, zero, 0.0
    last = batch["last"][b, q]
    for layer in COUNT_LAYERS:
        for head in COUNT_HEADS:
            row = _rows(done.attentions[layer], b, q, last)[:, head]
            mass = torch.einsum("kt,kot->ko", row[:, 1 : 1 + cores.shape[-1]], cores.float())
            logs = ((mass + 1e-4).log() * present).sum(-1) + (row[:, 0] + 1e-4).log()
            loss = loss + (-logs / (number + 1) - (number + 1).log()).mean() / 4  # 0 when the shares are equal
    for layer, reader in zip((COUNT_LAYERS[-1], COUNT_LAYERS[-1] + 1), readouts.count, strict=True):
        state = done.states[layer][b, q, last]
        scores = reader(F.layer_norm(state, state.shape[-1:]))
        goal = batch["counted"][b, q].clamp(max=6)
        read = read + F.cross_entropy(scores, goal)
        right = _mean(scores.argmax(-1) == goal)
    return loss, read, right


def _mean(values: Tensor) -> float:
    return values.float().mean().item() if values.numel() else float("nan")
