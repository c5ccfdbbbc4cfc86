"""Google's: Gemma 3, 3n and 4, PaliGemma."""

from __future__ import annotations

from typing import Any

from pmtools.testing.models.family import COARSE, FINE, SQUARE, TILE, TILE_TOKENS, Family, Parts
from pmtools.testing.models.tokenizer import SPECIALS

IMAGE, START, END = (SPECIALS.index(token) for token in ("<image>", "<start>", "<end>"))
SOFT = SPECIALS.index("<patch>")  # Gemma 3 writes one token for an image and reads others
SLIDING = ["sliding_attention", "full_attention"] * 2


def _gemma3(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(**FINE),
        text_config=hf.Gemma3TextConfig(
            **{"head_dim": 16, "sliding_window": 64, "query_pre_attn_scalar": 16, **text}, layer_types=SLIDING
        ),
        image_token_index=SOFT,
        mm_tokens_per_image=TILE_TOKENS,
        boi_token_index=IMAGE,
        eoi_token_index=END,
    )


def _gemma3_parts(parts: Parts) -> dict[str, Any]:
    return {"image_processor": parts.images("Gemma3", size=SQUARE), "image_seq_length": TILE_TOKENS}


def _paligemma(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(**COARSE, projection_dim=text["hidden_size"]),
        text_config=hf.GemmaConfig(**{"head_dim": 16, **text}),
        image_token_index=IMAGE,
        projection_dim=text["hidden_size"],
    )


def _paligemma_parts(parts: Parts) -> dict[str, Any]:
    images = parts.images("Siglip", size=SQUARE)
    images.image_seq_length = TILE_TOKENS
    return {"image_processor": images}


def _gemma3n(text: dict[str, Any]) -> Any:
    import transformers as hf

    words = text["vocab_size"]
    return hf.Gemma3nConfig(
        vision_config=hf.Gemma3nVisionConfig(
            hidden_size=2048,  # fixed in timm
            vocab_size=8,
            vocab_offset=words,
            model_args={"channel_multiplier": 0.0625, "msfa_output_resolution": 4},
        ),
        audio_config={
            "hidden_size": 16,
            "input_feat_size": 16,
            "conf_num_attention_heads": 2,
            "conf_num_hidden_layers": 1,
            "vocab_size": 8,
            "vocab_offset": words + 8,
        },
        text_config=hf.Gemma3nTextConfig(
            **text,
            head_dim=16,
            sliding_window=64,
            layer_types=SLIDING,
            num_kv_shared_layers=0,
            vocab_size_per_layer_input=words,
            hidden_size_per_layer_input=16,
            laurel_rank=8,
            activation_sparsity_pattern=[0.0] * text["num_hidden_layers"],
        ),
        vision_soft_tokens_per_image=TILE_TOKENS,
        image_token_id=IMAGE,
        boi_token_id=START,
        eoi_token_id=END,
        audio_token_id=SPECIALS.index("<audio>"),
    )


def _gemma3n_parts(parts: Parts) -> dict[str, Any]:
    import transformers as hf

    return {
        "feature_extractor": hf.Gemma3nAudioFeatureExtractor(feature_size=16),
        "image_processor": parts.images("Siglip", size={"height": 128, "width": 128}),
        "image_seq_length": TILE_TOKENS,
    }


def _gemma4(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.Gemma4Config(
        vision_config=hf.Gemma4VisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
            pooling_kernel_size=2,
            patch_size=TILE // 4,
            position_embedding_size=64,
        ),
        text_config=hf.Gemma4TextConfig(
            **text,
            head_dim=16,
            sliding_window=64,
            layer_types=SLIDING,
            vocab_size_per_layer_input=text["vocab_size"],
            hidden_size_per_layer_input=16,
        ),
        audio_config=None,
        image_token_id=IMAGE,
        boi_token_id=START,
        eoi_token_id=END,
        video_token_id=SPECIALS.index("<|video|>"),
        audio_token_id=SPECIALS.index("<audio>"),
    )


def _gemma4_parts(parts: Parts) -> dict[str, Any]:
    import transformers as hf

    return {
        "feature_extractor": hf.Gemma4AudioFeatureExtractor(),
        "image_processor": parts.images("Gemma4", patch_size=TILE // 4, max_soft_tokens=70, pooling_kernel_size=2),
        "video_processor": parts.videos("Gemma4", patch_size=TILE // 4, max_soft_tokens=70, pooling_kernel_size=2),
        "image_seq_length": 70,
    }


FAMILIES = {
    "gemma3": Family(
        _gemma3, "Gemma3Processor", _gemma3_parts, names={"image_token": "<patch>", "boi_token": "<image>"}
    ),
    "gemma3n": Family(_gemma3n, "Gemma3nProcessor", _gemma3n_parts, packages=("timm",)),
    "gemma4": Family(_gemma4, "Gemma4Processor", _gemma4_parts),
    "paligemma": Family(_paligemma, "PaliGemmaProcessor", _paligemma_parts),
}
