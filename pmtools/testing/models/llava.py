"""LLaVA and its descendants: a vision tower of another family, a projector, a text model."""

from __future__ import annotations

from typing import Any

from pmtools.testing.models.family import COARSE, SQUARE, TILE, TILE_TOKENS, Family, Parts
from pmtools.testing.models.tokenizer import SPECIALS

PINPOINTS = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
IMAGE, VIDEO = SPECIALS.index("<image>"), SPECIALS.index("<video>")
PATCH = TILE // 4
PIXTRAL = {**COARSE, "image_size": 2 * TILE}  # the longest side


def _clip() -> Any:
    import transformers as hf

    return hf.CLIPVisionConfig(**{**COARSE, "num_hidden_layers": 3})


def _llava(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.LlavaConfig(vision_config=_clip(), text_config=hf.LlamaConfig(**text), image_token_index=IMAGE)


def _llava_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images("CLIP", size={"shortest_edge": TILE}, crop_size=SQUARE),
        "patch_size": PATCH,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    }


def _siglip(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.LlavaConfig(
        vision_config=hf.SiglipVisionConfig(**COARSE),
        text_config=hf.Qwen2Config(**text),
        image_token_index=IMAGE,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )


def _siglip_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images("Siglip", size=SQUARE),
        "patch_size": PATCH,
        "vision_feature_select_strategy": "full",
    }


def _pixtral(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.LlavaConfig(
        vision_config=hf.PixtralVisionConfig(**PIXTRAL),
        text_config=hf.MistralConfig(**text, sliding_window=None),
        image_token_index=IMAGE,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )


def _pixtral_parts(parts: Parts, merge: int = 1) -> dict[str, Any]:
    return {
        "image_processor": parts.images("Pixtral", size={"longest_edge": 2 * TILE}, patch_size=PATCH // merge),
        "patch_size": PATCH // merge,
        "spatial_merge_size": merge,
        "image_token": "<image>",
        "image_break_token": "<break>",
        "image_end_token": "<end>",
    }


def _mistral3(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Mistral3Config(
        vision_config=hf.PixtralVisionConfig(**{**PIXTRAL, "patch_size": PATCH // 2}),
        text_config=hf.MistralConfig(**text, sliding_window=None),
        image_token_index=IMAGE,
        spatial_merge_size=2,
    )


def _lighton(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.LightOnOcrConfig(
        vision_config={**PIXTRAL, "patch_size": PATCH // 2, "model_type": "pixtral"},
        text_config={**text, "head_dim": 16, "model_type": "qwen3"},
        image_token_id=IMAGE,
    )


def _lighton_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images("Pixtral", size={"longest_edge": 2 * TILE}, patch_size=PATCH),
        "patch_size": PATCH // 2,
        "spatial_merge_size": 2,
    }


def _vipllava(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.VipLlavaConfig(
        vision_config=_clip(),
        text_config=hf.LlamaConfig(**text),
        image_token_index=IMAGE,
        vision_feature_layers=[-1, -2, 1],
    )


def _llava_next(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.LlavaNextConfig(
        vision_config=_clip(),
        text_config=hf.LlamaConfig(**text),
        image_token_index=IMAGE,
        image_grid_pinpoints=PINPOINTS,
    )


def _llava_next_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images(
            "LlavaNext", size={"shortest_edge": TILE}, crop_size=SQUARE, image_grid_pinpoints=PINPOINTS
        ),
        "patch_size": PATCH,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    }


def _onevision(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**COARSE),
        text_config=hf.Qwen2Config(**text),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_2",
    )


def _onevision_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images("LlavaOnevision", size=SQUARE, image_grid_pinpoints=PINPOINTS),
        "video_processor": parts.videos("LlavaOnevision", size=SQUARE),
        "num_image_tokens": TILE_TOKENS,
        "vision_feature_select_strategy": "full",
        "vision_aspect_ratio": "anyres_max_2",
    }


FAMILIES = {
    "llava": Family(_llava, "LlavaProcessor", _llava_parts),
    "llava_siglip": Family(_siglip, "LlavaProcessor", _siglip_parts),
    "llava_pixtral": Family(_pixtral, "PixtralProcessor", _pixtral_parts),
    "mistral3": Family(_mistral3, "PixtralProcessor", lambda parts: _pixtral_parts(parts, merge=2)),
    "lighton_ocr": Family(_lighton, "LightOnOcrProcessor", _lighton_parts),
    "vipllava": Family(_vipllava, "LlavaProcessor", _llava_parts),
    "llava_next": Family(_llava_next, "LlavaNextProcessor", _llava_next_parts),
    "llava_onevision": Family(_onevision, "LlavaOnevisionProcessor", _onevision_parts),
}
