"""The models that lmms-eval's `--model pmtools_hf` loads: any transformers model with any method of `METHODS`.

Written for lmms-eval 0.7.3, whose model interface is `lmms_eval.api.model.lmms`. This file knows no task.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from loguru import logger

from pmtools import _checks
from pmtools.adapters.pixels import as_pil
from pmtools.answers import FORMATS
from pmtools.answers.undoing import UNITS
from pmtools.api.decoded import undone_answers
from pmtools.decoding import METHODS, Greedy

if TYPE_CHECKING:
    import torch
    from lmms_eval.api.instance import Instance

__all__ = ["ChatModel", "SimpleModel"]

#: The mark of an image in a task's text, which differs from the model's own token.
IMAGE_MARK = "<image>"
#: Longest answer if the task does not set it.
MAX_NEW_TOKENS = 1024
_PASSED_ON = ("num_beams", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "min_new_tokens")
_SAMPLING = ("temperature", "top_p", "top_k")


@dataclass(frozen=True)
class _Prompt:
    """A request's text, with the model's image tokens in it, and its images."""

    text: str
    images: list[Any]


@dataclass
class _Seen(TokenCounts):  # type: ignore[misc]
    """What lmms-eval logs of a question beside its answer: tokens of the prompt, and a digest of its pictures."""

    picture: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "picture": self.picture}


class _Model(lmms):  # type: ignore[misc]
    """The base of both classes, which differ in the form of a request."""

    def __init__(
        self,
        pretrained: str,
        *,
        method: str = "pm",
        device: str | None = None,
        dtype: str = "auto",
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        max_pixels: int | None = None,
        answer_format: str | None = None,
        answer_units: str = "same",
        **options: Any,
    ) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        super().__init__()
        _checks.choice(method, "method", METHODS)
        if answer_format is not None:
            _checks.choice(answer_format, "answer_format", FORMATS)
        self.answer_format, self.answer_units = answer_format, _checks.choice(answer_units, "answer_units", UNITS)
        if answer_format is None and answer_units != "same":
            raise ValueError(
                f"`answer_units` needs `answer_format`, which says what the numbers are, got {answer_units!r}"
            )
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise ValueError(f"`batch_size` must be an integer >= 1, got {batch_size!r}; there is no automatic one")
        self.batch_size = int(batch_size)
        own_device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device or own_device)
        processor = AutoProcessor.from_pretrained(pretrained)
        if processor.tokenizer.pad_token is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token
        self.decoder = METHODS[method](Greedy(processor).processor.within(max_pixels), **options)
        self.processor = self.decoder.processor
        model = AutoModelForImageTextToText.from_pretrained(pretrained, dtype=dtype)
        self.model = model.to(self.device).eval()
        self._unused: set[str] = set()  # generation options that were already named in a warning

    # --- what the harness calls ---------------------------------------------------------------------------------------

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Answers, in the order of the requests; those with the same options are answered in batches.

        With each come the tokens of its prompt, those of the images included, and a digest of its pictures, which tells the
        questions about one picture from others; lmms-eval logs both as `token_counts`.
        """
        from tqdm import tqdm  # type: ignore[import-untyped]

        found = [self._read(request.args) for request in requests]
        answers = [GenerationResult("")] * len(found)
        with tqdm(total=len(found), disable=self.rank != 0, desc="pmtools") as bar:
            for rows in self._batches(found):
                prompts, options = [found[row][0]() for row in rows], self._generation(found[rows[0]][1])
                texts, counts = self._answer(prompts, **options)
                for row, prompt, text, count in zip(rows, prompts, self._undone(texts, prompts), counts, strict=True):
                    answers[row] = GenerationResult(text, _Seen(input_tokens=count, picture=_digest(prompt.images)))
                bar.update(len(rows))
        return answers

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """The mean negative log-likelihood per token of each continuation, and whether it is the greedy one.

        The harness calls it a likelihood but takes the choice with the least, since its own models return a loss; so
        this is a loss. Tokens have the method's probabilities; the loss is infinite if the method excludes one.
        """
        losses = []
        for request in requests:
            context, continuation, doc_to_visual, doc_id, task, split = request.args
            doc = self.task_dict[task][split][doc_id]
            if callable(continuation):
                continuation = continuation(doc)
            prompt = self._prompt([_user_turn(context, doc_to_visual(doc))])
            tokens = self.processor.tokenizer(str(continuation), add_special_tokens=False)["input_ids"]
            forced = _Forced(tokens)
            if tokens:
                self._answer([prompt], logits_processor=[forced], max_new_tokens=len(tokens), do_sample=False)
            losses.append(forced.loss())
        return losses

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Not supported: no method here looks at an image again between rounds."""
        raise NotImplementedError(
            "pmtools answers in one round; choose tasks of type generate_until or multiple_choice"
        )

    # --- requests -----------------------------------------------------------------------------------------------------

    def _read(self, arguments: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
        """A function that makes the prompt, so that images are opened batch by batch; and the generation options."""
        raise NotImplementedError

    def _batches(self, found: Sequence[tuple[Any, dict[str, Any]]]) -> Iterator[list[int]]:
        """Rows that can be answered together."""
        alike: dict[str, list[int]] = {}
        for row, (_, options) in enumerate(found):
            alike.setdefault(json.dumps(options, sort_keys=True, default=str), []).append(row)
        for rows in alike.values():
            for start in range(0, len(rows), self.batch_size):
                yield rows[start : start + self.batch_size]

    def _prompt(self, messages: Sequence[Mapping[str, Any]]) -> _Prompt:
        """Messages in transformers' form as a prompt: a chat if the processor has a template, otherwise image tokens and text."""
        contents = [part for message in messages for part in message["content"]]
        other = next((part["type"] for part in contents if part["type"] not in ("image", "text")), None)
        if other is not None:
            raise ValueError(f"`tasks` must ask about images or text for pmtools, got {other}; choose other tasks")
        images = [part["image"] for part in contents if part["type"] == "image"]
        if getattr(self.processor, "chat_template", None):
            plain = [
                {**message, "content": [_without_image(part) for part in message["content"]]} for message in messages
            ]
            text = self.processor.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
            return _Prompt(str(text), images)
        mark = getattr(self.processor, "image_token", IMAGE_MARK)
        return _Prompt("\n".join(mark if part["type"] == "image" else part["text"] for part in contents), images)

    def _generation(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Options of `generate` from a task's `generation_kwargs`; the temperature turns sampling on, as in lmms-eval."""
        known = {"max_new_tokens", "until", "do_sample", *_PASSED_ON, *_SAMPLING}
        unused = set(asked) - known - self._unused
        if unused:
            self._unused |= unused
            logger.warning(f"pmtools does not use the generation_kwargs {', '.join(sorted(unused))}")
        given = {name: value for name, value in asked.items() if value is not None}
        options = {name: given[name] for name in _PASSED_ON if name in given}
        options["max_new_tokens"] = given.get("max_new_tokens", MAX_NEW_TOKENS)
        temperature = given.get("temperature", float(given.get("do_sample", False)))
        options["do_sample"] = temperature > 0
        for (
            name
        ) in _SAMPLING:  # None removes the model's own from greedy decoding, where transformers would warn about them
            options[name] = given.get(name) if temperature > 0 else None
        until = given.get("until", [])
        stops = [text for text in ([until] if isinstance(until, str) else until) if text]
        return {**options, "stop_strings": stops}

    # --- answers ------------------------------------------------------------------------------------------------------

    def _answer(
        self, prompts: Sequence[_Prompt], *, stop_strings: Sequence[str] = (), **options: Any
    ) -> tuple[list[str], list[int]]:
        """Answers cut at the first of the strings, and the tokens of each prompt; without an image, by plain decoding."""
        images, texts = [prompt.images for prompt in prompts], [prompt.text for prompt in prompts]
        inputs = self.processor(images=images, text=texts, return_tensors="pt", padding=True).to(self.device)
        stops = {"stop_strings": list(stop_strings)} if stop_strings else {}
        output = self.decoder.generate_ids(self.model, **inputs, **stops, **options)
        new = output[:, inputs["input_ids"].shape[1] :]
        replies = [text.strip() for text in self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)]
        cut = [min((reply.split(stop)[0] for stop in stop_strings), key=len, default=reply) for reply in replies]
        return cut, inputs["attention_mask"].sum(1).tolist()

    def _undone(self, answers: list[str], prompts: Sequence[_Prompt]) -> list[str]:
        """The same of the original images, in the wanted units, where the format of places is known."""
        if self.answer_format is None:
            return answers
        sizes = [as_pil(prompt.images[-1]).size[::-1] if prompt.images else None for prompt in prompts]
        return [
            one.text
            for one in undone_answers(
                answers,
                self.decoder.last,
                self.processor,
                format=self.answer_format,
                units=self.answer_units,
                source_hws=sizes,
            )
        ]


class SimpleModel(_Model):
    """For tasks that give a text and images, and for multiple choice: `--force_simple`.

    Parameters
    ----------
    pretrained : str
        Folder or hub name of a transformers model for images and text.
    method : str, optional
        A key of `pmtools.decoding.METHODS`.
    device : str, optional
        Default: the GPU of this process where there is one, else the CPU.
    dtype : str, optional
        "auto": as the weights are stored. Or the name of a torch type.
    batch_size : int, optional
        Questions that are answered together; methods that look at an image more than once need more memory.
    max_batch_size : int, optional
        Not used; the harness passes it.
    max_pixels : int, optional
        Most pixels of an image that the processor gives the model, for every method; magnified images are made of the original
        and get no more. For families that resize to any size or cut into tiles; others refuse it.
    answer_format : str, optional
        How the model writes places, a name in `pmtools.answers.FORMATS`: answers come of the original images. Needs
        `refresh=first` with `pm`.
    answer_units : {"same", "pixels", "fractions"}, optional
        What those places count then, for every method: "fractions" for the ScreenSpot tasks.
    **options
        Of the method: `gain=15`.

    Raises
    ------
    TypeError, ValueError
        If the method does not exist or has no such option; when asked, if the task shows something other than images.
    """

    is_simple = True

    def _read(self, arguments: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
        context, options, doc_to_visual, doc_id, task, split = arguments

        def prompt() -> _Prompt:
            return self._prompt([_user_turn(context, doc_to_visual(self.task_dict[task][split][doc_id]))])

        return prompt, options


class ChatModel(_Model):
    """For tasks that give messages; the harness also turns all others into messages. Parameters as for `SimpleModel`.

    Parameters
    ----------
    pretrained, method, device, dtype, batch_size, max_batch_size, max_pixels, answer_format, answer_units, **options
        As for `SimpleModel`.

    Raises
    ------
    TypeError, ValueError
        As for `SimpleModel`.
    """

    is_simple = False

    def _read(self, arguments: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
        from lmms_eval.protocol import ChatMessages

        _, doc_to_messages, options, doc_id, task, split = arguments

        def prompt() -> _Prompt:
            messages = ChatMessages(messages=doc_to_messages(self.task_dict[task][split][doc_id]))
            return self._prompt(messages.to_hf_messages())

        return prompt, options


def _user_turn(context: str, visuals: Sequence[Any] | None) -> dict[str, Any]:
    """A message of a text and its images: at their marks in the text if the numbers agree, otherwise before it."""
    kinds: dict[type, str] = {str: "video", dict: "audio"}  # the form in which tasks give these
    images = [{"type": kinds.get(type(visual), "image"), "image": visual} for visual in visuals or []]
    texts = context.split(IMAGE_MARK)
    if not images or len(texts) != len(images) + 1:
        return {"role": "user", "content": [*images, {"type": "text", "text": context}]}
    content: list[dict[str, Any]] = [{"type": "text", "text": texts[0]}]
    for image, text in zip(images, texts[1:], strict=True):
        content += [image, {"type": "text", "text": text}]
    return {"role": "user", "content": [part for part in content if part.get("text") != ""]}


def _without_image(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a message for a chat template, which needs to know that there is an image, not which one."""
    return {"type": "image"} if part["type"] == "image" else dict(part)


def _digest(images: Sequence[Any]) -> str:
    """The same for the same pictures, whatever they are asked."""
    digest = hashlib.sha256()
    for image in map(as_pil, images):
        digest.update(f"{image.size}".encode() + image.tobytes())
    return digest.hexdigest()[:16]


class _Forced:
    """A logits processor that writes a given continuation and adds up its loss."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)
        self.costs: list[float] = []
        self.greedy = True

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        token = self.tokens[len(self.costs)]
        self.costs.append(-float(scores[0].float().log_softmax(-1)[token]))
        self.greedy = self.greedy and int(scores[0].argmax()) == token
        return torch.full_like(scores, -math.inf).index_fill(1, torch.tensor([token], device=scores.device), 0.0)

    def loss(self) -> tuple[float, bool]:
        """The mean loss per token, and whether every token was the likeliest."""
        return sum(self.costs) / max(len(self.costs), 1), self.greedy
