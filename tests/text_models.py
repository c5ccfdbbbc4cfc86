"""Tiny text models whose layers do not all see the whole sequence: windows, chunks, recurrent layers."""

from functools import cache

import pytest
import torch
import transformers as hf

SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
INKLING = {
    "head_dim": 8,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2,
    "swa_head_dim": 8,
    "sliding_window_size": 6,
    "d_rel": 4,
    "rel_extent": 32,
    "n_routed_experts": 2,
    "n_shared_experts": 1,
    "num_experts_per_tok": 1,
}
WINDOWS = ["sliding_attention", "full_attention"] * 2
WINDOW = 6


def _config(name):
    own = {
        "llama4": ("Llama4Text", {**EXPERTS, "intermediate_size_mlp": 32, "head_dim": 8, "attention_chunk_size": 8}),
        "phimoe": ("Phimoe", {**EXPERTS, "sliding_window": WINDOW}),
        "mistral": ("Mistral", {"sliding_window": WINDOW}),
        "gemma3": ("Gemma3Text", {"head_dim": 8, "sliding_window": WINDOW, "layer_types": WINDOWS}),
        "gemma3n": (
            "Gemma3nText",
            {
                "head_dim": 8,
                "sliding_window": WINDOW,
                "layer_types": WINDOWS,
                "laurel_rank": 4,
                "vocab_size_per_layer_input": 100,
                "hidden_size_per_layer_input": 8,
                "num_kv_shared_layers": 1,
                "activation_sparsity_pattern": [0.0] * 4,
            },
        ),
        "qwen3_5": (
            "Qwen3_5Text",
            {
                "head_dim": 8,
                "layer_types": ["linear_attention", "full_attention"] * 2,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 2,
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
            },
        ),
        "gpt_oss": ("GptOss", {**EXPERTS, "head_dim": 8, "sliding_window": WINDOW, "layer_types": WINDOWS}),
        "inkling": ("InklingText", {**INKLING, "moe_intermediate_size": 16}),
        "inkling2": ("Inkling2Text", {**INKLING, "moe_intermediate_size": 16}),
        "deepseek_v32": (
            "DeepseekV32",
            {
                "num_key_value_heads": 4,
                "moe_intermediate_size": 16,
                "n_routed_experts": 2,
                "num_experts_per_tok": 1,
                "n_group": 1,
                "topk_group": 1,
                "kv_lora_rank": 8,
                "q_lora_rank": 16,
                "qk_rope_head_dim": 4,
                "qk_nope_head_dim": 8,
                "v_head_dim": 8,
                "index_n_heads": 2,
                "index_head_dim": 8,
                "index_topk": 4,
            },
        ),
        "deepseek_v4": (
            "DeepseekV4",
            {
                "num_key_value_heads": 1,
                "head_dim": 8,
                "q_lora_rank": 16,
                "moe_intermediate_size": 16,
                "n_routed_experts": 2,
                "num_experts_per_tok": 1,
                "o_groups": 2,
                "o_lora_rank": 8,
                "index_n_heads": 2,
                "index_head_dim": 8,
                "index_topk": 4,
                "sliding_window": WINDOW,
                "layer_types": ["sliding_attention", "heavily_compressed_attention"] * 2,
                "mlp_layer_types": ["moe"] * 4,
                "compress_rates": {"heavily_compressed_attention": 4, "compressed_sparse_attention": 4},
                "partial_rotary_factor": 0.5,
            },
        ),
        "modernbert_decoder": ("ModernBertDecoder", {"cls_token_id": 1, "sep_token_id": 2}),
        "lfm2": ("Lfm2", {"layer_types": ["conv", "full_attention"] * 2}),
        "jamba": (
            "Jamba",
            {
                "num_experts": 2,
                "num_experts_per_tok": 1,
                "attn_layer_period": 2,
                "attn_layer_offset": 1,
                "mamba_d_state": 4,
                "mamba_dt_rank": 4,
                "use_mamba_kernels": False,
            },
        ),
    }
    kind, options = own[name]
    if not hasattr(hf, f"{kind}Config"):
        pytest.skip(f"transformers {hf.__version__} has no {name}")
    return getattr(hf, f"{kind}Config")(**{**SMALL, **options}), getattr(hf, f"{kind.removesuffix('Text')}ForCausalLM")


SLIDING = ("llama4", "phimoe", "mistral", "gemma3", "gemma3n")
HYBRID = ("qwen3_5", "lfm2", "jamba")


@cache
def pair(name):
    """A model with attention far from uniform, and the same with eager attention."""
    config, kind = _config(name)
    torch.manual_seed(0)
    models = [kind(config).eval() for _ in range(2)]
    with torch.no_grad():
        for key, weight in models[0].named_parameters():
            if any(part in key for part in ("q_proj", "k_proj", "q_b_proj", "r_proj", "sink_proj", "Wqkv")):
                weight.mul_(8)  # attention far from uniform
    models[1].load_state_dict(models[0].state_dict())
    models[1].set_attn_implementation("eager")
    return models
