"""LLaVA-Bench's questions from local files, with the information for the judge.

Nothing is downloaded. Questions come back in the order of the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmtools.evaluation.json_lines import PathLike, Record, RecordError, read_records
from pmtools.evaluation.picture_files import COCO
from pmtools.evaluation.questions import Question, image_stem, read_question

__all__ = ["OpenQuestion", "read_llava_bench"]

# questions, contexts, references
_IN_THE_WILD = ("questions.jsonl", "context.jsonl", "answers_gpt4.jsonl")
_OF_COCO = ("qa90_questions.jsonl", "caps_boxes_coco2014_val_80.jsonl", "qa90_gpt4_answer.jsonl")


@dataclass(frozen=True)
class OpenQuestion:
    """A question of LLaVA-Bench, with the information for the judge.

    Attributes
    ----------
    question : Question
    context : str
        Captions of the picture, and its objects with boxes if the release has them.
    reference : str
        The answer that the model's answer is compared with.
    role, prompt : str or None
        The judge's instructions from the release's `rule.json`; None without that file.
    """

    question: Question
    context: str
    reference: str
    role: str | None = None
    prompt: str | None = None


def read_llava_bench(folder: PathLike, /) -> list[OpenQuestion]:
    """LLaVA-Bench as published, in the wild or COCO.

    In the wild: `questions.jsonl`, `context.jsonl`, `answers_gpt4.jsonl`. COCO: `qa90_questions.jsonl`,
    `caps_boxes_coco2014_val_80.jsonl`, `qa90_gpt4_answer.jsonl`. Put LLaVA's `rule.json` beside them to ask the judge
    in the published words.

    Parameters
    ----------
    folder : path

    Returns
    -------
    list of OpenQuestion

    Raises
    ------
    RecordError
        If a file is missing or malformed, or a question has no context or reference.
    """
    root = Path(folder)
    wild = (root / "questions.jsonl").exists()
    names = _IN_THE_WILD if wild else _OF_COCO
    absent = [name for name in names if not (root / name).is_file()]
    if absent:
        kind = "in the wild" if wild else "COCO; questions.jsonl, in the wild, is not there either"
        raise RecordError(f"{folder}: has no {' and no '.join(absent)} of LLaVA-Bench ({kind})")
    asked, described, answered = (read_records(root / name) for name in names)
    contexts = {image_stem(record.text("image")).removeprefix(COCO): _context(record) for record in described}
    references = {record.identifier("question_id"): record.text("text") for record in answered}
    rules = _read_rules(root / "rule.json")
    found = []
    asked_ids: set[str] = set()
    for record in asked:
        question = read_question(record, category=record.text("category"))
        if question.question_id is None or question.question_id in asked_ids:
            raise record.error("`question_id` must be present and unique")
        asked_ids.add(question.question_id)
        stem = image_stem(question.image).removeprefix(COCO)
        if stem not in contexts or question.question_id not in references:
            lack = names[1] if stem not in contexts else names[2]
            raise record.error(f"{lack} has nothing for the question {question.question_id} about {question.image}")
        rule = rules.get("llava_bench_" + question.category if wild else question.category, {})
        reference = references[question.question_id]
        found.append(OpenQuestion(question, contexts[stem], reference, rule.get("role"), rule.get("prompt")))
    return found


def _context(record: Record) -> str:
    """Captions, one per line, and the objects in the picture with their boxes."""
    captions = record.fields.get("captions", record.fields.get("caption"))
    lines = [captions] if isinstance(captions, str) else captions
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise record.error("`caption` or `captions` must be a string or a list of strings")
    boxes = record.fields.get("instances", [])
    if not isinstance(boxes, list) or not all(
        isinstance(box, dict) and {"category", "bbox"} <= set(box) for box in boxes
    ):
        raise record.error("`instances` must be a list of objects with `category` and `bbox`")
    objects = "\n".join(f"{box['category']}: {box['bbox']}" for box in boxes)
    return "\n".join(lines) + (f"\n\n{objects}" if objects else "")


def _read_rules(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    try:
        rules: Any = json.loads(path.read_text(encoding="utf-8-sig"))
        return {name: {"role": str(rule["role"]), "prompt": str(rule["prompt"])} for name, rule in rules.items()}
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise RecordError(f"{path}: must hold, for each category, an object with `role` and `prompt`") from None
