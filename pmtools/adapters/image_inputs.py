"""The inputs that carry images into a forward pass: pixels and their geometry, or features that were encoded beforehand.

This file knows nothing about layouts or caches.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def input_device(model: Any, /) -> torch.device:
    """Where a model's inputs belong: on its device, or where accelerate runs a model whose weights wait elsewhere.

    Then `model.device` is "meta", and tensors that are moved there are lost.
    """
    import torch

    embeddings = None
    with contextlib.suppress(NotImplementedError):  # CLIP has none
        embeddings = model.get_input_embeddings()
    for module in (model, embeddings):
        if (hook := getattr(module, "_hf_hook", None)) is not None:
            for single in getattr(hook, "hooks", (hook,)):
                if (place := getattr(single, "execution_device", None)) is not None:
                    return torch.device(place)
    return torch.device(model.device)


def image_encoder(model: Any, /) -> Callable[..., Any] | None:
    """The vision side of a model: its own `get_image_features`, or the inner model's; None if it has neither."""
    found: Callable[..., Any] | None = getattr(model, "get_image_features", None)
    return getattr(getattr(model, "model", None), "get_image_features", None) if found is None else found


def image_inputs(model: Any, keywords: dict[str, Any], /) -> dict[str, Any]:
    """The model inputs that carry images: pixels and their geometry, or features encoded beforehand.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    keywords : dict
        Keyword arguments of a forward pass.

    Returns
    -------
    dict
    """
    encode = image_encoder(model)
    names = {*(inspect.signature(encode).parameters if encode else ()), "mm_encoder_outputs", "batch_num_images"}
    found = {name: value for name, value in keywords.items() if name in names or name.startswith("pixel_")}
    if not found.get("mm_encoder_outputs"):  # a dictionary, empty where there are no images
        found.pop("mm_encoder_outputs", None)
    return {name: value for name, value in found.items() if value is not None}


def encoded_images(model: Any, pixels: dict[str, Any], /) -> dict[str, Any]:
    """Pixels as features, where the model takes features, so that several passes share one run of the vision tower.

    transformers before about 5.20 does not; then the pixels are returned.
    """
    encode = image_encoder(model)
    if "mm_encoder_outputs" in pixels or encode is None or not takes_features(model):
        return pixels
    return {"mm_encoder_outputs": {"image": encode(**pixels, return_dict=True)}}


def takes_features(model: Any, /) -> bool:
    """Whether the model's forward pass takes image features that were encoded beforehand."""
    return "mm_encoder_outputs" in inspect.signature(model.forward).parameters


def uncached_images(model: Any, image: dict[str, Any], is_image: torch.Tensor, cached: int, /) -> dict[str, Any]:
    """The image inputs of a pass that goes on from a cache, without the images that the cache holds.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    image : dict
        The image inputs of the whole conversation.
    is_image : bool tensor of shape (B, T)
        Which of its tokens are image tokens.
    cached : int
        Tokens of each sequence in the cache.

    Raises
    ------
    ValueError
        If some images are new, and this transformers takes all pixels or none.
    """
    new = is_image.clone()
    new[:, :cached] = False
    if not bool(new.any()):
        return {}
    if not takes_features(model):
        raise ValueError(
            "new images cannot go on from a cache with this version of transformers, which takes all pixels or none; "
            "install a newer one, or give the whole conversation and no cache"
        )
    found = kept_features(encoded_images(model, image), new[is_image].nonzero()[:, 0], int(is_image.sum()))
    if found is None:
        raise ValueError(
            "new images cannot go on from a cache with this model, whose image tokens lack one feature each; give the "
            "whole conversation and no cache"
        )
    return found


def images_of_rows(
    image: dict[str, Any], is_image: torch.Tensor, again: Callable[[list[int]], dict[str, Any]], /
) -> Callable[[list[int]], dict[str, Any]]:
    """The image inputs of some rows of a batch, by their features where each token has one.

    Parameters
    ----------
    image : dict
        From `encoded_images`, of all rows.
    is_image : bool tensor of shape (B, T)
        Which tokens of the prompts are image tokens.
    again : callable
        `again(rows)` encodes the images of some rows, where features cannot be told apart.
    """

    def images(rows: list[int]) -> dict[str, Any]:
        if len(rows) == len(is_image):
            return image
        here = is_image.new_zeros(is_image.shape)
        here[rows] = True
        found = kept_features(image, here[is_image].nonzero()[:, 0], int(is_image.sum()))
        return again(rows) if found is None else found

    return images


def kept_features(image: dict[str, Any], kept: torch.Tensor, tokens: int, /) -> dict[str, Any] | None:
    """Encoded images with the features of some image tokens only; None if there is not one feature per token.

    Parameters
    ----------
    image : dict
        From `encoded_images`.
    kept : integer tensor of shape (m,)
        Indices of the image tokens that stay, counted over the batch row by row.
    tokens : int
        Image tokens of the batch.
    """
    import torch

    encoded = image.get("mm_encoder_outputs", {}).get("image")
    pooled = encoded.get("pooler_output") if isinstance(encoded, Mapping) else None
    deep = encoded.get("deepstack_features") if pooled is not None else None  # Qwen3-VL: for its first layers too

    def rows(features: Any) -> torch.Tensor:
        return torch.cat([item.reshape(-1, item.shape[-1]) for item in features])

    def keep(features: Any) -> Any:
        rest = rows(features)[kept]
        return rest[None] if isinstance(features, torch.Tensor) else [rest]

    if pooled is None or any(len(rows(features)) != tokens for features in (pooled, *(deep or ()))):
        return None
    chosen = copy.copy(encoded)
    chosen["pooler_output"] = keep(pooled)
    if deep is not None:
        chosen["deepstack_features"] = [keep(layer) for layer in deep]
    return {"mm_encoder_outputs": {"image": chosen}}
