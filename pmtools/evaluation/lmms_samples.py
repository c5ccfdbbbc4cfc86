"""What lmms-eval writes with `--log_samples`, as scores of questions and the pictures that they are about.

Pictures are told apart by the digests that the model `pmtools_hf` adds. Knows the forms of lmms-eval 0.7.3; a task only where
its metrics hold no number.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmtools.evaluation.json_lines import Record, RecordError, read_records
from pmtools.evaluation.mme import picture_points
from pmtools.evaluation.overlap import iou
from pmtools.evaluation.statistics import Paired, paired_difference

__all__ = ["TaskScores", "compare_scores", "read_samples", "score_samples"]

_FILE = re.compile(r".+_samples_(?P<task>.+)\.jsonl")
#: What is no metric.
_ABOUT = {"doc_id", "target", "resps", "filtered_resps", "token_counts", "doc_hash", "input", "input_media", "doc"}
#: Under what name a metric that is an object has its number.
_NUMBERS = ("score", "gpt_score", "correct")
_MME = ("mme_perception_score", "mme_cognition_score")


@dataclass(frozen=True)
class TaskScores:
    """The scores of one method on one task.

    Attributes
    ----------
    values : dict of str to float
        By question; for MME by picture, whose mean is the sum of the categories' scores.
    pictures : dict of str to str
        A digest of each one's picture.
    tokens : float
        Of the prompts, images included; their mean.
    """

    values: Mapping[str, float]
    pictures: Mapping[str, str]
    tokens: float

    @property
    def mean(self) -> float:
        """The score of the task."""
        return sum(self.values.values()) / len(self.values)


def read_samples(folder: str | Path, /) -> dict[str, list[Record]]:
    """The samples of a run, by task, in the order of the questions.

    Of a question in several files, as of runs in parts, the latest counts.

    Parameters
    ----------
    folder : str or Path
        lmms-eval's `--output_path`, or a folder above.

    Returns
    -------
    dict of str to list of Record

    Raises
    ------
    RecordError
        If there are none, or a line is not one of lmms-eval's.
    """
    found: dict[str, dict[int, Record]] = defaultdict(dict)
    for path in sorted(Path(folder).rglob("*_samples_*.jsonl"), key=lambda path: path.name):
        if match := _FILE.fullmatch(path.name):
            for record in read_records(path):
                if type(number := record.fields.get("doc_id")) is not int:
                    raise record.error(f"`doc_id` must be an integer, got {number!r}; lmms-eval writes one per line")
                found[match["task"]][number] = record
    if not found:
        raise RecordError(f"{folder}: there are no samples of lmms-eval; run it with --output_path and --log_samples")
    return {task: [rows[number] for number in sorted(rows)] for task, rows in sorted(found.items())}


def score_samples(samples: Sequence[Record], /, *, metric: str | None = None) -> dict[str, TaskScores]:
    """The scores of a task's samples, by metric.

    Parameters
    ----------
    samples : sequence of Record
        Of one task, from `read_samples`.
    metric : str, optional
        Its name in the samples. Default: the first that is a number for every question; for MME perception and cognition.

    Returns
    -------
    dict of str to TaskScores

    Raises
    ------
    RecordError
        If no metric is a number, or the pictures are unknown.
    """
    known = {sample.fields["doc_id"]: _numbers(sample.fields) for sample in samples}
    names = list(dict.fromkeys(name for numbers in known.values() for name in numbers))
    everywhere = [name for name in names if all(name in numbers for numbers in known.values())]
    if metric is not None:
        chosen = [name for name in names if name == metric]
    else:
        chosen = [name for name in names if name in _MME] or everywhere[:1]
    if not chosen:
        asked = "no metric is a number for every question" if metric is None else f"there are no numbers of {metric!r}"
        raise samples[0].error(f"{asked}; there are {', '.join(names) or 'none'}")
    return {
        name: (_mme if name in _MME else _each)(
            [each for each in samples if name in known[each.fields["doc_id"]]], name
        )
        for name in chosen
    }


def compare_scores(first: TaskScores, second: TaskScores, /, *, seed: int = 0) -> Paired:
    """The paired difference of two runs on the same questions, whole pictures at a time.

    Parameters
    ----------
    first, second : TaskScores
    seed : int, optional

    Returns
    -------
    Paired

    Raises
    ------
    RecordError
        If they are not about the same questions and pictures.
    """
    if first.pictures != second.pictures:
        common = sum(second.pictures.get(key) == picture for key, picture in first.pictures.items())
        raise RecordError(
            f"the runs must be about the same questions and pictures, got {len(first.pictures)} and {len(second.pictures)}, of "
            f"which {common} agree; run both with the same --limit, --offset and version of the data"
        )
    keys = list(first.values)
    return paired_difference(
        [first.values[key] for key in keys],
        [second.values[key] for key in keys],
        [first.pictures[key] for key in keys],
        seed=seed,
    )


def _each(samples: Sequence[Record], metric: str) -> TaskScores:
    """A score per question."""
    values = {f"{sample.fields['doc_id']}": _numbers(sample.fields)[metric] for sample in samples}
    pictures = {f"{sample.fields['doc_id']}": _seen(sample)["picture"] for sample in samples}
    return TaskScores(values, pictures, _mean(_seen(sample)["input_tokens"] for sample in samples))


def _mme(samples: Sequence[Record], metric: str) -> TaskScores:
    """Points per picture, of its two questions."""
    pairs: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        about = sample.fields[metric]
        pairs[about["category"]][about["question_id"]].append(sample)
    for pictures in pairs.values():
        for name, asked in pictures.items():
            if len(asked) != 2:
                raise asked[0].error(
                    f"MME asks two questions per picture, got {len(asked)} about {name!r}; run all of it"
                )
    rights = {
        category: [(bool(a.fields[metric]["score"]), bool(b.fields[metric]["score"])) for a, b in pictures.values()]
        for category, pictures in pairs.items()
    }
    names = [(f"{category}/{name}", asked) for category, pictures in pairs.items() for name, asked in pictures.items()]
    return TaskScores(
        {name: points for (name, _), points in zip(names, picture_points(rights), strict=True)},
        {name: _seen(asked[0])["picture"] for name, asked in names},
        _mean(_seen(sample)["input_tokens"] for sample in samples),
    )


def _numbers(fields: Mapping[str, Any]) -> dict[str, float]:
    """Every metric that is a number, or has one."""
    found = {name: _number(name, value) for name, value in fields.items() if name not in _ABOUT}
    return {name: number for name, number in found.items() if number is not None}


def _number(metric: str, value: Any) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, Mapping):
        return None
    if {"pred", "bbox"} <= value.keys():
        return _overlap(metric.rpartition("_")[2], value["bbox"], value["pred"])
    return next((float(value[name]) for name in _NUMBERS if isinstance(value.get(name), int | float)), None)


def _overlap(rule: str, true: Sequence[float], answer: Sequence[float]) -> float:
    """How well a box answers, by the rules of the tasks that ask for one: IoU, ACC@0.5 and so on, or its centre inside (ACC)."""
    if rule == "ACC":
        return float(all(true[i] <= (answer[i] + answer[i + 2]) / 2 <= true[i + 2] for i in range(2)))
    shared = iou(np.array(true, float), np.array(answer, float))
    return float(shared >= float(rule.removeprefix("ACC@"))) if rule.startswith("ACC@") else shared


def _seen(sample: Record) -> Mapping[str, Any]:
    """What `pmtools_hf` logged beside the answer."""
    counts = sample.fields.get("token_counts")
    seen = counts[0] if isinstance(counts, list) and counts else None
    if not isinstance(seen, Mapping) or not seen.get("picture"):
        raise sample.error(
            "`token_counts` does not say which picture the question is about; run lmms-eval with --model pmtools_hf, and without "
            "--use_cache"
        )
    return seen


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
