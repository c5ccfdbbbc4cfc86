"""Qwen's vision-language models: image tokens on a grid of the image's own shape, four patches in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pmtools.testing.models.family import TILE, Family, Parts
from pmtools.testing.models.tokenizer import SPECIALS

PATCH = TILE // 4
PIXELS = {"shortest_edge": 4 * (2 * PATCH) ** 2, "longest_edge": 24 * (2 * PATCH) ** 2}  # 4 to 24 image tokens
TOKENS = {
    name: SPECIALS.index(token)
    for name, token in {
        "image_token_id": "<image>",
        "video_token_id": "<video>",
        "vision_start_token_id": "<start>",
        "vision_end_token_id": "<end>",
    }.items()
}
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
INTERLEAVED = {**ROPE, "mrope_interleaved": True}
VISION = {"depth": 2, "num_heads": 2, "patch_size": PATCH, "spatial_merge_size": 2, "hidden_size": 32}
WRAPPED = "<start><image><end>"
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def _vision(text: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {**VISION, "intermediate_size": 64, "out_hidden_size": text["hidden_size"], **others}


def _qwen2_vl(text: dict[str, Any]) -> Any:
    import transformers as hf

    vision = {**VISION, "embed_dim": 32, "hidden_size": text["hidden_size"]}
    return hf.Qwen2VLConfig(text_config={**text, "rope_parameters": ROPE}, vision_config=vision, **TOKENS)


def _qwen2_5_vl(text: dict[str, Any]) -> Any:
    import transformers as hf

    vision = _vision(text, window_size=TILE, fullatt_block_indexes=[1])
    return hf.Qwen2_5_VLConfig(text_config={**text, "rope_parameters": ROPE}, vision_config=vision, **TOKENS)


def _qwen2_5_omni(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Qwen2_5OmniThinkerConfig(
        text_config={**text, "rope_parameters": ROPE},
        vision_config=_vision(text, window_size=TILE, fullatt_block_indexes=[1]),
        audio_config={
            "d_model": 32,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "num_mel_bins": 16,
            "output_dim": text["hidden_size"],
        },
        image_token_index=TOKENS["image_token_id"],
        video_token_index=TOKENS["video_token_id"],
        audio_token_index=SPECIALS.index("<audio>"),
        vision_start_token_id=TOKENS["vision_start_token_id"],
        vision_end_token_id=TOKENS["vision_end_token_id"],
    )


def _qwen2_5_omni_processor(parts: Parts) -> Any:
    import transformers as hf

    return parts.processor(
        "Qwen2_5OmniProcessor",
        image_processor=parts.images("Qwen2VL", patch_size=PATCH, size=PIXELS),
        video_processor=parts.videos("Qwen2VL", patch_size=PATCH),
        feature_extractor=hf.WhisperFeatureExtractor(feature_size=16),
    )


def _qwen3_vl(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Qwen3VLConfig(text_config=_qwen3_text(text), vision_config=_deepstack(text), **TOKENS)


def _qwen3_vl_moe(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Qwen3VLMoeConfig(text_config=_qwen3_text(text), vision_config=_deepstack(text), **TOKENS)


def _qwen3_text(text: dict[str, Any]) -> dict[str, Any]:
    return {**text, "head_dim": 16, "rope_parameters": INTERLEAVED}


def _deepstack(text: dict[str, Any]) -> dict[str, Any]:
    return _vision(text, depth=3, num_position_embeddings=64, deepstack_visual_indexes=[0, 1])


def _qwen3_5(text: dict[str, Any]) -> Any:
    import transformers as hf

    vision = _vision(text, num_position_embeddings=64)
    return hf.Qwen3_5Config(text_config=_hybrid(text), vision_config=vision, **TOKENS)


def _qwen3_5_moe(text: dict[str, Any]) -> Any:
    import transformers as hf

    vision = _vision(text, num_position_embeddings=64)
    return hf.Qwen3_5MoeConfig(text_config=_hybrid(text), vision_config=vision, **TOKENS)


def _hybrid(text: dict[str, Any]) -> dict[str, Any]:
    """Every second layer without attention."""
    return {
        **_qwen3_text(text),
        "rope_parameters": {**INTERLEAVED, "partial_rotary_factor": 1.0},
        "layer_types": ["linear_attention", "full_attention"] * (text["num_hidden_layers"] // 2),
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
    }


def _processor(kind: str, **images: Any) -> Callable[[Parts], Any]:
    def make(parts: Parts) -> Any:

        return parts.processor(
            kind,
            image_processor=parts.images("Qwen2VL", patch_size=PATCH, size=PIXELS, **images),
            video_processor=parts.videos("Qwen3VL" if kind == "Qwen3VLProcessor" else "Qwen2VL", patch_size=PATCH),
        )

    return make


FAMILIES = {
    "qwen2_vl": Family(_qwen2_vl, _processor("Qwen2VLProcessor"), mark=WRAPPED),
    "qwen2_5_vl": Family(_qwen2_5_vl, _processor("Qwen2_5_VLProcessor"), mark=WRAPPED),
    "qwen2_5_omni_thinker": Family(_qwen2_5_omni, _qwen2_5_omni_processor, mark=WRAPPED),
    "qwen3_vl": Family(_qwen3_vl, _processor("Qwen3VLProcessor"), mark=WRAPPED),
    "qwen3_vl_moe": Family(_qwen3_vl_moe, _processor("Qwen3VLProcessor"), text=EXPERTS, mark=WRAPPED),
    "qwen3_5": Family(_qwen3_5, _processor("Qwen3VLProcessor"), mark=WRAPPED),
    "qwen3_5_moe": Family(
        _qwen3_5_moe,
        _processor("Qwen3VLProcessor"),
        text={**EXPERTS, "shared_expert_intermediate_size": 32},
        mark=WRAPPED,
    ),
}
