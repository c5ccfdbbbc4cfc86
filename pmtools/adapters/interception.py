"""A model's attention, intercepted through a public interface: wrappers around every layer's attention in a `with` block.

transformers lets anyone register an attention function by name. Inside the block the text model's configuration names a
function that calls the original one through the open wrappers. The model is not patched.

A pass shows whether a model takes its attention from there: if no layer did, it is an error.

This file does not know what the wrappers do: `attention.py` records, `editing.py` changes.

References
----------
- transformers, [attention interface](https://huggingface.co/docs/transformers/attention_interface)
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pmtools.adapters.caches import cached_tokens, find_cache

if TYPE_CHECKING:
    import torch

_PREFIX = "pmtools_"
#: Layers of these types, as configurations name them, attend to nothing.
_NO_ATTENTION = ("linear_attention", "conv", "mamba", "moe")
#: Layers of these types attend to a window of tokens and to keys that stand for several earlier tokens each.
_COMPRESSED = ("compressed_sparse_attention", "heavily_compressed_attention")
#: The tensors among a layer's options that its scores depend on, and that the arithmetic below takes in.
_KNOWN_TENSORS = ("scaling", "softcap", "position_bias", "s_aux", "sinks")
_wrappers = threading.local()  # .open: the wrappers of this thread, innermost call first
_redirections: dict[int, tuple[Any, str, int]] = {}  # id(config) -> config, its own implementation, users
_eager: list[Any] = []  # while a block is open: makes compiled models run uncompiled
_lock = threading.Lock()

#: `wrapper(attend, module, query, key, value, attention_mask, *args, **options)` returns what `attend(module, query, ...)` would:
#: output of shape (B, queries, heads, width), and weights or None.
Wrapper = Callable[..., tuple[Any, Any]]


def text_decoder(model: Any) -> Any:
    """The text model inside `model`, whose layers attend to everything.

    Raises
    ------
    ValueError
        If it has none, or one that attends to an encoder's sequence too.
    """
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    if not hasattr(decoder, "config"):  # ModernBERT calls the last matrix of its head `decoder`
        decoder = getattr(model, "base_model", None)
    if not hasattr(decoder, "config"):
        raise ValueError(
            f"`model` must be a text or vision-language model of transformers, with `get_decoder`, got {type(model).__name__}"
        )
    if decoder is not model and getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(
            f"`model` must have a decoder only, got {type(model).__name__}, whose decoder attends to an encoder's sequence too; "
            "use a decoder-only model"
        )
    return decoder


def cross_layers(decoder: Any) -> tuple[int, ...]:
    """The 0-based layers of a text model that attend to something other than its tokens, for example to images in Mllama."""
    return tuple(getattr(decoder.config, "cross_attention_layers", None) or ())


def compressed_layers(decoder: Any) -> tuple[int, ...]:
    """The 0-based layers of a text model some of whose keys stand for several tokens, in DeepSeek V4."""
    return tuple(layer for layer, kind in enumerate(_layer_types(decoder)) if kind in _COMPRESSED)


def attention_layers(decoder: Any) -> tuple[int, ...]:
    """The 0-based layers of a text model that attend to its tokens: no recurrent, convolution, cross or compressed layers."""
    others = (*cross_layers(decoder), *compressed_layers(decoder))
    types = _layer_types(decoder)
    return tuple(layer for layer, kind in enumerate(types) if kind not in _NO_ATTENTION and layer not in others)


def _layer_types(decoder: Any) -> list[str]:
    config = decoder.config
    return getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers


def implementation(decoder: Any) -> str:
    """The attention implementation of a text model, whether it is intercepted now or not."""
    return str(decoder.config._attn_implementation).removeprefix(_PREFIX)


@contextmanager
def intercepted_attention(
    decoder: Any, wrapper: Wrapper, /, *, start: Callable[[int], None] | None = None
) -> Iterator[None]:
    """Call `wrapper` around the attention of every layer, in this thread; the last one opened is called first.

    Parameters
    ----------
    decoder : transformers.PreTrainedModel
        A text model, from `text_decoder`.
    wrapper : callable
    start : callable, optional
        `start(length)` is called before each forward pass with the number of tokens so far, its own included.

    Raises
    ------
    ValueError
        If the model's attention implementation has no masks of tensors; in a forward pass, if the model does not take its
        attention from transformers' registry.

    Notes
    -----
    The configuration's attention implementation is restored on every exit, also after an exception. The configuration is
    shared, so other threads may run the same model meanwhile: their calls pass through, and their own blocks count.
    A compiled model runs uncompiled inside the block, since its graph would bypass the wrapper. A copy that is made of the
    model meanwhile runs its own attention.
    """
    thread, called = threading.get_ident(), False

    def around(attend: Any, module: Any, *args: Any, **options: Any) -> Any:
        nonlocal called
        called = True
        return wrapper(attend, module, *args, **options)

    def before(module: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        nonlocal called
        if module is decoder and threading.get_ident() == thread:  # a copy of the model has a copy of the hooks
            called = False
            if start is not None:
                start(_tokens_so_far(args, keywords))

    def after(module: Any, *_: Any) -> None:
        if module is decoder and threading.get_ident() == thread and not called:
            raise ValueError(
                f"`model` must take its attention from transformers' registry, but no layer of {type(decoder).__name__} "
                "did in this pass; models with their own attention code cannot be captured"
            )

    modules = frozenset(decoder.modules())
    entry = functools.partial(_only_in, modules, around)
    stack = _wrappers.__dict__.setdefault("open", [])
    with contextlib.ExitStack() as block:
        block.enter_context(_redirected(modules))
        stack.append(entry)
        block.callback(stack.remove, entry)
        block.callback(decoder.register_forward_pre_hook(before, with_kwargs=True).remove)
        block.callback(decoder.register_forward_hook(after).remove)
        yield


def _tokens_so_far(args: tuple[Any, ...], keywords: dict[str, Any]) -> int:
    """Tokens of a sequence after a decoder's pass with these arguments, padding included."""
    given = (*args[:1], keywords.get("input_ids"), keywords.get("inputs_embeds"))
    cache = find_cache({**keywords, **dict(enumerate(args))})
    new: int = next(item.shape[1] for item in given if item is not None)
    return new + (0 if cache is None else cached_tokens(cache))


def _only_in(modules: frozenset[Any], wrapper: Wrapper, attend: Any, module: Any, *args: Any, **options: Any) -> Any:
    """Other models pass through, though they may share the function."""
    if module not in modules:
        return attend(module, *args, **options)
    return wrapper(attend, module, *args, **options)


@contextmanager
def _redirected(modules: Iterable[Any]) -> Iterator[None]:
    """The modules' configurations name our function; counted, so that threads and nested blocks may share it."""
    # `hasattr` of a module without one takes as long as all the rest here
    found = (vars(item).get("config") for item in modules)
    configs = {id(config): config for config in found if config is not None}
    taken = []
    try:
        with _lock:
            if not _redirections and "torch._dynamo" in sys.modules:
                _eager.append(sys.modules["torch"].compiler.set_stance("force_eager"))
            for key, config in configs.items():
                _, own, users = _redirections.get(key, (config, config._attn_implementation, 0))
                if not users:
                    config._attn_implementation = _register(own)
                _redirections[key] = config, own, users + 1
                taken.append(key)
        yield
    finally:
        with _lock:
            for key in taken:
                config, own, users = _redirections.pop(key)
                if users > 1:
                    _redirections[key] = config, own, users - 1
                else:
                    config._attn_implementation = own
            if not _redirections and _eager:
                _eager.pop().__exit__(None, None, None)


class _Twin(str):
    """The name of an intercepted twin, which is `==` its base's name too: models ask whether theirs is "sdpa", for masks.

    It is `!=` its base's name, after which models ask the registry, and its hash is its own, with which the registry finds
    the twin. Copied or pickled it is the base's name.
    """

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and (str.__eq__(self, other) or str.__eq__(self.removeprefix(_PREFIX), other))

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (self.removeprefix(_PREFIX),)


def _register(base: str) -> str:
    """The name of the intercepted twin of the attention implementation `base`, registered on first use."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if base == "flex_attention" or base not in ALL_MASK_ATTENTION_FUNCTIONS:
        raise ValueError(
            f"attention implementation {base!r} cannot be captured: its masks are not tensors; "
            "load the model with attn_implementation='sdpa'"
        )
    name = _PREFIX + base
    if name not in ALL_ATTENTION_FUNCTIONS:
        AttentionInterface.register(name, _through_wrappers(base))
        # without a mask function of that name transformers passes no mask at all
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return _Twin(name)


def _through_wrappers(base: str) -> Callable[..., Any]:
    def attention(module: Any, *args: Any, **options: Any) -> Any:
        attend = _attention_function(base, module)
        for wrapper in _wrappers.__dict__.get("open", ()):
            attend = functools.partial(wrapper, attend)
        return attend(module, *args, **options)

    return attention


def _attention_function(base: str, module: Any) -> Callable[..., Any]:
    """The function with this name; "eager" has no registry entry, but is in the module's own modelling file."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if base != "eager":
        found: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[base]
        return found
    for kind in type(module).__mro__:
        function = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if function is not None:
            return function  # type: ignore[no-any-return]
    raise ValueError(f"{type(module).__name__} has no eager attention function; use attn_implementation='sdpa'")


# ------------------------------------------------------------------------------------------------ the arithmetic


def scaling(module: Any, query: torch.Tensor, options: dict[str, Any]) -> float:
    """The factor of a layer's scores."""
    found: float = options.get("scaling") or getattr(module, "scaling", None) or query.shape[-1] ** -0.5
    return found


def last_query_scores(
    module: Any, query: torch.Tensor, key: torch.Tensor, attention_mask: torch.Tensor | None, options: dict[str, Any]
) -> torch.Tensor:
    """Scores of the last query before the softmax, scaled, soft-capped, biased and masked as the layer does it.

    Parameters
    ----------
    module, query, key, attention_mask, options
        What the layer's attention function gets.

    Returns
    -------
    float32 tensor of shape (B, heads, keys)
        -inf where the last query may not look.

    Raises
    ------
    ValueError
        If the layer's attention function takes a tensor that is not known here.
    """
    import torch

    _check_options(module, options)
    batch, heads, _, width = query.shape
    groups, keys = key.shape[1:3]
    last = query[:, :, -1].reshape(batch, groups, heads // groups, width)
    scores = (last @ key.transpose(-1, -2)).reshape(batch, heads, keys).float() * scaling(module, query, options)
    if (cap := options.get("softcap")) is not None:
        scores = torch.tanh(scores / cap) * cap
    if (bias := options.get("position_bias")) is not None:  # (B or 1, heads, queries, keys)
        scores = scores + bias[:, :, -1].float()
    if attention_mask is None:  # the last query sees everything but the free room of a static cache after the prompt
        if _is_causal(module, query, options):
            scores[..., query.shape[2] :] = -torch.inf
        return scores
    if attention_mask.ndim == 2:  # (B, keys), flash attention's
        return scores.masked_fill(~attention_mask[:, None, -keys:].bool(), -torch.inf)
    allowed = attention_mask[:, :, -1, -keys:]  # (B, 1 or heads, keys)
    if allowed.dtype == torch.bool:
        return scores.masked_fill(~allowed, -torch.inf)
    return (scores + allowed).masked_fill(allowed < torch.finfo(allowed.dtype).min / 2, -torch.inf)


def softmax_with_sinks(scores: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    """The softmax of one query's scores, (B, heads, keys), with the layer's sinks: scores that take part in it only."""
    import torch

    sinks = options.get("s_aux")  # (heads,)
    if sinks is not None:
        sinks = sinks.reshape(1, -1, 1)
    elif options.get("sinks") is not None:
        sinks = options["sinks"][:, :, -1]  # of (B, heads, queries, 1)
    if sinks is None:
        return scores.softmax(-1)
    return torch.cat([scores, sinks.float().expand(*scores.shape[:2], 1)], dim=-1).softmax(-1)[..., :-1]


def _check_options(module: Any, options: dict[str, Any]) -> None:
    """Refuse tensors that the attention function asks for by name and the scores here would leave out."""
    import torch

    tensors = {name for name, value in options.items() if isinstance(value, torch.Tensor)}.difference(_KNOWN_TENSORS)
    if not tensors:
        return
    # what the function does not name it does not use: arguments of the whole model get there too
    if found := sorted(tensors & _parameters(_attention_function(implementation(module), module))):
        raise ValueError(
            f"`model` must have attention that is known here, but {type(module).__name__} gives it `{found[0]}`, which "
            "captured maps would leave out; load the model with attn_implementation='eager' and use `output_attentions=True`"
        )


@functools.cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def _is_causal(module: Any, query: torch.Tensor, options: dict[str, Any]) -> bool:
    """Whether the layer leaves its mask to the kernel of "sdpa", whose query i sees the keys up to i."""
    asked = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if asked is None else asked
    return query.shape[2] > 1 and causal and implementation(module) == "sdpa"
