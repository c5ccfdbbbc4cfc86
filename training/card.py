"""The model card, written from an evaluation's numbers: `python -m training.card FOLDER EVALUATION`.

No score is typed by hand; the text says what was done.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pmtools.evaluation.answering import found_answers
from pmtools.evaluation.methods import COMPARED
from pmtools.evaluation.scenes.report import compare, table

__all__ = ["model_card", "pairs_table"]

_DETAILS, _COUNTS = ("existence", "color", "open_color", "open_shape"), ("count", "open_count")
_PAIRS: list[tuple[str, str, tuple[str, ...], tuple[str, ...]]] = [
    ("pm", "greedy", _DETAILS, ("small", "medium")),
    ("pm", "greedy", ("position",), ("small",)),
    ("pm", "greedy", (*_DETAILS, "position"), ("large",)),
    ("pm", "greedy", _COUNTS, ()),
    *(("pm", ablation, (), ()) for ablation in ("pm-no-refinement", "pm-single-layer", "pm-neither")),
    *(("pm", alternative, (), ()) for alternative in COMPARED),
    *(("pm", window, ("position",), ()) for window in ("window", "window+original")),
    *((control, "greedy", (), ()) for control in ("uniform", "shuffled", "rolled")),
    ("true-boxes", "pm", (), ()),
]
"""Two methods, categories and sizes (none: all) of the comparisons that the card makes."""

_CARD = """---
license: mit
library_name: transformers
pipeline_tag: image-text-to-text
---

# The demo model of pmtools

A Llava of {parameters:.1f} million parameters, trained from nothing on synthetic scenes, so that magnification can be shown and
measured anywhere in minutes. It knows {words} words and nothing of photographs. It is not a general vision-language model.

- **Architecture**: stock `LlavaForConditionalGeneration`; CLIP tower of 4 layers, width 128, 96 x 96 pixels in patches of 8
  (144 image tokens); Llama of 6 layers, width 128, 4 heads; float16 safetensors.
- **Input**: `{example}` and the like; answers are one word. Originals may have any size;
  those of the scenes benchmark have 384 x 384 pixels, four times the input, so that magnification has pixels to fetch.
- **Load**: `pmtools.zoo.demo_model()`, or `from_pretrained` on this folder.

## Training

`{command}`

- **Data**: scenes of `pmtools.evaluation.scenes` (coloured shapes on noise), drawn while training; questions of the
  benchmark's kinds, `left or right` questions as a stepping stone; answers balanced; counts one to five. Test pictures have
  other seeds.
- **What the model saw of each scene** (no method of the benchmark is favoured by having been seen, or handicapped by not): plain
  resizes by box or triangle filters; smooth monotone warps; steep ones with plateaus around objects or anywhere; crops; padding;
  blurred, masked and framed regions; two pictures in one prompt (a scene and a crop of it). PM's own warps are not among them;
  steep warps are of their kind, so the model is warp-robust by construction.
- **Supervision besides the answers**: per patch shape, colour, centre, density and position; in the language model, what single
  attention heads look at (references look at their objects, the last token at the words it needs, then at the relevant objects),
  places and counts read from hidden states. The read-outs are discarded. **Localisation is supervised: that the heatmaps point
  at the right objects is not an emergent finding.**
{history}
## Scores

Test split, seed {seed}, {n} questions; sizes are object diameters of 13 to 19, 19 to 30 and 30 to 60 pixels in the original.
All settings were chosen on the tuning split (`python -m training.selection`, scores in `selection.json`): PM's `{settings}`;
the alternatives', on PM's heatmap, `{alternatives}`.
These tables again: `pmtools eval scenes --out DIR --limit {n} --seed {seed}`.

{tables}

Intervals: 95 % bootstrap over pictures. Last columns: paired difference from greedy, McNemar's z and p.

### Pairs of methods on the same questions

{pairs}

{larger}{reading}
## Limits

- {limits}
- Words outside the vocabulary are refused by `DemoModel.prompt`; the bare tokenizer turns them into `<unk>`.
- The tokenizer drops words without meaning here (`the`, `in this image`, `object`, ...) and MME's `Please answer yes or no.`
"""


def model_card(
    folder: str | Path,
    evaluation: str | Path,
    /,
    *,
    command: str,
    larger: str | Path | None = None,
    history: str = "",
    reading: str = "",
    limits: str = "",
) -> str:
    """The card's text.

    Parameters
    ----------
    folder : str or Path
        Of the model, with `settings.json` and `alternatives.json`.
    evaluation : str or Path
        Folder that `evaluate_scenes` wrote.
    command : str
        That trained the model.
    larger : str or Path, optional
        Folder of a run over more questions with fewer methods, whose comparisons are shown too.
    history : str, optional
        What the command does not show.
    reading : str, optional
        The interpretation of the numbers.
    limits : str, optional
        The limits of the model.

    Returns
    -------
    str
    """
    from safetensors import safe_open

    from pmtools.zoo.vocabulary import ANSWERS, TOKENS

    folder, evaluation = Path(folder), Path(evaluation)
    summary = json.loads((evaluation / "summary.json").read_text())
    setup = json.loads((evaluation / "setup.json").read_text())
    with safe_open(folder / "model.safetensors", "np") as weights:
        names: Any = weights.keys()
        parameters = sum(weights.get_tensor(name).size for name in names)
    parts = [("By category", "by_category"), ("By object size", "by_size"), ("MME's score (at most 200 each)", "mme")]
    parts.append(("By category and size", "by_category_and_size"))
    return _CARD.format(
        parameters=parameters / 1e6,
        words=len(TOKENS) - 5,
        example="<image>Is there a red circle in this image?",
        command=command,
        history=f"- **History**: {history}\n" if history else "",
        seed=setup["seed"],
        n=max(entry["n"] for entry in summary["methods"].values()),
        settings=_one_line(folder / "settings.json"),
        alternatives=_one_line(folder / "alternatives.json"),
        pairs=pairs_table(evaluation),
        larger=_larger(Path(larger)) if larger else "",
        tables="\n\n".join(f"### {title}\n\n{table(summary, columns=columns)}" for title, columns in parts),
        reading=f"{reading}\n\n" if reading else "",
        limits=limits or f"Only the words {', '.join(ANSWERS)} are ever answered.",
    )


def pairs_table(evaluation: str | Path, /) -> str:
    """The comparisons that the card makes between two methods, as a Markdown table.

    Parameters
    ----------
    evaluation : str or Path
        Folder that `evaluate_scenes` wrote.

    Returns
    -------
    str
        Pairs with a method that was not run are left out.
    """
    head = ["methods", "categories", "sizes", "n", "first", "second", "difference", "won : lost", "z"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for first, second, categories, sizes in _PAIRS:
        chosen = [
            {
                record["index"]: record
                for record in found_answers(evaluation, method)
                if (not categories or record["category"] in categories) and (not sizes or record["size"] in sizes)
            }
            for method in (first, second)
        ]
        if not all(chosen):
            continue
        found = compare(*chosen)
        means = [f"{sum(r['right'] for r in records.values()) / len(records):.3f}" for records in chosen]
        cells = [
            f"{first}, {second}",
            ", ".join(categories) or "all",
            ", ".join(sizes) or "all",
            str(found["n"]),
            *means,
        ]
        cells += [f"{found['difference']:+.3f}", f"{found['won']} : {found['lost']}", f"{found['z']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _larger(evaluation: Path) -> str:
    methods = json.loads((evaluation / "summary.json").read_text())["methods"]
    seed = json.loads((evaluation / "setup.json").read_text())["seed"]
    questions = max(entry["n"] for entry in methods.values())
    command = f"pmtools eval scenes --methods {','.join(methods)} --out DIR --limit {questions} --seed {seed}"
    return f"The same with more questions, `{command}`:\n\n{pairs_table(evaluation)}\n\n"


def _one_line(path: Path) -> str:
    return json.dumps(json.loads(path.read_text())) if path.is_file() else "none"


def main() -> None:
    """Write `README.md` into the model's folder."""
    parser = argparse.ArgumentParser(prog="python -m training.card", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("--command", required=True)
    parser.add_argument("--larger", type=Path, help="folder of a run over more questions with fewer methods")
    parser.add_argument("--history", default="")
    parser.add_argument("--reading", default="")
    parser.add_argument("--limits", default="")
    options = parser.parse_args()
    text = model_card(
        options.folder,
        options.evaluation,
        command=options.command,
        larger=options.larger,
        history=options.history,
        reading=options.reading,
        limits=options.limits,
    )
    (options.folder / "README.md").write_text(text)


if __name__ == "__main__":
    main()
