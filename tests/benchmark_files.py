"""Small MME, POPE and LLaVA-Bench as questions and as files, and the command line that reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pmtools.evaluation.questions import Question

SUFFIX = " Please answer yes or no."  # of MME's release
LLAVA_SUFFIX = "\nAnswer the question using a single word or phrase."  # of LLaVA's files


def write_lines(path: Path, rows) -> Path:
    """A file of JSON lines; strings are written as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def mme_pair(image: str, category: str = "existence", labels=("yes", "no")) -> list[Question]:
    """The two questions of a picture."""
    return [Question(image, image, f"Is {k} in {image}?{SUFFIX}", category, label) for k, label in enumerate(labels)]


def question_rows(questions) -> list[dict]:
    """Lines of a file of questions, without labels."""
    keep = ("question_id", "image", "text", "category")
    return [{name: getattr(question, name) for name in keep} for question in questions]


def mme_release(root: Path, *, apart: bool) -> Path:
    """A release with one category in either layout; the first question is no, so that the order rule would be wrong."""
    category = root / ("scene" if apart else "OCR")
    texts, images = (category / "questions_answers_YN", category / "images") if apart else (category, category)
    texts.mkdir(parents=True)
    images.mkdir(exist_ok=True)
    (texts / "0001.txt").write_text(f"Is it red?{SUFFIX}\tNo\r\nIs it blue? {SUFFIX}\tYes\t\r\n\r\n", encoding="utf-8")
    (images / "0001.png").write_bytes(b"")
    return root


def pope_questions(labels: str, *, per_image: int = 6) -> list[Question]:
    """Questions from a string such as "yyn"."""
    return [
        Question(str(k), f"{k // per_image}.jpg", f"Is there a {k} in the image?", label={"y": "yes", "n": "no"}[label])
        for k, label in enumerate(labels, 1)
    ]


def llava_bench_release(folder: Path) -> Path:
    """Two questions in the wild, their files in different orders."""
    folder.mkdir(exist_ok=True)
    write_lines(
        folder / "questions.jsonl",
        [
            {"question_id": 0, "image": "001.jpg", "text": "What is it?", "category": "conv"},
            {"question_id": 1, "image": "002.jpg", "text": "Describe it.", "category": "detail"},
        ],
    )
    write_lines(
        folder / "context.jsonl",
        [
            {"id": "002", "image": "002.jpg", "caption": "A lake."},
            {"id": "001", "image": "001.jpg", "caption": "A hat."},
        ],
    )
    write_lines(
        folder / "answers_gpt4.jsonl",
        [{"question_id": 1, "text": "Water."}, {"question_id": 0, "text": "Headgear.", "answer_id": "x"}],
    )
    return folder


def run(*arguments: object, code: int = 0, **environment: str):
    """What `pmtools` does with these arguments."""
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from pmtools.cli.application import app

    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "80", **environment})
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result
