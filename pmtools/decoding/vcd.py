r"""Visual contrastive decoding: what the image says beyond a noisy version of itself.

References
----------
- VCD, [arXiv:2311.16922](https://arxiv.org/abs/2311.16922)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import _checks
from pmtools.adapters.prompts import Prompts
from pmtools.decoding.contrast import contrast
from pmtools.decoding.second_stream import ContrastiveMethod, SecondStream

if TYPE_CHECKING:
    import torch

#: Steps of the diffusion whose noise is added.
DIFFUSION_STEPS = 1000


class VCD(ContrastiveMethod):
    r"""Visual contrastive decoding, [arXiv:2311.16922](https://arxiv.org/abs/2311.16922).

    $(1 + a)\, z(v) - a\, z(v')$ where plausible, with the noisy image
    $v' = \sqrt{\bar\alpha_T}\, v + \sqrt{1 - \bar\alpha_T}\, \varepsilon$.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    strength : float, optional
        $a$, >= 0; 0 is plain decoding.
    noise_step : int, optional
        $T$, from 0 to 999.
    cutoff : float, optional
        Tokens less likely than this share of the likeliest are excluded, in [0, 1].
    seed : int, optional
        Of the noise, which is the same for every image, so that a batch equals its rows.

    Raises
    ------
    TypeError, ValueError
        If an option is out of range.

    Examples
    --------
    >>> from PIL import Image
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model()
    >>> vcd = VCD(tiny_processor(model), strength=0.5)
    >>> inputs = vcd.processor(images=Image.new("RGB", (60, 40)), text="Is <image> blue?", return_tensors="pt")
    >>> output = model.generate(**inputs, custom_generate=vcd, max_new_tokens=2)
    """

    def __init__(
        self,
        processor: Any,
        *,
        strength: float = 1.0,
        noise_step: int = 500,
        cutoff: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(processor)
        self.strength = _checks.real_number(strength, "strength", minimum=0.0)
        self.noise_step = _checks.whole_number(noise_step, "noise_step", minimum=0, maximum=DIFFUSION_STEPS - 1)
        self.cutoff = _checks.real_number(cutoff, "cutoff", minimum=0.0, maximum=1.0)
        self.seed = _checks.whole_number(seed, "seed", minimum=0)

    @property
    def contrasts(self) -> bool:
        """Whether the strength is above 0."""
        return self.strength != 0

    def references(self, prompts: Prompts, prompt_length: int) -> list[SecondStream]:
        """The prompt with noise in its images."""
        pixels = noisy(prompts.pixels(), noise_step=self.noise_step, seed=self.seed)
        return [SecondStream(prompts, prompt_length=prompt_length, pixels=pixels)]

    def combine(self, scores: torch.Tensor, references: list[torch.Tensor], step: int) -> torch.Tensor:
        """The contrast with the noisy images."""
        return contrast(scores, references[0], strength=self.strength, cutoff=self.cutoff)


def signal_share(noise_step: int, /) -> float:
    r"""$\bar\alpha_T = \prod_{t \le T} (1 - \beta_t)$ with $\beta$ from 1e-5 to 5e-3 along a logistic curve.

    Parameters
    ----------
    noise_step : int
        $T$, from 0 to 999.

    Returns
    -------
    float
        In (0, 1): the share of the image's variance that is left.

    Examples
    --------
    >>> round(signal_share(0), 6), round(signal_share(999), 3)
    (0.999978, 0.081)
    """
    betas = 1 / (1 + np.exp(-np.linspace(-6, 6, DIFFUSION_STEPS))) * (0.5e-2 - 1e-5) + 1e-5
    return float(np.prod(1 - betas[: noise_step + 1]))


def noisy(pixels: dict[str, Any], /, *, noise_step: int, seed: int) -> dict[str, Any]:
    """Pixel inputs with Gaussian noise on the normalised pixels, the same for every image of a size.

    Parameters
    ----------
    pixels : dict
        Model inputs of images.
    noise_step : int
        From 0 to 999; see `signal_share`.
    seed : int

    Returns
    -------
    dict
        With other `pixel_values`.
    """
    import torch

    values, left = pixels["pixel_values"], signal_share(noise_step)
    grids = pixels.get("image_grid_thw")  # flat patches of all images, in families that have them
    parts = [1] * len(values) if grids is None else grids.prod(-1).tolist()
    noise = [np.random.default_rng(seed).standard_normal((part, *values.shape[1:]), np.float32) for part in parts]
    added = torch.from_numpy(np.concatenate(noise)).to(values)
    if values.ndim == 5:  # a black image fills up a row with fewer images; the model recognises it by its zeros
        added = added * values.flatten(2).any(-1)[..., None, None, None]
    return {**pixels, "pixel_values": math.sqrt(left) * values + math.sqrt(1 - left) * added}
