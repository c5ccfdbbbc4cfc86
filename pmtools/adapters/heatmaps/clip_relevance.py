"""Relevance to the question as another model, CLIP, sees it: API-C.

This file knows nothing about the model that answers.

References
----------
- API, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools.adapters.heatmaps._by_question import by_question, loaded
from pmtools.adapters.image_inputs import input_device
from pmtools.adapters.image_tokens import ImageTokens
from pmtools.adapters.layouts import ImageTokenLayout, TokenGrid
from pmtools.adapters.offloaded import parameter
from pmtools.adapters.pixels import canvas_fill, canvas_frame
from pmtools.adapters.prompts import Prompts
from pmtools.perception import normalize, perception_map, smooth
from pmtools.settings import DEFAULTS
from pmtools.typing import SizeHW

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class CLIPRelevance:
    r"""API-C: how much each patch adds to CLIP's similarity of image and question, as a mask in [0, 1].

    From the direct contributions $c_n$ of patch $n$ to the class token in one layer, and $q_n$ of the patch's own stream:
    $C = \mathrm{box}_k\,\sigma(\alpha\, z(c))$, $Q = \mathrm{box}_k \frac{\max q - q}{\max q - \min q}$ (inverted: background
    patches carry global content), and the mask is $C + Q - C Q$, min-max normalised.

    Attributes
    ----------
    model : transformers.CLIPModel
    processor : transformers processor
        Of that model: `image_processor` and `tokenizer`.
    layer : int, optional
        0-based. Default: the last but one, 22 in ViT-L/14-336.
    gain, kernel_size
        $\alpha$ and $k$, as in `pmtools.perception_map`.

    References
    ----------
    - API, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)
    """

    model: Any
    processor: Any
    layer: int | None = None
    gain: float = 5.0
    kernel_size: int = DEFAULTS.kernel_size
    perceptual = True

    @classmethod
    def from_pretrained(cls, name: str, /, *, device: str | None = None, **options: Any) -> CLIPRelevance:
        """Relevance by a published CLIP; the paper's is `openai/clip-vit-large-patch14-336`.

        Parameters
        ----------
        name : str
            Folder or hub name.
        device : str, optional
            Default: a GPU where there is one.
        **options
            `layer`, `gain`, `kernel_size`.

        Returns
        -------
        CLIPRelevance
        """
        from transformers import CLIPModel

        return cls(*loaded(CLIPModel, name, device), **options)

    def __call__(self, prompts: Prompts, /) -> list[list[torch.Tensor]]:
        """Masks of the images of each prompt."""
        return by_question(self.mask, prompts)

    def mask(self, image: Any, question: str, /) -> torch.Tensor:
        """The mask of one image.

        Parameters
        ----------
        image : PIL image
        question : str
            Cut to the length of CLIP's text model.

        Returns
        -------
        tensor of shape (h, w)
            In [0, 1], over the image; the grid is CLIP's, without the rows or columns of padding.
        """
        from_class, from_patches = self.relevance(image, question)
        raised = perception_map(from_class - from_class.min(), gain=self.gain, kernel_size=self.kernel_size)
        inverted = smooth(1 - normalize(from_patches - from_patches.min()), kernel_size=self.kernel_size)
        return normalize(raised + inverted - raised * inverted)  # type: ignore[no-any-return]

    def relevance(self, image: Any, question: str, /) -> tuple[torch.Tensor, torch.Tensor]:
        """What each patch gives the class token in one layer, and what it holds after that layer, along the question.

        Parameters
        ----------
        image : PIL image
        question : str

        Returns
        -------
        from_class, from_patches : tensors of shape (h, w)
            Parts of the cosine similarity of image and question; signed.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described above; the message names it.
        """
        import torch

        canvas, tokens = self._canvas(image)
        with torch.no_grad():
            pixels = self.processor.image_processor(images=canvas, return_tensors="pt")["pixel_values"]
            states = class_states(self.model, pixels.to(input_device(self.model), self.model.dtype))
            text = self._text(question)
            depth = len(states) - 1
            layer = depth - 2 if self.layer is None else self.layer
            if not 0 <= layer < depth:
                raise ValueError(f"`layer` must be a 0-based index below {depth}, this CLIP's layers, got {layer}")
            added = attention_contributions(self.model, states[layer], layer)[1:]  # without the class token's own
            parts = [(added, len(added) + 1), (states[layer + 1][1:], 1)]  # each, and its share of one contribution
            maps = [project(self.model, part, states[-1][0], share) @ text for part, share in parts]
        from_class, from_patches = (tokens.heatmaps(values[None].float() * tokens.coverage)[0][0] for values in maps)
        return from_class, from_patches

    def _canvas(self, image: Any) -> tuple[Any, ImageTokens]:
        """The image as CLIP sees it, padded to a square, and its patches."""
        size_hw = image.height, image.width
        frame = canvas_frame(size_hw, square=True)
        config = self.model.config.vision_config
        side = config.image_size // config.patch_size
        x0, y0, x1, y1 = (float(v) for v in frame.inverse_boxes(np.array([0, 0, *frame.target_hw[::-1]], dtype=float)))
        box = x0 / image.width, y0 / image.height, x1 / image.width, y1 / image.height

        def grids(size: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
            return side * side, [TokenGrid(0, (side, side), box)]

        import torch

        patches = torch.zeros(1, side * side, dtype=torch.long, device=input_device(self.model))
        tokens = ImageTokens(ImageTokenLayout(0, grids), patches, [[size_hw]])
        return frame.image(image, fill=canvas_fill(self.processor.image_processor)), tokens

    def _text(self, question: str) -> torch.Tensor:
        """The normalised embedding of a question, (D,)."""
        inputs = self.processor.tokenizer([question], return_tensors="pt", truncation=True).to(input_device(self.model))
        found = self.model.get_text_features(**inputs)
        embedding = getattr(found, "pooler_output", found)[0]
        return embedding / embedding.norm()  # type: ignore[no-any-return]


def class_states(model: Any, pixel_values: torch.Tensor, /) -> list[torch.Tensor]:
    """The residual stream of one image in CLIP's vision tower: before the first layer, and after each.

    Parameters
    ----------
    model : transformers.CLIPModel
    pixel_values : float tensor of shape (1, 3, H, W)

    Returns
    -------
    list of tensors of shape (1 + patches, D)
        The class token first.
    """
    vision = model.vision_model
    # transformers 5.17 has the same spelling
    state = vision.pre_layrnorm(vision.embeddings(pixel_values))
    states = [state[0]]
    for layer in vision.encoder.layers:
        found = layer(state, attention_mask=None)
        state = found[0] if isinstance(found, tuple) else found
        states.append(state[0])
    return states


def attention_contributions(model: Any, state: torch.Tensor, layer: int, /) -> torch.Tensor:
    r"""What each token adds to the class token's attention output, with its share of the bias.

    $\sum_h A_h[\mathrm{cls}, n]\, V_{h, n} W_O^h + b / (N + 1)$.

    Parameters
    ----------
    model : transformers.CLIPModel
    state : tensor of shape (1 + patches, D)
        Residual stream before the layer.
    layer : int
        0-based.

    Returns
    -------
    tensor of shape (1 + patches, D)
        The sum over tokens is the attention block's output for the class token.
    """
    import torch

    place = f"vision_model.encoder.layers.{layer}"
    block = model.get_submodule(place)
    attention, normed = block.self_attn, block.layer_norm1(state)
    heads, width = attention.num_heads, attention.head_dim

    def split(projected: torch.Tensor) -> torch.Tensor:
        return projected.reshape(-1, heads, width).transpose(0, 1)  # (heads, tokens, width)

    query, key, value = (split(part(normed)) for part in (attention.q_proj, attention.k_proj, attention.v_proj))
    share = (query[:, :1] @ key.transpose(1, 2) * attention.scale).softmax(-1)  # (heads, 1, tokens)
    added = (share.transpose(1, 2) * value).transpose(0, 1).reshape(len(state), -1)  # (tokens, D)
    weight, bias = (
        parameter(model, f"{place}.self_attn.out_proj.{kind}").to(state.device) for kind in ("weight", "bias")
    )
    contributions: torch.Tensor = torch.nn.functional.linear(added, weight) + bias / len(state)
    return contributions


def project(model: Any, parts: torch.Tensor, final: torch.Tensor, split: int, /) -> torch.Tensor:
    """Parts of the class token's residual stream in the space of the image embedding, normalised as the whole is.

    The final layer norm uses the whole's mean and deviation; its mean and bias are divided evenly among the
    `2 depth + 1` contributions of the stream (the embedding, and two blocks per layer).

    Parameters
    ----------
    model : transformers.CLIPModel
    parts : tensor of shape (n, D)
    final : tensor of shape (D,)
        The class token's residual stream at the end.
    split : int
        Of how many equal shares of one contribution each part is one.

    Returns
    -------
    tensor of shape (n, D')
        Divided by the norm of the image embedding: all parts of everything sum to the normalised embedding.
    """
    norm = model.vision_model.post_layernorm
    weight, bias = (
        parameter(model, f"vision_model.post_layernorm.{kind}").to(final.device) for kind in ("weight", "bias")
    )
    count = (2 * len(model.vision_model.encoder.layers) + 1) * split
    deviation = (final.var(unbiased=False) + norm.eps).sqrt()
    scaled = (parts - final.mean() / count) / deviation * weight + bias / count
    whole = model.visual_projection(norm(final))
    return model.visual_projection(scaled) / whole.norm()  # type: ignore[no-any-return]
