"""The demo model, its initial weights, and a forward pass that shares a picture's encoding among many questions.

The model is the stock `LlavaForConditionalGeneration`; the packed pass gives what the stock forward gives (a test
compares them) at a fraction of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from pmtools.evaluation.scenes.composition import compose_scene
from pmtools.zoo.vocabulary import TOKEN_IDS
from pmtools.zoo.vocabulary import TOKENS as WORDS
from training.batches import MEAN, STD, stream
from training.views import GRID, INPUT, PATCH, TOKENS, make_view

MASKED = -1e9


def build_model(*, width: int = 128, vision_layers: int = 4, text_layers: int = 6, heads: int = 4) -> Any:
    """A stock Llava with a small CLIP tower and a small Llama, random weights."""
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=vision_layers,
        num_attention_heads=heads,
        image_size=INPUT,
        patch_size=PATCH,
        projection_dim=width,
    )
    text = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        intermediate_size=5 * width // 2,
        num_hidden_layers=text_layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=1024,
        initializer_range=0.06,
        pad_token_id=TOKEN_IDS["<pad>"],
        bos_token_id=TOKEN_IDS["<bos>"],
        eos_token_id=TOKEN_IDS["<eos>"],
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=TOKEN_IDS["<image>"],
        image_token_id=TOKEN_IDS["<image>"],
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=TOKENS,
        pad_token_id=TOKEN_IDS["<pad>"],
        tie_word_embeddings=False,
    )
    return LlavaForConditionalGeneration(config)


def informed_init(model: Any, /, *, seed: int, pictures: int = 150) -> None:
    """Initialise the vision tower so that learning can begin: whitened patches and two-dimensional sine positions.

    With the library's initial weights, shapes stayed at chance for hundreds of steps.
    """
    rng = stream(seed, 0)
    patches: list[np.ndarray[Any, Any]] = []
    while len(patches) < pictures:
        view = make_view(compose_scene(rng, plan="mixed", diameters=(14, 90)), rng, strength=0)
        if view is not None:
            image = (view.image - MEAN) / STD
            patches.append(
                image.reshape(3, GRID, PATCH, GRID, PATCH).transpose(1, 3, 0, 2, 4).reshape(TOKENS, 3 * PATCH * PATCH)
            )
    covariance = np.cov(np.concatenate(patches).astype(np.float64).T)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    width = model.config.vision_config.hidden_size
    kept = min(width, len(values))
    whitening = np.zeros((width, 3 * PATCH * PATCH))
    whitening[:kept] = (vectors[:, :kept] / np.sqrt(values[:kept] + values[40])).T  # damped: little noise is amplified
    whitening = np.linalg.qr(rng.standard_normal((width, width)))[0] @ whitening
    quarter = width // 4
    frequencies = 20 ** -(np.arange(quarter) / quarter)
    at = np.arange(GRID) + 0.5
    waves = np.concatenate([np.sin(at[:, None] * frequencies), np.cos(at[:, None] * frequencies)], axis=1)
    y, x = np.divmod(np.arange(TOKENS), GRID)
    positions = 0.4 * np.concatenate([waves[y], waves[x]], axis=1)
    embeddings = _embeddings(model)
    with torch.no_grad():
        embeddings.patch_embedding.weight.copy_(torch.tensor(whitening.reshape(width, 3, PATCH, PATCH)))
        embeddings.position_embedding.weight[1:] = torch.tensor(positions, dtype=torch.float32)


def _embeddings(model: Any) -> Any:
    tower = model.model.vision_tower
    return tower.embeddings if hasattr(tower, "embeddings") else tower.vision_model.embeddings


class PatchHeads(nn.Module):
    """Linear read-outs of every patch: shape, colour, centre, densities, position. Discarded after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, 6 + 6 + 1 + 10 + 2)
        with torch.no_grad():
            self.out.bias[12:23] = -4.0  # centres and densities are rare

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Logits (..., 6), (..., 6), (...), (..., 10) and positions (..., 2)."""
        shape, color, center, density, xy = self.out(features).split([6, 6, 1, 10, 2], dim=-1)
        return shape, color, center[..., 0], density, xy


class Readouts(nn.Module):
    """All auxiliary heads: on the vision output, on the projector's, and on hidden states of the language model."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vision, self.projected = PatchHeads(width), PatchHeads(width)
        self.mention_xy = nn.Linear(width, 2)
        self.offset = nn.Linear(width, 2)
        self.count = nn.ModuleList([nn.Linear(width, 7), nn.Linear(width, 7)])


@dataclass(frozen=True)
class Pass:
    """The result of a packed pass.

    Attributes
    ----------
    logits : Tensor of shape (batch, questions, SLOT, vocabulary)
    vision, projected : Tensor of shape (batch, pictures, TOKENS, width)
    attentions : list of Tensor of shape (batch, heads, questions, SLOT, prefix + SLOT)
        One a layer; columns 1.. prefix - 1 are the picture's tokens.
    states : list of Tensor of shape (batch, questions, SLOT, width)
        Hidden states after each layer.
    """

    logits: Tensor
    vision: Tensor
    projected: Tensor
    attentions: list[Tensor]
    states: list[Tensor]


def encode_pictures(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Vision features and projected features of pictures (batch, pictures, 3, INPUT, INPUT)."""
    batch, pictures = pixels.shape[:2]
    vision = model.model.vision_tower(pixel_values=pixels.flatten(0, 1)).last_hidden_state[:, 1:]
    projected = model.model.multi_modal_projector(vision)
    return vision.view(batch, pictures, *vision.shape[1:]), projected.view(batch, pictures, *projected.shape[1:])


def packed_pass(model: Any, pixels: Tensor, ids: Tensor, last: Tensor, lookup: Tensor) -> Pass:
    """Answer many questions about each picture at once; questions do not see one another.

    Parameters
    ----------
    model : LlavaForConditionalGeneration
    pixels : Tensor of shape (batch, pictures, 3, INPUT, INPUT)
    ids : int Tensor of shape (batch, questions, SLOT)
    last : int Tensor of shape (batch, questions)
        Index of each question's last token.
    lookup : bool Tensor of shape (batch, questions)
        Where true, only the last token (and the answer) may look at the picture.
    """
    vision, projected = encode_pictures(model, pixels)
    text = model.model.language_model
    batch, questions, slot = ids.shape
    prefix = 1 + projected.shape[1] * TOKENS
    bos = text.embed_tokens(torch.full((batch, 1), TOKEN_IDS["<bos>"], device=ids.device))
    h = torch.cat([bos, projected.flatten(1, 2), text.embed_tokens(ids.flatten(1))], dim=1)
    width, heads = h.shape[-1], text.config.num_attention_heads
    positions = torch.cat([torch.arange(prefix), prefix + torch.arange(slot).repeat(questions)]).to(ids.device)
    cos, sin = _rotation(text, positions, h)
    at = torch.arange(slot, device=ids.device)
    blind = lookup[..., None] & (at < last[..., None])  # (batch, questions, slot)
    to_prefix = torch.zeros(batch, questions, slot, prefix, device=ids.device)
    to_prefix[..., 1:].masked_fill_(blind[..., None], MASKED)
    to_prefix = to_prefix.reshape(batch, 1, questions * slot, prefix)
    causal = torch.full((slot, slot), MASKED, device=ids.device).triu(1)
    attentions, states = [], []
    for index, layer in enumerate(text.layers):
        attention, y = layer.self_attn, layer.input_layernorm(h)
        q, k, v = (p(y).view(batch, -1, heads, width // heads).transpose(1, 2) for p in _projections(attention))
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        k_pre, v_pre = k[:, :, :prefix], v[:, :, :prefix]
        q_own = q[:, :, prefix:] * attention.scaling
        k_own, v_own, q_slots = (t.unflatten(2, (questions, slot)) for t in (k[:, :, prefix:], v[:, :, prefix:], q_own))
        seen = q_own @ k_pre.transpose(-1, -2) + to_prefix  # (batch, heads, questions * slot, prefix)
        own = (q_slots @ k_own.transpose(-1, -2) + causal).flatten(2, 3)  # (batch, heads, questions * slot, slot)
        weights = torch.cat([seen, own], dim=-1).softmax(dim=-1)
        weights = weights.view(batch, heads, questions, slot, prefix + slot)
        attentions.append(weights)
        mixed = weights.flatten(2, 3)[..., :prefix] @ v_pre + (weights[..., prefix:] @ v_own).flatten(2, 3)
        if index < len(text.layers) - 1:
            before = F.scaled_dot_product_attention(q[:, :, :prefix], k_pre, v_pre, is_causal=True)
            mixed = torch.cat([before, mixed], dim=2)
        else:  # the picture's states after the last layer are not used
            h = h[:, prefix:]
        h = h + attention.o_proj(mixed.transpose(1, 2).flatten(2))
        h = h + layer.mlp(layer.post_attention_layernorm(h))
        states.append(h[:, -questions * slot :].reshape(batch, questions, slot, width))
    logits = model.lm_head(text.norm(states[-1]))
    return Pass(logits, vision, projected, attentions, states)


def _projections(attention: Any) -> tuple[Any, Any, Any]:
    return attention.q_proj, attention.k_proj, attention.v_proj


def _rotation(text: Any, positions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = text.rotary_emb(like, positions[None])
    return cos[0], sin[0]


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin
