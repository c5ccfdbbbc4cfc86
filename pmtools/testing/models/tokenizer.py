"""The tokenizer that all tiny models share."""

from __future__ import annotations

from typing import Any

SPECIALS = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "<video>", "<start>", "<end>", "<fake>", "<global>", "<tile>"]


def tiny_tokenizer() -> Any:
    """Byte-level tokenizer without merges, padding on the left.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        267 tokens: 11 special ones, `<image>` among them, then one per byte.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIALS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )
