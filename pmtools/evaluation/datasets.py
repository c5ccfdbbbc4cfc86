"""Readers of the published benchmarks, from a local folder: MME, POPE, LLaVA-Bench; `pictures` finds what they ask about.

Nothing is downloaded. Questions come back in the order of the files, with labels where the files have them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pmtools import io
from pmtools.evaluation.matching import Question, image_stem, normalize_question
from pmtools.evaluation.mme import CATEGORIES, label_yes_then_no
from pmtools.evaluation.pictures import COCO, MME_RELEASE
from pmtools.evaluation.records import PathLike, Record, RecordError, read_label, read_lines, read_records

__all__ = [
    "OpenQuestion",
    "first_questions",
    "label_mme_from_folder",
    "read_llava_bench",
    "read_mme",
    "read_mme_questions",
    "read_mme_release",
    "read_mme_results",
    "read_pope",
    "read_pope_folder",
]


@dataclass(frozen=True)
class OpenQuestion:
    """A question of LLaVA-Bench, and what the judge is told.

    Attributes
    ----------
    question : Question
    context : str
        Captions of the picture, and its objects with their boxes where the release has them.
    reference : str
        The answer that the model's is compared with.
    role, prompt : str or None
        What the judge is asked, from the release's `rule.json`; None where there is none.
    """

    question: Question
    context: str
    reference: str
    role: str | None = None
    prompt: str | None = None


def read_mme(folder: PathLike, /, *, questions: PathLike | None = None) -> list[Question]:
    """MME's questions with labels, from what a folder holds.

    The release (a folder a category, here or in `MME_Benchmark_release_version`); or a file of questions, labelled by
    itself, by the release beside it, or by MME's rule of yes and no.

    Parameters
    ----------
    folder : path
    questions : path, optional
        The file of questions. Default: the release, or else the one `*.jsonl` of the folder.

    Returns
    -------
    list of Question

    Raises
    ------
    RecordError
        If there is neither, or it is malformed.
    """
    roots = [root for root in (Path(folder), Path(folder, MME_RELEASE)) if _has_categories(root)]
    if questions is None and roots:
        return read_mme_release(roots[0])
    if questions is None:
        files = sorted(Path(folder).glob("*.jsonl"))
        if len(files) != 1:
            raise RecordError(
                f"{folder}: must hold MME's release or one *.jsonl of questions, got {_names(files)}; name the file of questions"
            )
        questions = files[0]
    asked = read_mme_questions(questions)
    if asked[0].label is not None:
        return asked
    return label_mme_from_folder(asked, roots[0]) if roots else label_yes_then_no(asked)


def _has_categories(root: Path) -> bool:
    """Whether text files with questions lie in folders of MME's categories."""
    return any(any((root / name).glob("**/*.txt")) for name in CATEGORIES)


def _names(files: Sequence[Path]) -> str:
    return ", ".join(repr(path.name) for path in files) or "none"


def read_pope_folder(folder: PathLike, /, *, questions: PathLike | None = None) -> dict[str, list[Question]]:
    """POPE's files of questions in a folder, by their names without suffix: random, popular and adversarial, or one.

    Parameters
    ----------
    folder : path
        With `*pope*.json` or `.jsonl`, or such files in its folders, or one file of any other name.
    questions : path, optional
        Read this file only.

    Returns
    -------
    dict of str to list of Question

    Raises
    ------
    RecordError
        If there is no such file, or it is malformed.
    """
    root = Path(folder)
    files = [Path(questions)] if questions is not None else []
    for pattern in ("*pope*.json*", "*/*pope*.json*", "*.json*"):
        files = files or sorted(path for path in root.glob(pattern) if path.suffix in {".json", ".jsonl"})
    if not files or (len(files) > 1 and not any("pope" in path.name for path in files)):
        raise RecordError(f"{folder}: must hold *pope*.json, got {_names(files)}; name the file of questions")
    return {path.stem: read_pope(path) for path in files}


def first_questions(questions: Sequence[Question], limit: int, /, *, whole_pictures: bool = False) -> list[Question]:
    """The first questions of a benchmark.

    Parameters
    ----------
    questions : sequence of Question
    limit : int
    whole_pictures : bool, optional
        Go on until no picture has questions on both sides of the end.

    Returns
    -------
    list of Question
    """
    if not whole_pictures or limit >= len(questions):
        return list(questions[:limit])
    last = {(question.category, question.image): index for index, question in enumerate(questions)}
    end, index = limit, 0
    while index < end:
        end = max(end, last[questions[index].category, questions[index].image] + 1)
        index += 1
    return list(questions[:end])


def read_mme_questions(path: PathLike, /) -> list[Question]:
    """MME's questions from JSON lines: `question_id`, `image`, `text`, `category`, and `label` or `answer` if labelled.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of Question
        Labelled all or none; `mme.label_yes_then_no` and `label_mme_from_folder` label the others.

    Raises
    ------
    RecordError
        If a line is malformed, or only some questions have labels.
    OSError
        If the file cannot be opened.
    """
    questions = [_question(record, category=record.text("category")) for record in read_records(path)]
    bare = [question for question in questions if question.label is None]
    if bare and len(bare) < len(questions):
        raise RecordError(f"{bare[0].place}: `label` is missing, which other questions have; label all or none")
    return questions


def read_pope(path: PathLike, /) -> list[Question]:
    """POPE's questions from JSON lines, or a JSON array of them: `question_id`, `image`, `text`, `label`.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of Question
        With `category`, the split, where the file has it.

    Raises
    ------
    RecordError
        If a line is malformed.
    OSError
        If the file cannot be opened.
    """
    return [_question(record, record.optional_text("category") or "") for record in read_records(path)]


def _question(record: Record, category: str) -> Question:
    return Question(
        question_id=record.identifier("question_id"),
        image=record.text("image"),
        text=record.text("text", "question"),
        category=category,
        label=record.yes_or_no("label", "answer"),
        place=record.place,
    )


def read_mme_results(folder: PathLike, /) -> tuple[list[Question], list[str | None]]:
    """Questions, labels and replies from a folder of MME's answer files, `<category>.txt`.

    Each line is `image`, `question`, `Yes` or `No`, and the reply, with tabs between.

    Parameters
    ----------
    folder : path

    Returns
    -------
    (list of Question, list of str)

    Raises
    ------
    RecordError
        If the folder has no such file, has text files of another name, or a line is malformed.
    """
    questions, replies = [], []
    for place, category, fields in _result_lines(folder):
        if len(fields) < 4:
            raise RecordError(
                f"{place}: must be image, question, Yes or No, reply with tabs between, got {len(fields)}"
            )
        questions.append(_labelled(place, category, *fields[:3]))
        replies.append("\t".join(fields[3:]))
    return questions, list(replies)


def _result_lines(folder: PathLike) -> list[tuple[str, str, list[str]]]:
    paths = sorted(Path(folder).glob("*.txt"))
    strange = [path.name for path in paths if path.stem not in CATEGORIES]
    if strange or not paths:
        got = f"got {strange[0]!r}" if strange else "found none"
        raise RecordError(f"{folder}: the files must be <category>.txt, one of {', '.join(CATEGORIES)}; {got}")
    return [(place, path.stem, line.split("\t")) for path in paths for place, line in read_lines(path)]


def _labelled(place: str, category: str, image: str, text: str, label: str) -> Question:
    return Question(None, image, text.strip(), category, read_label(label, place), place)


def read_mme_release(folder: PathLike, /) -> list[Question]:
    """Questions and labels from MME's release: a folder a category, a text file a picture.

    In the category's folder lie `<picture>.txt` and the pictures themselves, or both in `questions_answers_YN` and
    `images`. Each line is the question, a tab, and `Yes` or `No`.

    Parameters
    ----------
    folder : path
        What holds `existence`, `count` and the others.

    Returns
    -------
    list of Question
        `image` is the path inside `folder`.

    Raises
    ------
    RecordError
        If no category is there, or a line is malformed.
    """
    root = Path(folder)
    questions = []
    for category in (name for name in CATEGORIES if (root / name).is_dir()):
        apart = (root / category / "questions_answers_YN").is_dir()
        texts = root / category / ("questions_answers_YN" if apart else "")
        pictures = root / category / ("images" if apart else "")
        names = {path.stem: path.name for path in sorted(pictures.glob("*")) if path.suffix.lower() in io.FORMATS}
        for path in sorted(texts.glob("*.txt")):
            image = (pictures.relative_to(root) / names.get(path.stem, path.stem)).as_posix()
            for place, line in read_lines(path):
                fields = line.rstrip("\t ").split("\t")
                if len(fields) != 2:
                    raise RecordError(f"{place}: must be the question, a tab, and Yes or No")
                questions.append(_labelled(place, category, image, *fields))
    if not questions:
        raise RecordError(f"{folder}: has no folder of MME's release, such as `existence` with text files in it")
    return questions


def label_mme_from_folder(questions: Sequence[Question], folder: PathLike, /) -> list[Question]:
    """Label questions from MME's release, or from a folder of `<category>.txt` with image, question and label.

    Parameters
    ----------
    questions : sequence of Question
    folder : path

    Returns
    -------
    list of Question

    Raises
    ------
    RecordError
        If the folder does not have one of the questions, has it with both labels, or with another than the question's.
    """
    if any(Path(folder).glob("*.txt")):
        lines = _result_lines(folder)
        short = next((place for place, _, fields in lines if len(fields) < 3), None)
        if short:
            raise RecordError(f"{short}: must be image, question, Yes or No with tabs between")
        known = [_labelled(place, category, *fields[:3]) for place, category, fields in lines]
    else:
        known = read_mme_release(folder)
    labels: dict[tuple[str, str, str], set[str | None]] = defaultdict(set)
    for question in known:
        labels[_mme_key(question)].add(question.label)
    found = []
    for question in questions:
        fitting = labels.get(_mme_key(question), set())
        if len(fitting) != 1:
            count = "both labels" if fitting else "no label"
            about = f"{question.text!a} about {question.image!a}"
            raise RecordError(f"{question.place}: {folder} has {count} for {about} in {question.category!a}")
        (label,) = fitting
        if question.label not in {None, label}:
            raise RecordError(f"{question.place}: the label is {question.label}, but {label} in {folder}")
        found.append(replace(question, label=label))
    return found


def _mme_key(question: Question) -> tuple[str, str, str]:
    return question.category, image_stem(question.image), normalize_question(question.text)


def read_llava_bench(folder: PathLike, /) -> list[OpenQuestion]:
    """LLaVA-Bench as published, in the wild or COCO.

    In the wild: `questions.jsonl`, `context.jsonl`, `answers_gpt4.jsonl`. COCO: `qa90_questions.jsonl`,
    `caps_boxes_coco2014_val_80.jsonl`, `qa90_gpt4_answer.jsonl`. Either with LLaVA's `rule.json` beside them, if the
    judge is to be asked in the published words.

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
    names = (
        ("questions.jsonl", "context.jsonl", "answers_gpt4.jsonl")
        if wild
        else ("qa90_questions.jsonl", "caps_boxes_coco2014_val_80.jsonl", "qa90_gpt4_answer.jsonl")
    )
    absent = [name for name in names if not (root / name).is_file()]
    if absent:
        kind = "in the wild" if wild else "COCO; questions.jsonl, in the wild, is not there either"
        raise RecordError(f"{folder}: has no {' and no '.join(absent)} of LLaVA-Bench ({kind})")
    asked, told, answered = (read_records(root / name) for name in names)
    contexts = {image_stem(record.text("image")).removeprefix(COCO): _context(record) for record in told}
    references = {record.identifier("question_id"): record.text("text") for record in answered}
    rules = _read_rules(root / "rule.json")
    found = []
    asked_ids: set[str] = set()
    for record in asked:
        question = _question(record, record.text("category"))
        if question.question_id is None or question.question_id in asked_ids:
            raise record.error("`question_id` must be there and differ from that of every other question")
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
    """Captions, a line each, and the objects in the picture with their boxes."""
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
    except (ValueError, AttributeError, KeyError, TypeError):
        raise RecordError(f"{path}: must hold, for each category, an object with `role` and `prompt`") from None
