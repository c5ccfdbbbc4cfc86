"""What other models find for the question: boxes by an open-vocabulary detector, and masks of what is in them by SAM.

This file knows nothing about the model that answers. It takes transformers' models, which are loaded when a source is made.

References
----------
- Grounding DINO, [arXiv:2303.05499](https://arxiv.org/abs/2303.05499)
- OWLv2, [arXiv:2306.09683](https://arxiv.org/abs/2306.09683)
- Segment Anything, [arXiv:2304.02643](https://arxiv.org/abs/2304.02643)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pmtools import _checks, heatmaps
from pmtools.adapters.heatmaps._by_question import by_question, loaded
from pmtools.adapters.image_inputs import input_device
from pmtools.adapters.prompts import Prompts
from pmtools.typing import Ndarray


def question_as_phrase(question: str, /) -> list[str]:
    """The question without its marks, as one phrase: what a detector looks for where nobody says it better.

    Parameters
    ----------
    question : str

    Returns
    -------
    list of str

    Examples
    --------
    >>> question_as_phrase("Is the kite red?")
    ['is the kite red']
    """
    return [question.strip().rstrip("?.! ").lower()]


@dataclass(frozen=True)
class DetectorHeatmap:
    """Boxes that an open-vocabulary detector finds, as final maps: the score of a box over the best one's.

    Where nothing is found, the map is constant, and magnifies nothing.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        Of `AutoModelForZeroShotObjectDetection`: Grounding DINO, OWLv2, OWL-ViT.
    processor : transformers processor
        Of that model.
    phrases : callable, optional
        What to look for, from the question: returns a list of phrases. Short names of things ("a kite") are what detectors
        were trained with; default: the question as it is, `question_as_phrase`.
    threshold : float, optional
        Least score of a box, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If `threshold` is out of range; when called, if `phrases` returns no list of phrases.

    References
    ----------
    - Grounding DINO, [arXiv:2303.05499](https://arxiv.org/abs/2303.05499)
    - OWLv2, [arXiv:2306.09683](https://arxiv.org/abs/2306.09683)
    """

    model: Any
    processor: Any
    phrases: Callable[[str], Sequence[str]] = question_as_phrase
    threshold: float = 0.2
    perceptual = True

    def __post_init__(self) -> None:
        _checks.real_number(self.threshold, "threshold", minimum=0.0, maximum=1.0)

    @classmethod
    def from_pretrained(cls, name: str, /, *, device: str | None = None, **options: Any) -> DetectorHeatmap:
        """A published detector, such as `IDEA-Research/grounding-dino-tiny` or `google/owlv2-base-patch16-ensemble`.

        Parameters
        ----------
        name : str
            Folder or hub name.
        device : str, optional
            Default: a GPU where there is one.
        **options
            `phrases`, `threshold`.

        Returns
        -------
        DetectorHeatmap
        """
        from transformers import AutoModelForZeroShotObjectDetection

        return cls(*loaded(AutoModelForZeroShotObjectDetection, name, device), **options)

    def __call__(self, prompts: Prompts, /) -> list[list[Ndarray]]:
        """Maps of the images of each prompt."""
        return by_question(self.heatmap, prompts)

    def heatmap(self, image: Any, question: str, /) -> Ndarray:
        """The map of one image.

        Parameters
        ----------
        image : PIL image
        question : str

        Returns
        -------
        float64 array of shape (h, w)
            In [0, 1].
        """
        boxes, scores = self.find(image, question)
        size_hw = (image.height, image.width)
        return _strongest([heatmaps.from_boxes(box, source_hw=size_hw) for box in boxes], scores)

    def find(self, image: Any, question: str, /) -> tuple[Ndarray, Ndarray]:
        """The boxes of one image, and their scores.

        Parameters
        ----------
        image : PIL image
        question : str

        Returns
        -------
        boxes_xyxy : float64 array of shape (n, 4)
            In pixels, inside the image.
        scores : float64 array of shape (n,)
            In [0, 1].

        Raises
        ------
        ValueError
            If `phrases` returns something other than a list of phrases.
        """
        import torch

        phrases = self.phrases(question)
        if isinstance(phrases, str) or not phrases or not all(isinstance(each, str) and each for each in phrases):
            raise ValueError(f"`phrases` must return a list of phrases, got {phrases!r}; for example ['a kite']")
        device = input_device(self.model)
        inputs = self.processor(images=image, text=[list(phrases)], return_tensors="pt", truncation=True).to(device)
        with torch.no_grad():
            output = self.model(**inputs)
        ids = {"input_ids": inputs["input_ids"]} if "grounding" in self.model.config.model_type else {}
        found = self.processor.post_process_grounded_object_detection(
            output, **ids, threshold=self.threshold, target_sizes=[(image.height, image.width)]
        )[0]
        boxes, scores = (found[name].double().cpu().numpy() for name in ("boxes", "scores"))
        boxes = boxes.clip(0, np.array([image.width, image.height] * 2, float))
        seen = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return boxes[seen], scores[seen]


@dataclass(frozen=True)
class MaskHeatmap:
    """Masks by SAM of what a detector finds, as final maps: the score of a mask's box over the best one's.

    Attributes
    ----------
    detector : DetectorHeatmap
    model : transformers.SamModel
    processor : transformers.SamProcessor

    References
    ----------
    - Segment Anything, [arXiv:2304.02643](https://arxiv.org/abs/2304.02643)
    """

    detector: DetectorHeatmap
    model: Any
    processor: Any
    perceptual = True

    @classmethod
    def from_pretrained(cls, name: str, /, *, detector: DetectorHeatmap, device: str | None = None) -> MaskHeatmap:
        """A published SAM, such as `facebook/sam-vit-base`.

        Parameters
        ----------
        name : str
            Folder or hub name.
        detector : DetectorHeatmap
        device : str, optional
            Default: a GPU where there is one.

        Returns
        -------
        MaskHeatmap
        """
        from transformers import SamModel

        return cls(detector, *loaded(SamModel, name, device))

    def __call__(self, prompts: Prompts, /) -> list[list[Ndarray]]:
        """Maps of the images of each prompt."""
        return by_question(self.heatmap, prompts)

    def heatmap(self, image: Any, question: str, /) -> Ndarray:
        """The map of one image.

        Parameters
        ----------
        image : PIL image
        question : str

        Returns
        -------
        float64 array of shape (h, w)
            In [0, 1].
        """
        boxes, scores = self.detector.find(image, question)
        found = [heatmaps.from_mask(mask) for mask in self.masks(image, boxes)] if len(boxes) else []
        return _strongest(found, scores)

    def masks(self, image: Any, boxes_xyxy: Ndarray, /) -> Ndarray:
        """A mask for each box of one image.

        Parameters
        ----------
        image : PIL image
        boxes_xyxy : array of shape (n, 4)
            In pixels; at least one.

        Returns
        -------
        bool array of shape (n, H, W)
        """
        import torch

        inputs = self.processor(images=image, input_boxes=[np.asarray(boxes_xyxy).tolist()], return_tensors="pt")
        sizes = {name: inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes")}
        # SAM has no float64; boxes come as that
        given = {name: value.to(input_device(self.model), torch.float32) for name, value in inputs.items()}
        with torch.no_grad():
            output = self.model(**given, multimask_output=False)
        found = self.processor.post_process_masks(output.pred_masks.cpu(), **sizes)[0]
        masks: Ndarray = found[:, 0].numpy()
        return masks


def _strongest(maps: Sequence[Ndarray], scores: Ndarray) -> Ndarray:
    """The greatest of maps in [0, 1], each times its score over the best; ones where there is nothing."""
    if not len(maps):
        return np.ones((1, 1))
    found: Ndarray = np.max([each * score for each, score in zip(maps, scores / scores.max(), strict=True)], axis=0)
    return found if found.any() else np.ones((1, 1))
