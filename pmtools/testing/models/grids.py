"""Families with one grid an image: of the image's own shape, or of a square around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pmtools.testing.models.family import COARSE, SQUARE, TILE, TILE_TOKENS, Family, Parts
from pmtools.testing.models.tokenizer import SPECIALS

IMAGE, VIDEO, START, END = (SPECIALS.index(token) for token in ("<image>", "<video>", "<start>", "<end>"))
PATCH = TILE // 4
PIXELS = {"shortest_edge": 4 * (2 * PATCH) ** 2, "longest_edge": 24 * (2 * PATCH) ** 2}  # 4 to 24 image tokens
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
GLM_TOKENS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "image_start_token_id": START,
    "image_end_token_id": END,
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

        text = {**text, "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}}
        return getattr(hf, f"{name}Config")(text_config=text, vision_config=_glm_vision(text), **GLM_TOKENS)

    return make


def _glm_processor(name: str) -> Callable[[Parts], Any]:
    def make(parts: Parts) -> Any:

        return parts.processor(
            f"{name}Processor",
            image_processor=parts.images(
                name, patch_size=PATCH, size={name: 2 * size for name, size in PIXELS.items()}
            ),
            video_processor=parts.videos(name, patch_size=PATCH),
        )

    return make


def _video_llama(text: dict[str, Any]) -> Any:
    import transformers as hf

    vision = {key: value for key, value in COARSE.items() if key != "image_size"}
    return hf.VideoLlama3Config(
        vision_config=hf.VideoLlama3VisionConfig(**vision),
        text_config=hf.Qwen2Config(**text),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )


def _video_llama_processor(parts: Parts) -> Any:

    return parts.processor(
        "VideoLlama3Processor",
        image_processor=parts.images(
            "VideoLlama3", patch_size=PATCH, size={"shortest_edge": 4 * PATCH**2, "longest_edge": 30 * PATCH**2}
        ),
        video_processor=parts.videos("VideoLlama3", patch_size=PATCH),
    )


def _paddle(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.PaddleOCRVLConfig(
        vision_config={**COARSE, "spatial_merge_size": 2},
        text_config={**text, "head_dim": 16, "rope_parameters": ROPE},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )


def _paddle_processor(parts: Parts) -> Any:

    return parts.processor(
        "PaddleOCRVLProcessor", image_processor=parts.images("PaddleOCRVL", patch_size=PATCH, size=PIXELS)
    )


def _ernie(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Ernie4_5_VLMoeConfig(
        vision_config={
            "depth": 2,
            "num_heads": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "patch_size": PATCH,
            "spatial_merge_size": 2,
        },
        text_config={
            **text,
            "rope_parameters": {**ROPE, "mrope_section": [3, 3, 2]},
            "moe_intermediate_size": [32, 32],
            "moe_k": 2,
            "moe_num_experts": 4,
            "moe_num_shared_experts": 1,
            "mlp_layer_types": ["dense", *["sparse"] * (text["num_hidden_layers"] - 1)],
        },
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        image_start_token_id=START,
        image_end_token_id=END,
        video_start_token_id=START,
        video_end_token_id=END,
    )


def _ernie_processor(parts: Parts) -> Any:

    return parts.processor(
        "Ernie4_5_VLMoeProcessor",
        image_processor=parts.images("Ernie4_5_VLMoe", patch_size=PATCH, size=PIXELS),
        video_processor=parts.videos("Ernie4_5_VLMoe", patch_size=PATCH),
    )


def _kimi(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Kimi_K25Config(
        vision_config={
            "patch_size": PATCH,
            "pos_emb_height": 8,
            "pos_emb_width": 8,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
        },
        text_config=hf.DeepseekV3Config(
            **text,
            moe_intermediate_size=32,
            n_routed_experts=4,
            n_shared_experts=1,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            first_k_dense_replace=1,
            kv_lora_rank=16,
            q_lora_rank=16,
            qk_rope_head_dim=8,
            qk_nope_head_dim=8,
            v_head_dim=16,
        ),
        projection_hidden_size=32,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )


def _kimi_processor(parts: Parts) -> Any:

    return parts.processor(
        "Kimi_K25Processor",
        image_processor=parts.images(
            "Kimi_K25", patch_size=PATCH, max_patches=96, size={"max_height": 2 * TILE, "max_width": 2 * TILE}
        ),
        video_processor=parts.videos("Kimi_K25", patch_size=PATCH),
    )


def _deepseek(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.DeepseekVLConfig(
        vision_config=hf.SiglipVisionConfig(**COARSE), text_config=hf.LlamaConfig(**text), image_token_id=IMAGE
    )


def _deepseek_processor(parts: Parts) -> Any:

    return parts.processor(
        "DeepseekVLProcessor",
        image_processor=parts.images("DeepseekVL", size=SQUARE, min_size=4),
        num_image_tokens=TILE_TOKENS,
    )


def _deepseek_hybrid(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.DeepseekVLHybridConfig(
        vision_config=hf.SiglipVisionConfig(**COARSE),
        high_res_vision_config=hf.SamVisionConfig(
            hidden_size=32,
            output_channels=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=2 * TILE,
            patch_size=TILE // 4,
            window_size=4,
            global_attn_indexes=[1],
            mlp_dim=64,
        ),
        text_config=hf.LlamaConfig(**text),
        image_token_id=IMAGE,
    )


def _deepseek_hybrid_processor(parts: Parts) -> Any:

    high = {"height": 2 * TILE, "width": 2 * TILE}
    return parts.processor(
        "DeepseekVLHybridProcessor",
        image_processor=parts.images("DeepseekVLHybrid", size=SQUARE, high_res_size=high, min_size=4),
        num_image_tokens=TILE_TOKENS,
    )


def _janus(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.JanusConfig(
        vision_config={
            **COARSE,
            "mlp_ratio": 2.0,
            "projection_dim": text["hidden_size"],
            "num_image_tokens": TILE_TOKENS,
        },
        vq_config={
            "embed_dim": 4,
            "num_embeddings": 16,
            "latent_channels": 32,
            "base_channels": 32,
            "channel_multiplier": [1],
            "num_res_blocks": 1,
            "num_patches": 4,
            "projection_dim": text["hidden_size"],
            "image_token_embed_dim": text["hidden_size"],
        },
        text_config=hf.LlamaConfig(**text),
        image_token_id=IMAGE,
    )


def _janus_processor(parts: Parts) -> Any:

    return parts.processor(
        "JanusProcessor",
        image_processor=parts.images("Janus", size=SQUARE, min_size=4),
        num_image_tokens=TILE_TOKENS,
    )


WRAPPED = "<start><image><end>"
EXPERTS = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
FAMILIES = {
    "glm4v": Family(_glm("Glm4v"), _glm_processor("Glm4v"), mark=WRAPPED),
    "glm4v_moe": Family(_glm("Glm4vMoe"), _glm_processor("Glm4v"), text=EXPERTS, mark=WRAPPED),
    "glm46v": Family(_glm("Glm46V"), _glm_processor("Glm46V"), mark=WRAPPED),
    "video_llama_3": Family(_video_llama, _video_llama_processor),
    "paddleocr_vl": Family(_paddle, _paddle_processor, mark=WRAPPED),
    "ernie4_5_vl_moe": Family(_ernie, _ernie_processor, mark=WRAPPED),
    "kimi_k25": Family(
        _kimi, _kimi_processor, text={"num_key_value_heads": 4}, backends=("torchvision",), mark=WRAPPED
    ),
    "deepseek_vl": Family(_deepseek, _deepseek_processor),
    "deepseek_vl_hybrid": Family(_deepseek_hybrid, _deepseek_hybrid_processor),
    "janus": Family(_janus, _janus_processor),
}
