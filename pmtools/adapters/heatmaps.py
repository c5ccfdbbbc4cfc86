r"""Heatmaps made by models, for batches of prompts: what the model itself attends to, and what CLIP finds relevant.

Every source is called with `Prompts` and returns, for each prompt, one map (h, w) per image, over the content of the image:
padding is cut off. Sources are interchangeable; controls and your own maps are sources too.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
- API, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)
- ViCrop, [arXiv:2502.17422](https://arxiv.org/abs/2502.17422)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pmtools import _array, _checks
from pmtools import heatmaps as plain_heatmaps
from pmtools.adapters.attention import capture_attention
from pmtools.adapters.interception import text_decoder
from pmtools.adapters.layouts import ImageTokenLayout, ImageTokens, TokenGrid
from pmtools.adapters.pixels import canvas_fill, canvas_frame
from pmtools.adapters.prompts import Prompts
from pmtools.adapters.streams import empty_cache
from pmtools.perception import normalize, perception_map, smooth
from pmtools.refinement import refine
from pmtools.typing import Heatmap, SizeHW

if TYPE_CHECKING:
    import torch

HEADS = ("max", "mean")
#: The paper's first layer whose attention counts, the layer of API-L and that of ViCrop, as shares of the depth.
DEEP, API_LAYER, VICROP_LAYER = 12 / 32, 20 / 32, 14 / 32
#: Before the name of a CLIP, a source by its name.
API_C = "api-c:"
#: What relative attention is relative to.
GENERAL_QUESTION = "Write a general description of the image."


class HeatmapSource(Protocol):
    """`source(prompts)` returns, for each prompt, one heatmap (h, w) per image.

    A source whose maps are final, in [0, 1], has an attribute `perceptual = True`; others are heatmaps, and become perception
    maps by gain and smoothing.
    """

    def __call__(self, prompts: Prompts, /) -> Sequence[Sequence[Heatmap]]:
        """Heatmaps of the images of each prompt."""


# --------------------------------------------------------------------------------------- the model's own attention


@dataclass(frozen=True)
class AttentionHeatmap:
    """What the last token of the prompt attends to, averaged over layers.

    Attributes
    ----------
    layers : "deep", "single", float or sequence of int, optional
        "deep": from 12/32 of the depth on, as in the paper. "single": the first of these alone. A share of the depth, in [0, 1):
        the one layer there. Or 0-based layers. Families with sliding-window layers have the others only.
    heads : {"max", "mean"}, optional
        How the heads of a layer become one map.
    refined : bool, optional
        Hide what stood out and look again, as the paper does; see `pmtools.refine`.
    threshold : float, optional
    max_iterations : int, optional
        Of the refinement.

    Raises
    ------
    TypeError, ValueError
        If an option is out of range; when called, if the model has no such layer.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
    """

    layers: str | float | Sequence[int] = "deep"
    heads: str = "max"
    refined: bool = False
    threshold: float = 0.3
    max_iterations: int = 8

    def __post_init__(self) -> None:
        _checks.choice(self.heads, "heads", HEADS)
        if isinstance(self.layers, str):
            _checks.choice(self.layers, "layers", ("deep", "single"))
        elif isinstance(self.layers, float):
            _checks.real_number(self.layers, "layers", minimum=0.0, maximum=1 - 1e-9)

    def __call__(self, prompts: Prompts, /) -> list[list[torch.Tensor]]:
        """Heatmaps of the images of each prompt; attention sums to at most 1 over a prompt's images and text."""
        import torch

        model, tokens = prompts.model, prompts.tokens()
        sequences, image = prompts.prepared()
        layers = self._layers(prompts)
        takes_part = (tokens.coverage > 0)[:, None]  # (B, 1, n)

        def attend(shown: torch.Tensor | None) -> torch.Tensor:
            some = sequences
            if shown is not None:
                some = sequences.hiding(tokens.scatter((takes_part & ~shown)[:, 0], sequences.length))
            with capture_attention(model, tokens.columns, layers=layers, heads=self.heads == "mean") as tap:
                some.run(empty_cache(model), image=image)
            maps = tap.maps if self.heads == "max" else tap.head_maps.mean(2)
            return (maps.mean(1) * tokens.coverage)[:, None]

        with torch.no_grad():
            if not self.refined:
                return tokens.heatmaps(attend(None)[:, 0])
            found = refine(attend, visible=takes_part, threshold=self.threshold, max_iterations=self.max_iterations)
        return tokens.heatmaps(found.aggregate[:, 0])

    def _layers(self, prompts: Prompts) -> list[int]:
        count = text_decoder(prompts.model).config.num_hidden_layers
        telling = prompts.layout.heat_layers or tuple(range(count))
        if isinstance(self.layers, float):
            return [min(telling, key=lambda layer: abs(layer - int(self.layers * count)))]
        if not isinstance(self.layers, str):
            return list(self.layers)
        first = max(1, round(DEEP * count)) - 1
        deep = [layer for layer in telling if layer >= first] or [telling[-1]]
        return deep if self.layers == "deep" else deep[:1]


@dataclass(frozen=True)
class RelativeAttention:
    """Where the model looks for this question more than for any: its attention divided by that for a general one.

    Attributes
    ----------
    layer : float or int, optional
        0-based, or a share of the depth. ViCrop: 14 of 32.
    question : str, optional
        The general one. Default: the processor's `general_question`, if it has one, as the demo model's has; else ViCrop's.

    Raises
    ------
    ValueError
        When called, if the tokenizer does not know a word of the general question.

    References
    ----------
    - ViCrop, [arXiv:2502.17422](https://arxiv.org/abs/2502.17422)
    """

    layer: float | int = VICROP_LAYER
    question: str | None = None

    def __call__(self, prompts: Prompts, /) -> list[list[torch.Tensor]]:
        """Heatmaps of the images of each prompt."""
        attention = AttentionHeatmap(self.layer if isinstance(self.layer, float) else [self.layer], heads="mean")
        general = attention(general_prompts(prompts, self._question(prompts.processor)))
        return [
            [asked / anyway.clamp(min=1e-12) for asked, anyway in zip(*row, strict=True)]
            for row in zip(attention(prompts), general, strict=True)
        ]

    def _question(self, processor: Any) -> str:
        question = self.question or str(getattr(processor, "general_question", GENERAL_QUESTION))
        tokenizer = processor.tokenizer
        unknown = tokenizer.unk_token_id
        if unknown is not None and unknown in tokenizer(question, add_special_tokens=False)["input_ids"]:
            raise ValueError(
                f"`question` must be in words that the model knows, got {question!r}; give "
                "RelativeAttention(question=...) a general question in its words"
            )
        return question


def general_prompts(prompts: Prompts, question: str, /) -> Prompts:
    """The same images with one question for all, in the processor's chat template where it has one.

    Parameters
    ----------
    prompts : Prompts
    question : str
    """
    processor = prompts.processor
    if getattr(processor, "chat_template", None):
        texts = [processor.as_prompt(question, len(row)) for row in prompts.images]
    else:
        mark = getattr(processor, "image_token", "<image>")
        texts = [mark * len(row) + "\n" + question for row in prompts.images]
    inputs = processor(images=prompts.images, text=texts, return_tensors="pt", padding=True)
    return Prompts.from_inputs(prompts.model, processor, inputs)


# ------------------------------------------------------------------------------------------------------------ CLIP


@dataclass(frozen=True)
class CLIPRelevance:
    r"""API-C: how much each patch adds to the likeness of image and question in CLIP, as a mask in [0, 1].

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
    kernel_size: int = 3
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
        import torch
        from transformers import AutoProcessor, CLIPModel

        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(CLIPModel.from_pretrained(name).to(where).eval(), AutoProcessor.from_pretrained(name), **options)

    def __call__(self, prompts: Prompts, /) -> list[list[torch.Tensor]]:
        """Masks of the images of each prompt."""
        return [
            [self.mask(image, question) for image in row]
            for row, question in zip(prompts.images, prompts.questions(), strict=True)
        ]

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
        """What the class token gets from each patch in one layer, and what each patch holds after it, along the question.

        Parameters
        ----------
        image : PIL image
        question : str

        Returns
        -------
        from_class, from_patches : tensors of shape (h, w)
            Parts of the cosine similarity of image and question; signed.
        """
        import torch

        canvas, tokens = self._canvas(image)
        with torch.no_grad():
            pixels = self.processor.image_processor(images=canvas, return_tensors="pt")["pixel_values"]
            states = class_states(self.model, pixels.to(self.model.device, self.model.dtype))
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

        patches = torch.zeros(1, side * side, dtype=torch.long, device=self.model.device)
        tokens = ImageTokens(ImageTokenLayout(0, grids), patches, [[size_hw]])
        return frame.image(image, fill=canvas_fill(self.processor.image_processor)), tokens

    def _text(self, question: str) -> torch.Tensor:
        """The normalised embedding of a question, (D,)."""
        inputs = self.processor.tokenizer([question], return_tensors="pt", truncation=True).to(self.model.device)
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
    # transformers 5.17 spells it so too
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

    block = model.vision_model.encoder.layers[layer]
    attention, normed = block.self_attn, block.layer_norm1(state)
    heads, width = attention.num_heads, attention.head_dim

    def split(projected: torch.Tensor) -> torch.Tensor:
        return projected.reshape(-1, heads, width).transpose(0, 1)  # (heads, tokens, width)

    query, key, value = (split(part(normed)) for part in (attention.q_proj, attention.k_proj, attention.v_proj))
    share = (query[:, :1] @ key.transpose(1, 2) * attention.scale).softmax(-1)  # (heads, 1, tokens)
    added = (share.transpose(1, 2) * value).transpose(0, 1).reshape(len(state), -1)  # (tokens, D)
    out = attention.out_proj
    contributions: torch.Tensor = torch.nn.functional.linear(added, out.weight) + out.bias / len(state)
    return contributions


def project(model: Any, parts: torch.Tensor, final: torch.Tensor, split: int, /) -> torch.Tensor:
    """Parts of the class token's residual stream in the space of the image embedding, normalised as the whole is.

    The final layer norm uses the whole's mean and deviation; its mean and bias are shared out evenly over the
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
    count = (2 * len(model.vision_model.encoder.layers) + 1) * split
    deviation = (final.var(unbiased=False) + norm.eps).sqrt()
    scaled = (parts - final.mean() / count) / deviation * norm.weight + norm.bias / count
    whole = model.visual_projection(norm(final))
    return model.visual_projection(scaled) / whole.norm()  # type: ignore[no-any-return]


# --------------------------------------------------------------------------------------- given maps, and controls


@dataclass(frozen=True)
class GivenHeatmap:
    """Your own map: one for every image, or a function of the image.

    Attributes
    ----------
    heatmap : array of shape (h, w), or callable
        `heatmap(image)` with an RGB PIL image.
    """

    heatmap: Heatmap | Callable[[Any], Heatmap]

    def __post_init__(self) -> None:
        if not callable(self.heatmap):
            _checks.weights(self.heatmap, "heatmap")

    def __call__(self, prompts: Prompts, /) -> list[list[Heatmap]]:
        """Heatmaps of the images of each prompt."""
        given = self.heatmap
        return [
            [_checks.weights(given(image) if callable(given) else given, "heatmap") for image in row]
            for row in prompts.images
        ]


@dataclass(frozen=True)
class ControlHeatmap:
    """A source whose maps ought not to help: those of another one, made uniform, shuffled, rolled or centred.

    Attributes
    ----------
    control : {"uniform", "shuffled", "rolled", "centred"}
        See `pmtools.heatmaps.CONTROLS`.
    source : callable
        The source to spoil.
    seed : int, optional
        Every image starts from it, so that a batch equals its rows.
    """

    control: str
    source: HeatmapSource
    seed: int = 0

    def __post_init__(self) -> None:
        _checks.choice(self.control, "control", plain_heatmaps.CONTROLS)

    @property
    def perceptual(self) -> bool:
        """Whether the source's maps are final."""
        return bool(getattr(self.source, "perceptual", False))

    def __call__(self, prompts: Prompts, /) -> list[list[Heatmap]]:
        """Heatmaps of the images of each prompt."""
        change = plain_heatmaps.CONTROLS[self.control]
        return [
            [change(heatmap, rng=np.random.default_rng(self.seed)) for heatmap in row] for row in self.source(prompts)
        ]


#: Sources that need nothing but the model itself, by name.
SOURCES: dict[str, HeatmapSource] = {
    "attention": AttentionHeatmap(),
    "single-layer": AttentionHeatmap("single"),
    "refined": AttentionHeatmap(refined=True),
    "refined-single-layer": AttentionHeatmap("single", refined=True),
    "api-l": AttentionHeatmap(API_LAYER, heads="mean"),
    "relative": RelativeAttention(),
}


def heatmap_source(heatmap: str | Heatmap | HeatmapSource, /) -> HeatmapSource:
    """A source from its name, a map, or a source.

    Parameters
    ----------
    heatmap : str, array of shape (h, w), or callable
        A name in `SOURCES`, or `api-c:NAME` for relevance by the CLIP of that folder or hub name; a map for every image;
        or a source.

    Returns
    -------
    HeatmapSource

    Raises
    ------
    TypeError, ValueError
        If it is none of these.

    Examples
    --------
    >>> heatmap_source("api-l").heads
    'mean'
    >>> type(heatmap_source([[0.0, 1.0]])).__name__
    'GivenHeatmap'
    """
    if isinstance(heatmap, str):
        if heatmap.startswith(API_C):
            return CLIPRelevance.from_pretrained(heatmap.removeprefix(API_C))
        return SOURCES[_checks.choice(heatmap, "heatmap", [*SOURCES, f"{API_C}NAME"])]
    if callable(heatmap):
        return heatmap
    return GivenHeatmap(_array.asarray(heatmap, "heatmap"))
