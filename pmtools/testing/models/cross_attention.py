"""Families whose text reads the image through separate layers: no image tokens among the words."""

from __future__ import annotations

from typing import Any

from pmtools.testing.models.family import COARSE, SQUARE, Family, Parts
from pmtools.testing.models.tokenizer import SPECIALS


def _mllama(text: dict[str, Any]) -> Any:
    import transformers as hf

    return hf.MllamaConfig(
        vision_config={
            **COARSE,
            "attention_heads": 2,
            "num_global_layers": 1,
            "vision_output_dim": 96,
            "intermediate_layers_indices": [0, 1],
            "max_num_tiles": 4,
            "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
        },
        text_config={
            **text,
            "cross_attention_layers": [1, 3],
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        image_token_index=SPECIALS.index("<image>"),
    )


def _mllama_parts(parts: Parts) -> dict[str, Any]:
    return {"image_processor": parts.images("Mllama", size=SQUARE, max_image_tiles=4)}


FAMILIES = {"mllama": Family(_mllama, "MllamaProcessor", _mllama_parts)}
