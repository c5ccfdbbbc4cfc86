"""Where the model says that one must look: asked for a box on a small overview before it answers.

What `pmtools.api.ask(boxes="ask")` does with a model behind an API, for one that runs here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from pmtools import _checks, frames, heatmaps
from pmtools.adapters.heatmaps._by_question import by_question
from pmtools.adapters.heatmaps.relative import general_prompts
from pmtools.adapters.prompts import Prompts
from pmtools.adapters.undone import undone_by
from pmtools.answers import Format
from pmtools.answers.formats import named
from pmtools.answers.looking import OVERVIEW_PIXELS, fitted_hw, regions, where_to_look
from pmtools.typing import Ndarray


@dataclass(frozen=True)
class AskedHeatmap:
    """The boxes that the model itself names when it is asked where to look, as final maps; points as squares around them.

    For models that were trained to write boxes. The answer about a small overview of each image takes another call of
    `generate`. Where it names nothing, the map is constant, and magnifies nothing.

    Attributes
    ----------
    format : str or Format
        How the model writes places, a name in `pmtools.answers.FORMATS`.
    max_pixels : int, optional
        Most pixels of the overview.
    max_new_tokens : int, optional
        Longest answer about it.

    Raises
    ------
    TypeError, ValueError
        If an attribute is out of range.
    """

    format: str | Format
    max_pixels: int = OVERVIEW_PIXELS
    max_new_tokens: int = 128
    perceptual = True

    def __post_init__(self) -> None:
        multiple = named(self.format).multiple
        _checks.whole_number(self.max_pixels, "max_pixels", minimum=multiple**2)
        _checks.whole_number(self.max_new_tokens, "max_new_tokens")

    def __call__(self, prompts: Prompts, /) -> list[list[Ndarray]]:
        """Maps of the images of each prompt."""
        return by_question(partial(self.heatmap, prompts), prompts)

    def heatmap(self, prompts: Prompts, image: Any, question: str, /) -> Ndarray:
        """The map of one image.

        Parameters
        ----------
        prompts : Prompts
            Of the model that is asked.
        image : PIL image
        question : str

        Returns
        -------
        float64 array of shape (h, w)
            In [0, 1].
        """
        boxes = self.find(prompts, image, question)
        return heatmaps.from_boxes(boxes, source_hw=(image.height, image.width)) if len(boxes) else np.ones((1, 1))

    def find(self, prompts: Prompts, image: Any, question: str, /) -> Ndarray:
        """The boxes that the model names, with a margin.

        Parameters
        ----------
        prompts, image, question
            As for `heatmap`.

        Returns
        -------
        float64 array of shape (n, 4)
            In pixels, inside the image.
        """
        form, source_hw = named(self.format), (image.height, image.width)
        size_hw = fitted_hw(source_hw, max_pixels=self.max_pixels, multiple=form.multiple)
        shown = frames.resize(source_hw, size_hw)
        asked = replace(prompts, images=[[shown.image(image)]])
        answer = _answer(general_prompts(asked, where_to_look(question, format=form)), self.max_new_tokens)
        boxes = regions(undone_by(prompts.processor, answer, shown, form), source_hw)
        return boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]


def _answer(prompts: Prompts, length: int) -> str:
    """What the model answers to one prompt, with its special tokens, some of which are places."""
    ids = prompts.model.generate(
        input_ids=prompts.input_ids,
        attention_mask=prompts.attention_mask,
        **prompts.types,
        **prompts.pixels(),
        max_new_tokens=length,
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        return_dict_in_generate=False,
    )
    return str(prompts.processor.tokenizer.decode(ids[0, prompts.input_ids.shape[1] :]))
