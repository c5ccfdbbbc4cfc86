"""The tokenizer that all tiny models share."""

from __future__ import annotations

from typing import Any

#: Names of tokens that processors need, and the tokens here.
NAMED = {
    "image_token": "<image>",
    "video_token": "<video>",
    "audio_token": "<audio>",
    "start_image_token": "<start>",
    "end_image_token": "<end>",
    "image_start_token": "<start>",
    "image_end_token": "<end>",
    "video_start_token": "<start>",
    "video_end_token": "<end>",
    "vision_start_token": "<start>",
    "vision_end_token": "<end>",
    "vision_bos_token": "<start>",
    "vision_eos_token": "<end>",
    "boi_token": "<start>",
    "eoi_token": "<end>",
    "audio_bos_token": "<start>",
    "audio_eos_token": "<end>",
    "boa_token": "<start>",
    "eoa_token": "<end>",
    "context_image_token": "<image>",
    "img_line_break_token": "<break>",
    "image_break_token": "<break>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}
SPECIALS = [
    *("<unk>", "<s>", "</s>", "<pad>", "<image>", "<video>", "<audio>", "<start>", "<end>", "<break>", "<patch>"),
    *("<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),  # Idefics, SmolVLM
    *("<|IMG_PATCH|>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_LINE_BREAK|>", "TILE", "TILE_GLOBAL"),  # Aya
    *("<|image|>", "<|image_start|>", "<|image_end|>", "<|patch|>", "<|tile_x_separator|>", "<|tile_y_separator|>"),
    *("<IMG_START>", "<IMG_END>", "<IMG_ATOM>", "<IMG_GRID>", "<IMG_ROW>", "<IMG_COL>"),  # Ovis 2
    *("<|begin_of_video|>", "<|end_of_video|>", "<|video|>", "<|img_thumbnail|>", "<|python_tag|>"),
    *("<slice>", "</slice>", "<image_id>", "</image_id>"),  # MiniCPM-V
]
VOCABULARY = len(SPECIALS) + 256


def tiny_tokenizer(**named: str) -> Any:
    """Byte-level tokenizer without merges, padding on the left.

    Parameters
    ----------
    **named
        Other tokens for some of the names that processors ask their tokenizers for, as `boi_token`.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        Special tokens, `<image>` among them, then one token per byte.
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
        extra_special_tokens={**NAMED, **named},
    )
