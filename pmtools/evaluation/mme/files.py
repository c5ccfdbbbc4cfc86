"""MME's questions, labels and replies from local files: the release, a file of questions, answer files.

Nothing is downloaded. Questions come back in the order of the files, with labels where the files have them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pmtools import io
from pmtools.evaluation.json_lines import PathLike, RecordError, file_names, read_label, read_lines, read_records
from pmtools.evaluation.mme.scoring import CATEGORIES, label_yes_then_no
from pmtools.evaluation.picture_files import MME_RELEASE
from pmtools.evaluation.questions import Question, image_stem, normalize_question, read_question

__all__ = ["label_mme_from_folder", "read_mme", "read_mme_questions", "read_mme_release", "read_mme_results"]


def read_mme(folder: PathLike, /, *, questions: PathLike | None = None) -> list[Question]:
    """MME's questions with labels, from a folder.

    The folder holds the release (one folder per category, directly or in `MME_Benchmark_release_version`), or a file of
    questions with labels from itself, from the release beside it, or by MME's rule of yes and no.

    Parameters
    ----------
    folder : path
    questions : path, optional
        The file of questions. Default: the release, otherwise the only `*.jsonl` of the folder.

    Returns
    -------
    list of Question

    Raises
    ------
    RecordError
        If there is neither, or something is malformed.
    """
    roots = [root for root in (Path(folder), Path(folder, MME_RELEASE)) if _has_categories(root)]
    if questions is None and roots:
        return read_mme_release(roots[0])
    if questions is None:
        files = sorted(Path(folder).glob("*.jsonl"))
        if len(files) != 1:
            raise RecordError(
                f"{folder}: must hold MME's release or one *.jsonl of questions, got {file_names(files)}; "
                "name the file of questions"
            )
        questions = files[0]
    asked = read_mme_questions(questions)
    if asked[0].label is not None:
        return asked
    return label_mme_from_folder(asked, roots[0]) if roots else label_yes_then_no(asked)


def _has_categories(root: Path) -> bool:
    """Whether folders named by MME's categories hold text files with questions."""
    return any(any((root / name).glob("**/*.txt")) for name in CATEGORIES)


def read_mme_questions(path: PathLike, /) -> list[Question]:
    """MME's questions from JSON lines: `question_id`, `image`, `text`, `category`, and `label` or `answer` if labelled.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of Question
        Either all labelled or none; `mme.label_yes_then_no` and `label_mme_from_folder` label the latter.

    Raises
    ------
    RecordError
        If a line is malformed, or only some questions have labels.
    OSError
        If the file cannot be opened.
    """
    questions = [read_question(record, category=record.text("category")) for record in read_records(path)]
    bare = [question for question in questions if question.label is None]
    if bare and len(bare) < len(questions):
        raise RecordError(f"{bare[0].place}: `label` is missing, which other questions have; label all or none")
    return questions


def read_mme_results(folder: PathLike, /) -> tuple[list[Question], list[str | None]]:
    """Questions, labels and replies from a folder of MME's answer files, `<category>.txt`.

    Each line is `image`, `question`, `Yes` or `No`, and the reply, separated by tabs.

    Parameters
    ----------
    folder : path

    Returns
    -------
    (list of Question, list of str)

    Raises
    ------
    RecordError
        If the folder has no such file or text files with other names, or a line is malformed.
    """
    questions: list[Question] = []
    replies: list[str | None] = []
    for place, category, fields in _result_lines(folder):
        if len(fields) < 4:
            raise RecordError(
                f"{place}: must be image, question, Yes or No, reply with tabs between, got {len(fields)}"
            )
        questions.append(_labelled(place, category, *fields[:3]))
        replies.append("\t".join(fields[3:]))
    return questions, replies


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
    """Questions and labels from MME's release: a folder per category, a text file per picture.

    The category's folder holds `<picture>.txt` and the pictures themselves, directly or in `questions_answers_YN` and
    `images`. Each line is the question, a tab, and `Yes` or `No`.

    Parameters
    ----------
    folder : path
        The one that holds `existence`, `count` and the others.

    Returns
    -------
    list of Question
        `image` is the path inside `folder`.

    Raises
    ------
    RecordError
        If there is no category, or a line is malformed.
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
        If the folder lacks one of the questions, or has it with both labels or with a label other than the question's.
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
