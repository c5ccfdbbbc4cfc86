"""Families that cut an image into tiles, one vision input each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pmtools.testing.models.family import COARSE, FINE, SQUARE, TILE, TILE_TOKENS, Family, Parts
from pmtools.testing.models.tokenizer import SPECIALS

IMAGE, VIDEO = SPECIALS.index("<image>"), SPECIALS.index("<video>")
TORCHVISION = ("torchvision",)


def _internvl(kind: str) -> Callable[[dict[str, Any]], Any]:
    def make(text: dict[str, Any]) -> Any:
        import transformers as hf

        return hf.InternVLConfig(
            vision_config=hf.InternVLVisionConfig(**FINE),
            text_config=getattr(hf, kind)(**text),
            image_token_id=IMAGE,
            image_seq_length=TILE_TOKENS,
            downsample_ratio=0.5,
        )

    return make


def _internvl_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images("GotOcr2", size=SQUARE, crop_to_patches=True, max_patches=4),
        "video_processor": parts.videos("InternVL", size=SQUARE),
        "image_seq_length": TILE_TOKENS,
    }


def _qianfan(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.QianfanOCRConfig(
        vision_config={**FINE, "image_size": (TILE, TILE), "patch_size": (TILE // 8, TILE // 8)},
        text_config={**text, "head_dim": 16, "model_type": "qwen3"},
        image_token_id=SPECIALS.index("<patch>"),
        image_seq_length=TILE_TOKENS,
    )


def _qianfan_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images("GotOcr2", size=SQUARE, crop_to_patches=True, max_patches=4),
        "image_seq_length": TILE_TOKENS,
    }


def _minicpm(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.MiniCPMV4_6Config(
        vision_config={**FINE, "image_size": 2 * TILE, "insert_layer_id": 0},
        text_config={**text, "head_dim": 16, "model_type": "qwen3"},
        insert_layer_id=0,
        image_size=2 * TILE,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )


def _minicpm_parts(parts: Parts) -> dict[str, Any]:
    sizes = {"patch_size": TILE // 8, "scale_resolution": 2 * TILE, "max_slice_nums": 4}
    return {
        "image_processor": parts.images("MiniCPMV4_6", **sizes),
        "video_processor": parts.videos("MiniCPMV4_6", required=True, **sizes),
    }


def _idefics3(name: str) -> Callable[[dict[str, Any]], Any]:
    def make(text: dict[str, Any]) -> Any:
        import transformers as hf

        return getattr(hf, f"{name}Config")(
            vision_config={**FINE, "model_type": f"{name.lower()}_vision"},
            text_config=hf.LlamaConfig(**text),
            image_token_id=IMAGE,
            scale_factor=2,
        )

    return make


def _idefics3_images(parts: Parts, name: str) -> Any:
    return parts.images(name, size={"longest_edge": 2 * TILE}, max_image_size={"longest_edge": TILE})


def _idefics3_parts(parts: Parts) -> dict[str, Any]:
    images = _idefics3_images(parts, "Idefics3")
    return {"image_processor": images, "image_seq_len": TILE_TOKENS}


def _smolvlm_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": _idefics3_images(parts, "SmolVLM"),
        "video_processor": parts.videos("SmolVLM", size={"longest_edge": TILE}, max_image_size={"longest_edge": TILE}),
        "image_seq_len": TILE_TOKENS,
    }


def _aya(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.AyaVisionConfig(
        vision_config=hf.SiglipVisionConfig(**FINE, vision_use_head=False),
        text_config=hf.Cohere2Config(**{**text, "head_dim": 16, "sliding_window": 4096}),
        image_token_index=SPECIALS.index("<|IMG_PATCH|>"),
        downsample_factor=2,
    )


def _aya_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images("GotOcr2", size=SQUARE, crop_to_patches=True, max_patches=4),
        "patch_size": FINE["patch_size"],
        "img_size": TILE,
        "downsample_factor": 2,
    }


def _cohere2(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Cohere2VisionConfig(
        vision_config=hf.SiglipVisionConfig(**FINE, vision_use_head=False),
        text_config=hf.Cohere2Config(**{**text, "head_dim": 16, "sliding_window": 4096}),
        image_token_id=IMAGE,
        downsample_factor=2,
        alignment_intermediate_size=64,
    )


def _cohere2_parts(parts: Parts) -> dict[str, Any]:
    return {"image_processor": parts.images("Cohere2Vision", size=SQUARE, max_patches=4, patch_size=4)}


def _llama4(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Llama4Config(
        vision_config=hf.Llama4VisionConfig(
            **{**FINE, "intermediate_size": 128, "vision_output_dim": 64},
            projector_input_dim=64,
            projector_output_dim=64,
            pixel_shuffle_ratio=0.5,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        ),
        text_config=hf.Llama4TextConfig(
            **text, head_dim=16, intermediate_size_mlp=96, num_local_experts=2, attention_chunk_size=4096
        ),
        image_token_index=SPECIALS.index("<|patch|>"),
        boi_token_index=SPECIALS.index("<|image_start|>"),
        eoi_token_index=SPECIALS.index("<|image_end|>"),
    )


def _llama4_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images("Llama4", size=SQUARE, max_patches=4),
        "patch_size": FINE["patch_size"],
        "pixel_shuffle_ratio": 0.5,
        "image_token": "<image>",
        "fake_image_token": "<image>",
    }


def _ovis2(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Ovis2Config(
        vision_config=hf.Ovis2VisionConfig(**{**FINE, "vocab_size": 128, "hidden_stride": 2}),
        text_config=hf.Qwen2Config(**text),
        image_token_id=SPECIALS.index("<IMG_ATOM>"),
        visual_indicator_token_ids=[SPECIALS.index(f"<IMG_{name}>") for name in ("START", "END", "GRID", "ROW", "COL")],
        vocab_size=text["vocab_size"],
        hidden_size=text["hidden_size"],
    )


def _ovis2_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images("Ovis2", size=SQUARE, max_patches=4, crop_to_patches=True),
        "image_seq_length": TILE_TOKENS,
    }


def _lfm2(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Lfm2VlConfig(
        vision_config=hf.Siglip2VisionConfig(**{**COARSE, "num_patches": 64}, vision_use_head=False),
        text_config=hf.Lfm2Config(**text, layer_types=["conv", "full_attention"] * 2, block_multiple_of=32),
        image_token_id=IMAGE,
        downsample_factor=2,
        projector_hidden_size=64,
    )


def _lfm2_parts(parts: Parts) -> dict[str, Any]:
    return {
        "image_processor": parts.images(
            "Lfm2Vl",
            tile_size=2 * TILE,
            encoder_patch_size=TILE // 4,
            max_image_tokens=16,
            min_image_tokens=4,
            max_tiles=4,
            max_pixels_tolerance=1.0,
        )
    }


def _perception_lm(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.PerceptionLMConfig(
        vision_config={
            "architecture": "vit_pe_core_large_patch14_336",
            "model_type": "timm_wrapper",
            "model_args": {
                "embed_dim": 32,
                "depth": 2,
                "num_heads": 2,
                "img_size": [TILE, TILE],
                "patch_size": [TILE // 8] * 2,
                "ref_feat_shape": [8, 8],
                "global_pool": "",
                "use_post_transformer_norm": False,
                "init_values": 0.1,
                "no_embed_class": True,
            },
            "num_classes": 0,
            "hidden_size": 32,
        },
        text_config=hf.LlamaConfig(**text),
        vision_use_cls_token=True,
        projector_pooling_ratio=2,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )


def _perception_lm_parts(parts: Parts) -> dict[str, Any]:
    return {
        "video_processor": parts.videos("PerceptionLM", size=SQUARE),
        "image_processor": parts.images("PerceptionLM", tile_size=TILE, max_num_tiles=4, size=SQUARE),
        "patch_size": TILE // 8,
        "pooling_ratio": 2,
    }


FAMILIES = {
    "internvl": Family(_internvl("Qwen2Config"), "InternVLProcessor", _internvl_parts),
    "internvl_qwen3_moe": Family(
        _internvl("Qwen3MoeConfig"),
        "InternVLProcessor",
        _internvl_parts,
        text={"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    ),
    "qianfan_ocr": Family(_qianfan, "QianfanOCRProcessor", _qianfan_parts, names={"context_image_token": "<patch>"}),
    "minicpmv4_6": Family(_minicpm, "MiniCPMV4_6Processor", _minicpm_parts, packages=("torchvision",)),
    "idefics3": Family(_idefics3("Idefics3"), "Idefics3Processor", _idefics3_parts),
    "smolvlm": Family(_idefics3("SmolVLM"), "SmolVLMProcessor", _smolvlm_parts, packages=("num2words",)),
    "aya_vision": Family(_aya, "AyaVisionProcessor", _aya_parts),
    "cohere2_vision": Family(_cohere2, "Cohere2VisionProcessor", _cohere2_parts, backends=TORCHVISION),
    "llama4": Family(_llama4, "Llama4Processor", _llama4_parts, backends=TORCHVISION),
    "ovis2": Family(_ovis2, "Ovis2Processor", _ovis2_parts),
    "lfm2_vl": Family(_lfm2, "Lfm2VlProcessor", _lfm2_parts, backends=TORCHVISION),
    "perception_lm": Family(
        _perception_lm, "PerceptionLMProcessor", _perception_lm_parts, backends=TORCHVISION, packages=("timm",)
    ),
}
