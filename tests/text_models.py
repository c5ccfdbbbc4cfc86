"""Tiny text models whose layers do not all see the whole sequence: windows, chunks, recurrent layers."""

from functools import cache

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
    return getattr(hf, f"{kind}Config")(**SMALL, **options), getattr(hf, f"{kind.removesuffix('Text')}ForCausalLM")


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
            if "q_proj" in key or "k_proj" in key:
                weight.mul_(8)  # attention far from uniform
    models[1].load_state_dict(models[0].state_dict())
    models[1].set_attn_implementation("eager")
    return models
