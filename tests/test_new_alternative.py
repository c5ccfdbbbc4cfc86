"""A file and a row are an alternative everywhere: shown in a fresh process that adds a row before anything else is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ADD = '''
from pmtools.alternatives import ALTERNATIVES
from pmtools.alternatives.edited import edit_colours

def negative(image, perception_map, /, *, strength=1.0, channel_axis=None):
    """Invert what the map does not mark.

    A line that the help does not have.
    """
    return edit_colours(image, perception_map, lambda colours, m: colours * m + (255 - colours) * (1 - m), channel_axis)

if {row}:
    ALTERNATIVES["negative"] = negative
'''

SEE = """
import json
import sys
from pathlib import Path
from PIL import Image
from typer.testing import CliRunner
from pmtools import decoding, zoo
from pmtools.cli.application import app
from pmtools.evaluation.methods import METHODS, USUAL
from pmtools.evaluation.model_answers import ModelAnswers
from pmtools.evaluation.scenes import scene_items
from pmtools.testing.models import tiny_model, tiny_processor
from training import card, selection

seen = {"decoding": "negative" in decoding.METHODS, "benchmark": "negative" in METHODS and "negative" in USUAL}
if seen["decoding"]:
    model = tiny_model()
    method = decoding.METHODS["negative"](tiny_processor(model), strength=0.5, heatmap=[[0.0, 1.0]])
    method.generate(model, Image.new("RGB", (60, 40)), "Is it blue?", max_new_tokens=1)
    seen["shown"] = method.last[0].shown[0][0][0].getpixel((0, 0)) != (0, 0, 0)  # of a black image
    answers = ModelAnswers(model, tiny_processor(model), text=lambda item: item.question.text, max_new_tokens=1)
    items = list(scene_items(limit=2))
    seen["answers"] = len(answers(items, ["negative"])["negative"]) == 2
asked = lambda *words: CliRunner(env={"COLUMNS": "200"}).invoke(app, [*words])
seen["help"] = "negative: Invert what the map does not mark" in asked("ask", "--help").output
seen["choice"] = "'negative'" in asked("ask", "no.png", "Why?", "--method", "magic").output
seen["--methods"] = "negative" in asked("eval", "scenes", "--out", "x", "--methods", "magic").output
tried = []
selection.compare_settings = lambda demo, candidates, items, *, method: tried.append(method) or [(c, 0.5) for c in candidates]
found = selection.choose_settings(zoo.DEMO_MODEL, questions=1)
seen["selection"] = "negative" in tried and "negative" in found.alternatives
seen["card"] = any("negative" in pair[:2] for pair in card._PAIRS)
print(json.dumps(seen))
"""


def places(*, row: bool) -> dict[str, bool]:
    """Where the alternative is seen."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-W", "ignore", "-c", ADD.format(row=row) + SEE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("row", [True, False])
def test_a_row_is_an_alternative_everywhere(row):
    """Nowhere without its row, which shows that the places are looked at."""
    assert set(places(row=row).values()) == {row}
