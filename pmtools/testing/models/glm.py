"""GLM's vision-language models: image tokens on a grid of the image's own shape, four patches in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pmtools.testing.models.family import TILE, Family, Parts
from pmtools.testing.models.tokenizer import SPECIALS

PATCH = TILE // 4
PIXELS = {"shortest_edge": 8 * (2 * PATCH) ** 2, "longest_edge": 48 * (2 * PATCH) ** 2}  # two frames of 4 to 24 tokens
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4, "partial_rotary_factor": 1.0}
WRAPPED = "<start><image><end>"
EXPERTS = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
TOKENS = {
    "image_token_id": SPECIALS.index("<image>"),
    "video_token_id": SPECIALS.index("<video>"),
    "image_start_token_id": SPECIALS.index("<start>"),
    "image_end_token_id": SPECIALS.index("<end>"),
    "video_start_token_id": SPECIALS.index("<|begin_of_video|>"),
    "video_end_token_id": SPECIALS.index("<|end_of_video|>"),
}


def _glm_vision(text: dict[str, Any]) -> dict[str, Any]:
    return {
        "depth": 2,
        "num_heads": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "out_hidden_size": text["hidden_size"],
        "patch_size": PATCH,
        "image_size": 2 * TILE,
        "spatial_merge_size": 2,
    }


def _glm(name: str) -> Callable[[dict[str, Any]], Any]:
    def make(text: dict[str, Any]) -> Any:
        import transformers as hf

        text = {**text, "rope_parameters": ROPE}
        return getattr(hf, f"{name}Config")(text_config=text, vision_config=_glm_vision(text), **TOKENS)

    return make


def _glm_parts(name: str) -> Callable[[Parts], dict[str, Any]]:
    def make(parts: Parts) -> dict[str, Any]:
        return {
            "image_processor": parts.images(name, patch_size=PATCH, size=PIXELS),
            "video_processor": parts.videos(name, patch_size=PATCH),
        }

    return make


FAMILIES = {
    "glm4v": Family(_glm("Glm4v"), "Glm4vProcessor", _glm_parts("Glm4v"), mark=WRAPPED),
    "glm4v_moe": Family(_glm("Glm4vMoe"), "Glm4vProcessor", _glm_parts("Glm4v"), text=EXPERTS, mark=WRAPPED),
    "glm46v": Family(_glm("Glm46V"), "Glm46VProcessor", _glm_parts("Glm46V"), mark=WRAPPED),
    "glm_ocr": Family(_glm("GlmOcr"), "Glm46VProcessor", _glm_parts("Glm46V"), text={"head_dim": 16}, mark=WRAPPED),
}
