"""Tiny random vision-language models and processors of every supported family; nothing is downloaded.

For tests of code that works on transformers models. The weights are random, so answers mean nothing; the shapes,
caches, masks, positions and image-token orders are those of the real families.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pmtools import _checks

#: Families that `tiny_model` and `tiny_processor` build, by their `config.model_type`.
FAMILIES = (
    "llava",
    "llava_next",
    "llava_onevision",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl",
    "idefics3",
    "smolvlm",
    "gemma3",
    "paligemma",
)
TILE, TILE_TOKENS = 56, 16  # pixels a side of one vision input, and its image tokens
PINPOINTS = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
_SPECIALS = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "<video>", "<start>", "<end>", "<fake>", "<global>", "<tile>"]
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


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
    vocabulary = {token: index for index, token in enumerate([*_SPECIALS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIALS])
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


def tiny_model(family: str = "llava", *, seed: int = 0, attn_implementation: str = "sdpa", **text: Any) -> Any:
    """A random model of one family: four text layers of width 64, four heads in two key-value groups.

    Query and key weights are enlarged, so that attention is far from uniform, and the output layer, so that
    logits differ by more than rounding.

    Parameters
    ----------
    family : str, optional
        One of `FAMILIES`.
    seed : int, optional
        Of the weights.
    attn_implementation : str, optional
        "sdpa" or "eager".
    **text
        Overrides of the text model's configuration: `num_key_value_heads=4` for plain multi-head attention.

    Returns
    -------
    transformers.PreTrainedModel
        In evaluation mode, float32, on the CPU.

    Raises
    ------
    ValueError
        If the family is not one of `FAMILIES`.

    Examples
    --------
    >>> model = tiny_model("qwen2_vl")
    >>> processor = tiny_processor(model)
    """
    import torch
    import transformers

    _checks.choice(family, "family", FAMILIES)
    special = _SPECIALS.index
    shape = {
        "vocab_size": len(_SPECIALS) + 256,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "pad_token_id": special("<pad>"),
        "bos_token_id": special("<s>"),
        "eos_token_id": special("</s>"),
        **text,
    }
    config = _configuration(family, shape)
    config.tie_word_embeddings = False
    config._attn_implementation = attn_implementation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForImageTextToText.from_config(config, attn_implementation=attn_implementation)
        _sharpen(model)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(model.generation_config, name, shape[name])
    return model.eval()


def _sharpen(model: Any) -> None:
    import torch

    with torch.no_grad():
        for name, weight in model.get_decoder().named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                weight.mul_(6.0)
        for name, weight in model.named_parameters():
            if name.endswith("mm_input_projection_weight"):  # Gemma 3 starts it at zero: blind
                weight.normal_(std=0.1)
            if "newline" not in name and weight.ndim > 1 and ("project" in name or "merger" in name):
                weight.mul_(4.0)  # image features as large as word embeddings
        model.get_output_embeddings().weight.mul_(10.0)


def _configuration(family: str, text: dict[str, Any]) -> Any:
    import transformers as hf

    special = _SPECIALS.index
    image, video = special("<image>"), special("<video>")
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": TILE,
    }
    coarse, fine = {**vision, "patch_size": TILE // 4}, {**vision, "patch_size": TILE // 8}
    if family == "llava":
        return hf.LlavaConfig(
            vision_config=hf.CLIPVisionConfig(**{**coarse, "num_hidden_layers": 3}),
            text_config=hf.LlamaConfig(**text),
            image_token_index=image,
        )
    if family == "llava_next":
        return hf.LlavaNextConfig(
            vision_config=hf.CLIPVisionConfig(**{**coarse, "num_hidden_layers": 3}),
            text_config=hf.LlamaConfig(**text),
            image_token_index=image,
            image_grid_pinpoints=PINPOINTS,
        )
    if family == "llava_onevision":
        return hf.LlavaOnevisionConfig(
            vision_config=hf.SiglipVisionConfig(**coarse),
            text_config=hf.Qwen2Config(**text),
            image_token_index=image,
            video_token_index=video,
            image_grid_pinpoints=PINPOINTS,
            vision_aspect_ratio="anyres_max_2",
        )
    if family.startswith("qwen"):
        return _qwen_configuration(family, text)
    if family == "internvl":
        return hf.InternVLConfig(
            vision_config=hf.InternVLVisionConfig(**fine),
            text_config=hf.Qwen2Config(**text),
            image_token_id=image,
            image_seq_length=16,
            downsample_ratio=0.5,
        )
    if family in ("idefics3", "smolvlm"):
        kind = hf.Idefics3Config if family == "idefics3" else hf.SmolVLMConfig
        return kind(
            vision_config={**fine, "model_type": f"{family}_vision"},
            text_config=hf.LlamaConfig(**text),
            image_token_id=image,
            scale_factor=2,
        )
    if family == "gemma3":
        return hf.Gemma3Config(
            vision_config=hf.SiglipVisionConfig(**fine),
            text_config=hf.Gemma3TextConfig(
                **{"head_dim": 16, "sliding_window": 64, "query_pre_attn_scalar": 16, **text},
                layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            ),
            image_token_index=image,
            mm_tokens_per_image=16,
            boi_token_index=special("<start>"),
            eoi_token_index=special("<end>"),
        )
    return hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(**coarse, projection_dim=text["hidden_size"]),
        text_config=hf.GemmaConfig(**{"head_dim": 16, **text}),
        image_token_index=image,
        projection_dim=text["hidden_size"],
    )


def _qwen_configuration(family: str, text: dict[str, Any]) -> Any:
    import transformers as hf

    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    tokens = dict(
        zip(
            ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"),
            range(4, 8),
            strict=True,
        )
    )
    vision = {"depth": 2, "num_heads": 2, "patch_size": TILE // 4, "spatial_merge_size": 2}
    if family == "qwen2_vl":
        return hf.Qwen2VLConfig(
            text_config={**text, "rope_parameters": rope},
            vision_config={**vision, "embed_dim": 32, "hidden_size": text["hidden_size"]},
            **tokens,
        )
    vision = {**vision, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": text["hidden_size"]}
    if family == "qwen2_5_vl":
        return hf.Qwen2_5_VLConfig(
            text_config={**text, "rope_parameters": rope},
            vision_config={**vision, "window_size": TILE, "fullatt_block_indexes": [1]},
            **tokens,
        )
    return hf.Qwen3VLConfig(
        text_config={**text, "head_dim": 16, "rope_parameters": {**rope, "mrope_interleaved": True}},
        vision_config={**vision, "depth": 3, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]},
        **tokens,
    )


def tiny_processor(model: Any) -> Any:
    """A processor for a model of `tiny_model`: transformers' `LlavaProcessor`, or a `TinyProcessor`.

    The own processors of several families cannot be built without torchvision; their image processors can, and they
    decide the pixels.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        From `tiny_model`.

    Returns
    -------
    object with `image_processor`, `tokenizer` and a call
        `processor(images=..., text=..., return_tensors="pt")`.
    """
    import transformers as hf

    family = model.config.model_type
    if family == "llava":
        return hf.LlavaProcessor(
            image_processor=_image_processor(family),
            tokenizer=tiny_tokenizer(),
            patch_size=TILE // 4,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=_CHAT_TEMPLATE,
        )
    return TinyProcessor(model, _image_processor(family), tiny_tokenizer())


def _image_processor(family: str) -> Any:
    import transformers as hf

    square = {"height": TILE, "width": TILE}
    if family in ("llava", "llava_next"):
        size = {"size": {"shortest_edge": TILE}, "crop_size": square}
        if family == "llava":
            return hf.CLIPImageProcessorPil(**size)
        return hf.LlavaNextImageProcessorPil(**size, image_grid_pinpoints=PINPOINTS)
    if family == "llava_onevision":
        return hf.LlavaOnevisionImageProcessorPil(size=square, image_grid_pinpoints=PINPOINTS)
    if family.startswith("qwen"):
        side = TILE // 2  # of one image token, in pixels
        return hf.Qwen2VLImageProcessorPil(
            patch_size=TILE // 4, size={"shortest_edge": 4 * side**2, "longest_edge": 24 * side**2}
        )
    if family == "internvl":
        return hf.GotOcr2ImageProcessorPil(size=square, crop_to_patches=True, max_patches=4)
    if family in ("idefics3", "smolvlm"):
        kind = hf.Idefics3ImageProcessorPil if family == "idefics3" else hf.SmolVLMImageProcessorPil
        return kind(size={"longest_edge": 2 * TILE}, max_image_size={"longest_edge": TILE})
    if family == "gemma3":
        return hf.Gemma3ImageProcessorPil(size=square)
    return hf.SiglipImageProcessorPil(size=square)


class TinyProcessor:
    """Image processor and tokenizer as one; `<image>` in a text becomes as many image tokens as the model makes.

    How many, it learns from the model's own vision tower, so it owes nothing to the code under test.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        From `tiny_model`.
    image_processor, tokenizer
        The family's.
    """

    image_token = "<image>"
    chat_template = _CHAT_TEMPLATE

    def __init__(self, model: Any, image_processor: Any, tokenizer: Any) -> None:
        self.model, self.image_processor, self.tokenizer = model, image_processor, tokenizer
        self.family = model.config.model_type
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)

    def __call__(self, images: Any = None, text: Any = None, return_tensors: str = "pt", **_: Any) -> Any:
        """Token ids, mask and pixels of a prompt or a list of prompts; images in prompt order, nested or flat."""
        from transformers import BatchFeature

        texts = [text] if isinstance(text, str) else list(text)
        pixels: dict[str, Any] = {}
        if images is not None:
            flat = _flatten(images)
            per_text = [item.count(self.image_token) for item in texts]
            if sum(per_text) != len(flat):
                raise ValueError(f"`text` has {sum(per_text)} {self.image_token}, `images` has {len(flat)} images")
            nested = _nested(flat, per_text)
            pixels = self._pixels(nested)
            runs = iter([self._placeholders(image, len(row)) for row in nested for image in row])
            texts = ["".join(_interleave(item.split(self.image_token), runs)) for item in texts]
        encoded = self.tokenizer(texts, return_tensors=return_tensors, padding=True)
        image_tokens = encoded["input_ids"] == self.image_token_id
        types: dict[str, Any] = {}
        if self.family.startswith("qwen"):
            types = {"mm_token_type_ids": image_tokens.int()}
        elif self.family in ("gemma3", "paligemma"):
            types = {"token_type_ids": image_tokens.long() * (self.family == "gemma3")}
        return BatchFeature({**encoded, **types, **pixels})

    def _pixels(self, nested: Sequence[Sequence[Any]]) -> dict[str, Any]:
        out = self.image_processor(images=[list(row) for row in nested], return_tensors="pt")
        return {name: value for name, value in out.items() if name not in ("num_patches", "num_crops")}

    def _placeholders(self, image: Any, images: int) -> str:
        """The text that one of several images of a prompt becomes."""
        import torch

        with torch.no_grad():
            pixels = self._pixels([[image] * images])
            features = self.model.get_image_features(**pixels, return_dict=True).pooler_output
        count = sum(item.shape[0] for item in features) // images
        if self.family in ("idefics3", "smolvlm"):
            tile = self.image_token * TILE_TOKENS
            tiles = [f"<fake><tile>{tile}"] * (count // TILE_TOKENS - 1)
            return "\n".join([*tiles, f"<fake><global>{tile}<fake>"])
        run = self.image_token * count
        return run if self.family in ("llava_next", "llava_onevision", "paligemma") else f"<start>{run}<end>"

    def apply_chat_template(self, conversation: Any, *, add_generation_prompt: bool = False, **_: Any) -> str:
        """The conversation as text."""
        text = self.tokenizer.apply_chat_template(
            conversation, chat_template=_CHAT_TEMPLATE, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return str(text)

    def batch_decode(self, *arguments: Any, **options: Any) -> Any:
        """Token ids to text: the tokenizer's."""
        return self.tokenizer.batch_decode(*arguments, **options)


def _flatten(images: Any) -> list[Any]:
    if not isinstance(images, list | tuple):
        return [images]
    return [image for item in images for image in _flatten(item)]


def _nested(flat: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    items = iter(flat)
    return [[next(items) for _ in range(count)] for count in counts]


def _interleave(parts: list[str], runs: Any) -> list[str]:
    out = [parts[0]]
    for part in parts[1:]:
        out += [next(runs), part]
    return out
