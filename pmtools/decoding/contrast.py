r"""The arithmetic of contrastive decoding: two or more rows of logits in, one out. No models, no streams.

A constant added to a row of the input changes the result by a constant per row at most, so logits and log probabilities
both work.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def plausible(scores: torch.Tensor, /, *, cutoff: float) -> torch.Tensor:
    r"""The tokens that are at least `cutoff` times as likely as the likeliest: $z \ge \log c + \max z$.

    Parameters
    ----------
    scores : float tensor of shape (..., V)
    cutoff : float
        In [0, 1]; 0 keeps every token.

    Returns
    -------
    bool tensor of shape (..., V)

    Examples
    --------
    >>> import torch
    >>> plausible(torch.tensor([0.8, 0.15, 0.05]).log(), cutoff=0.1)
    tensor([ True,  True, False])
    """
    import torch

    if cutoff == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    return scores >= scores.amax(-1, keepdim=True) + math.log(cutoff)


def contrast(scores: torch.Tensor, reference: torch.Tensor, /, *, strength: float, cutoff: float) -> torch.Tensor:
    r"""What the scores say beyond a reference: $(1 + a)\, z - a\, z'$ where plausible, $-\infty$ elsewhere.

    With $g = 1 + a$ this is guidance, $g\,(z - z') + z'$.

    Parameters
    ----------
    scores, reference : float tensors of shape (..., V)
    strength : float
        $a$, >= 0.
    cutoff : float
        In [0, 1]; see `plausible`.

    Returns
    -------
    float tensor of shape (..., V)

    References
    ----------
    - VCD, [arXiv:2311.16922](https://arxiv.org/abs/2311.16922)

    Examples
    --------
    >>> import torch
    >>> contrast(torch.tensor([2.0, 1.0, -9.0]), torch.tensor([3.0, 0.0, 0.0]), strength=1.0, cutoff=0.1)
    tensor([1., 2., -inf])
    """
    import torch

    contrasted = (1 + strength) * scores - strength * reference
    return contrasted.masked_fill(~plausible(scores, cutoff=cutoff), -torch.inf)


def conditional_gain(
    scores: torch.Tensor,
    reference: torch.Tensor,
    /,
    *,
    step: int,
    decay: float,
    confidence: float | None = None,
    cutoff: float = 0.0,
) -> torch.Tensor:
    r"""M3ID's rule, where plausible: what the image adds counts more at later tokens.

    $\log p_c + [\max \log p_c < \log \alpha]\, \frac{1 - g_t}{g_t} (\log p_c - \log p_u)$ with $g_t = e^{-\lambda t}$.

    Parameters
    ----------
    scores, reference : float tensors of shape (..., V)
        With the image, and without: $p_c$ and $p_u$ after a softmax.
    step : int
        $t$, the number of the token to be chosen, from 1.
    decay : float
        $\lambda$, >= 0.
    confidence : float, optional
        $\alpha$: rows whose likeliest token is at least this likely do not change. Default: every row changes.
    cutoff : float, optional
        In [0, 1]; see `plausible`.

    Returns
    -------
    float tensor of shape (..., V)

    References
    ----------
    - M3ID, [arXiv:2403.14003](https://arxiv.org/abs/2403.14003)

    Examples
    --------
    >>> import math, torch
    >>> p_c, p_u = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    >>> conditional_gain(p_c, p_u, step=1, decay=math.log(2)).exp()  # (1 - g) / g = 1
    tensor([1.0000, 0.3333])
    """
    import torch

    given, blind = scores.log_softmax(-1), reference.log_softmax(-1)
    gained = given + math.expm1(decay * step) * (given - blind)
    if confidence is not None:
        gained = torch.where(given.amax(-1, keepdim=True) < math.log(confidence), gained, given)
    return gained.masked_fill(~plausible(scores, cutoff=cutoff), -torch.inf)


def disagreement(scores: torch.Tensor, reference: torch.Tensor, /) -> torch.Tensor:
    r"""Jensen-Shannon divergence of two rows of scores, in bits: 0 where they agree, 1 where they share no token.

    Parameters
    ----------
    scores, reference : float tensors of shape (..., V)

    Returns
    -------
    float tensor of shape (..., 1)
        In [0, 1].

    Examples
    --------
    >>> import torch
    >>> disagreement(torch.tensor([0.0, -torch.inf]), torch.tensor([-torch.inf, 0.0]))
    tensor([1.])
    """
    p, q = scores.softmax(-1), reference.softmax(-1)
    middle = (p + q) / 2

    def divergence(part: torch.Tensor) -> torch.Tensor:
        ratio = part / middle.clamp(min=1e-30)
        return (part * ratio.clamp(min=1e-30).log2()).sum(-1, keepdim=True)

    return ((divergence(p) + divergence(q)) / 2).clamp(0, 1)


def image_biased(
    scores: torch.Tensor, biased: torch.Tensor, /, *, strength: float, cutoff: float = 0.0
) -> torch.Tensor:
    r"""Scores moved towards those of an image-biased model where the two disagree: $z + a\, I\, (\hat z - z)$, where plausible.

    $I$ is the `disagreement` of both. Both rows are taken as log probabilities.

    Parameters
    ----------
    scores, biased : float tensors of shape (..., V)
    strength : float
        $a$, >= 0.
    cutoff : float, optional
        In [0, 1]; see `plausible`.

    Returns
    -------
    float tensor of shape (..., V)

    References
    ----------
    - IBD, [arXiv:2402.18476](https://arxiv.org/abs/2402.18476)
    """
    import torch

    z, z_biased = scores.log_softmax(-1), biased.log_softmax(-1)
    moved = z + strength * disagreement(z, z_biased) * (z_biased - z)
    return moved.masked_fill(~plausible(scores, cutoff=cutoff), -torch.inf)
