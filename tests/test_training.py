"""Training of the demo model: pictures, samples, the fast pass, losses, and going on after a break."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from pmtools import zoo
from pmtools.evaluation.scenes import scene_items
from pmtools.zoo.vocabulary import TOKEN_IDS
from training import batches, network, objectives, views

SIZES = batches.Sizes(start=28, end=12, begin=0.3, finish=0.8)


@pytest.mark.parametrize("pictures", [1, 2])
def test_the_packed_pass_is_the_stock_pass(pictures):
    torch.manual_seed(1)
    model = network.build_model().eval()
    data = batches.QuestionSamples(4000, seed=0, sizes=SIZES, batch=1, questions=5)
    found = next(s for s in (data[k] for k in range(2500, 2800)) if len(s["pixels"]) == pictures)
    batch = batches.collate([found])
    with torch.no_grad():
        done = network.packed_pass(model, batch["pixels"], batch["ids"], batch["last"], torch.zeros(1, 5, dtype=bool))
        for k in range(5):
            length = int(batch["last"][0, k]) + 2
            ids = [TOKEN_IDS["<bos>"], *[TOKEN_IDS["<image>"]] * views.TOKENS * pictures]
            ids = torch.tensor([[*ids, *batch["ids"][0, k, :length].tolist()]])
            stock = model(input_ids=ids, pixel_values=batch["pixels"][0]).logits[0, -length:]
            torch.testing.assert_close(done.logits[0, k, :length], stock, atol=2e-5, rtol=1e-4)


def test_lookup_hides_the_picture_from_all_but_the_last_token():
    model = network.build_model().eval()
    batch = batches.collate([batches.QuestionSamples(100, seed=0, sizes=SIZES, batch=1)[3]])
    lookup = torch.zeros_like(batch["last"], dtype=torch.bool)
    lookup[:, 0] = True
    done = network.packed_pass(model, batch["pixels"], batch["ids"], batch["last"], lookup)
    last = int(batch["last"][0, 0])
    on_picture = done.attentions[0][0, :, 0, :, 1 : 1 + views.TOKENS].sum(-1)
    assert (on_picture[:, :last] == 0).all()
    assert (on_picture[:, last:] > 0).all()


def test_targets_lie_where_the_objects_are():
    rng = np.random.default_rng(0)
    for geometry in ("identity", "smooth", "steep", "crop", "pad"):
        scene = next(scene_items(seed=6)).scene
        view = views.make_view(scene, rng, geometry=geometry)
        if view is None:
            continue
        found = views.targets(view)
        centers = view.centers()
        assert found["density"].sum() == pytest.approx(2 * found["cores"].any(1).sum(), abs=0.6)
        for k in range(len(view.scene)):
            column, row = (centers[k] // views.PATCH).astype(int).clip(0, views.GRID - 1)
            if found["masks"][k].any():
                assert found["masks"][k].reshape(views.GRID, views.GRID)[row, column]


def test_warped_pictures_show_objects_at_their_boxes():
    """A colour is found inside its box and not beside it: catches a transposed or mirrored warp."""
    rng = np.random.default_rng(1)
    inside, outside = [], []
    for item in list(scene_items(seed=7, limit=60)):
        if item.size != "large":
            continue
        view = views.make_view(item.scene, rng, geometry="smooth")
        for box, center, color in zip(view.boxes(), view.centers(), view.scene.colors, strict=True):
            if (box[2:] - box[:2] < 4).any():
                continue
            x, y = center.astype(int).clip(0, views.INPUT - 1)
            pixel = view.image[:, y, x]
            inside.append(np.ptp(pixel))
            outside.append(np.ptp(view.image[:, x, y]))
            assert color < 5
    assert np.mean(inside) > 1.8 * np.mean(outside)


def test_samples_depend_on_seed_and_index_only():
    one = batches.QuestionSamples(100, seed=0, sizes=SIZES, batch=4)
    two = batches.QuestionSamples(100, seed=0, sizes=SIZES, batch=4)
    two[7]
    for key, value in one[5].items():
        np.testing.assert_array_equal(value, two[5][key])
    assert (one[5]["pixels"] != one[6]["pixels"]).any()


def test_training_and_benchmark_share_no_stream():
    """`default_rng((0, 1, 5))` and `default_rng((0, 1, 5, 0))` are the same: a trap."""
    training = {batches.stream(0, use, index).random() for use in range(4) for index in range(40)}
    assert len(training) == 160
    scene_streams = {
        np.random.default_rng((0, split, index, kind)).random()
        for split in (0, 1)
        for index in range(40)
        for kind in (0, 1)
    }
    assert not training & scene_streams


def test_losses_are_finite_and_reach_every_part():
    torch.manual_seed(2)
    model, readouts = network.build_model(), network.Readouts(128)
    network.informed_init(model, seed=0, pictures=8)
    data = batches.QuestionSamples(100, seed=1, sizes=SIZES, batch=6)
    batch = batches.collate([data[k] for k in range(60, 66)])
    done = network.packed_pass(model, batch["pixels"], batch["ids"], batch["last"], torch.zeros_like(batch["pair"]))
    loss, notes = objectives.question_loss(readouts, done, batch, torch.zeros_like(batch["pair"]))
    loss.backward()
    assert np.isfinite([v for k, v in notes.items() if k.startswith("loss")]).all()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    # the class token's own path through the last layer leads nowhere, and the stock tower's last norm is not used
    assert all("post_layernorm" in name for name in silent), silent


def run_training(out, *options):
    command = [sys.executable, "-m", "training", "--out", str(out), "--hours", "0.0011", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_training_runs_and_goes_on_where_it_stopped(tmp_path):
    whole = run_training(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["pictures", "questions"]
    zoo.demo_model(tmp_path / "whole" / "model")
    script = (
        "import sys, training.__main__ as t\n"
        "step, count = t._question_step, []\n"
        "def stopping(*given, **named):\n"
        "    count.append(1)\n"
        "    if len(count) == 4: raise SystemExit(3)\n"
        "    return step(*given, **named)\n"
        "t._question_step = stopping\n"
        f"sys.argv = ['x', '--out', {str(tmp_path / 'cut')!r}, '--hours', '0.0011', '--save-every', '0']\n"
        "t.main()\n"
    )
    cut = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300)
    assert cut.returncode == 3, cut.stderr
    assert run_training(tmp_path / "cut").returncode == 0
    states = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "cut")]
    for name, value in states[0]["model"].items():
        torch.testing.assert_close(states[1]["model"][name], value, atol=1e-6, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------- the factorial


@pytest.mark.parametrize("kind", ["far pairs", "three or four"])
def test_questions_that_need_several_small_objects(kind):
    from training.factorial import FAR, several_objects

    items = list(several_objects(kind, seed=3, limit=8))
    again = list(several_objects(kind, seed=3, limit=8))
    assert [item.question for item in items] == [item.question for item in again]
    assert [item.question.answer for item in items] == ["yes", "no"] * 4
    for item in items:
        relevant = list(item.question.relevant)
        assert item.scene.diameters[relevant].max() <= 19
        if kind == "far pairs":
            assert len(relevant) == 2
            assert (np.ptp(item.scene.centers_xy[relevant], axis=0) >= FAR * 384).all()
        else:
            same = [item.scene.colors, item.scene.shapes]
            assert len(relevant) in (3, 4)
            assert any(len(set(values[relevant])) == 1 for values in same)


@pytest.mark.slow
def test_every_kind_of_map_is_tuned_on_the_same_grid():
    from training.factorial import KINDS, tables, tuned_ablations

    found = tuned_ablations(zoo.demo_model(), questions=4, tests=8)
    sizes = {kind: sum(row["kind"] == kind for row in found["tuning"]) for kind in KINDS}
    assert sizes == {kind: 24 if refined else 8 for kind, (_, refined) in KINDS.items()}
    for kind, chosen in found["chosen"].items():
        assert chosen["accuracy"] == max(row["accuracy"] for row in found["tuning"] if row["kind"] == kind)
    plain, *magnified = found["far pairs"]
    assert plain["least_growth"] == 1
    assert all(row["least_growth"] != 1 for row in magnified)
    assert "| single layer, refined |" in tables(found)


# ------------------------------------------------------------------------------------------------------- the ablations


def test_pictures_without_warps_keep_their_pixels_evenly_spaced():
    drawn = {warps: set() for warps in (True, False)}
    for warps, spacings in drawn.items():
        rng = np.random.default_rng(0)
        for scene in (item.scene for item in scene_items(seed=0, limit=40)):
            view = views.make_view(scene, rng, warps=warps)
            if view is not None:
                steps = np.diff(view.edges_x)
                spacings.add(bool(np.allclose(steps, steps[0])))
    assert drawn == {True: {True, False}, False: {True}}
