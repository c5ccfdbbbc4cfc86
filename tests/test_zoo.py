"""The demo model's words, files and training, and the batched methods; random weights where none are needed."""

import dataclasses
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from pmtools import zoo
from pmtools.evaluation._passes import Passes
from pmtools.evaluation.generation import GeneratedAnswers
from pmtools.evaluation.runner import evaluate_scenes, grade
from pmtools.evaluation.scene_methods import METHODS, SceneMethods, Settings, compare_settings
from pmtools.evaluation.scenes import scene_items
from pmtools.zoo import packaging
from pmtools.zoo.training import batches, network, objectives, views
from pmtools.zoo.vocabulary import SPECIAL, TOKEN_IDS, TOKENS, encode, unknown_words

SIZES = batches.Sizes(start=28, end=12, begin=0.3, finish=0.8)


@pytest.fixture(scope="module")
def random_demo(tmp_path_factory):
    """A model with random weights, sharpened so that attention is not flat, saved and loaded as the shipped one."""
    torch.manual_seed(0)
    model = network.build_model()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "language_model" in name and ("q_proj" in name or "k_proj" in name):
                weight.mul_(4)
    folder = packaging.save_demo_model(model, tmp_path_factory.mktemp("model"), settings={"start_layer": 2})
    return zoo.demo_model(folder)


# --- words --------------------------------------------------------------------------------------------------------


def test_tokenizer_follows_the_rule():
    tokenizer = packaging.build_tokenizer()
    texts = {item.question.text for item in scene_items(seed=0, limit=400)}
    texts |= {
        "IS THERE A RED CIRCLE in this picture?  Please answer yes or no.",
        "Are there two crosses, to the left of the stars?",
        "Is an elephant red?",
        "how many objects are there?",
    }
    for text in texts:
        assert tokenizer(text)["input_ids"] == [TOKEN_IDS["<bos>"], *encode(text)], text


def test_every_scene_question_is_understood_and_fits():
    for item in scene_items(seed=1, limit=660):
        assert unknown_words(item.question.text) == []
        assert len(encode(item.question.text)) < batches.SLOT
        assert item.question.answer in TOKEN_IDS


def test_references_are_found_in_the_tokens():
    for item in scene_items(seed=2, limit=330):
        tokens = encode(item.question.text)
        start = 0
        for word, _ in item.question.mentions:
            start += tokens[start:].index(TOKEN_IDS[word]) + 1


def test_special_tokens_come_first():
    assert TOKENS[: len(SPECIAL)] == SPECIAL
    assert len(set(TOKENS)) == len(TOKENS)


@pytest.mark.parametrize("question", ["Is there a dog?", "What colour is the star?", "Is the circle larger?"])
def test_unknown_words_are_named_with_those_that_are_known(question):
    with pytest.raises(zoo.UnknownWordsError, match=r"red, green, blue.*circle, square") as error:
        zoo.check_question(question)
    assert repr(unknown_words(question)[0]) in str(error.value)


@pytest.mark.parametrize("question", ["", "   ", None, 3])
def test_empty_questions_are_refused(question):
    with pytest.raises(TypeError, match="`question`"):
        zoo.check_question(question)


# --- files --------------------------------------------------------------------------------------------------------


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pmtools\.zoo\.training"):
        zoo.demo_model(tmp_path)


def test_saved_and_loaded(random_demo):
    assert random_demo.settings == {"start_layer": 2}
    assert next(random_demo.model.parameters()).dtype == torch.float32
    assert not random_demo.model.training
    item = next(scene_items(seed=3))
    assert isinstance(random_demo.ask(item.image, item.question.text), str)
    with pytest.raises(zoo.UnknownWordsError):
        random_demo.ask(item.image, "Is there a dog?")


def test_a_question_mark_is_added(random_demo):
    assert random_demo.prompt("Is there a cross") == "<image>Is there a cross?"
    assert random_demo.prompt("Is there a cross?", images=2) == "<image><image>Is there a cross?"


def test_a_processor_expands_the_image(random_demo):
    item = next(scene_items(seed=3))
    inputs = random_demo.processor(images=[item.image], text="<image>Is there a cross?", return_tensors="pt")
    assert (inputs["input_ids"] == TOKEN_IDS["<image>"]).sum() == views.TOKENS
    assert tuple(inputs["pixel_values"].shape) == (1, 3, views.INPUT, views.INPUT)


def test_a_view_without_changes_is_what_the_processor_makes(random_demo):
    """Half a pixel, a swapped axis or another normalisation would show."""
    item = next(scene_items(seed=4))
    original = item.pixels.transpose(2, 0, 1).astype(np.float32) / 255
    for seed in range(4):  # box or triangle
        view = views.make_view(item.scene, np.random.default_rng(seed), geometry="identity", original=original)
        trained = batches.normalised(view)
        served = random_demo.processor.image_processor([item.image], return_tensors="np")["pixel_values"][0]
        differences = [np.abs(np.roll(trained, shift, (1, 2)) - served).mean() for shift in ((0, 0), (0, 1), (1, 0))]
        assert differences[0] < 0.6 * min(differences[1:])
        assert differences[0] < 0.12  # standard deviations of the input


def test_the_shipped_model_is_small_and_complete():
    assert sum(path.stat().st_size for path in zoo.DEMO_MODEL.iterdir()) < 12e6
    demo = zoo.demo_model()
    Settings(**demo.settings)
    assert (zoo.DEMO_MODEL / "README.md").is_file()


def test_the_shipped_model_answers():
    demo = zoo.demo_model()
    items = [item for item in scene_items(seed=5, limit=132) if item.size == "large"]
    methods = SceneMethods(demo.model, demo.processor, settings=Settings(**demo.settings))
    replies = methods(items, ["greedy"])["greedy"]
    right = np.mean([reply == item.question.answer for reply, item in zip(replies, items, strict=True)])
    assert right > 0.7
    assert demo.ask(items[0].image, items[0].question.text) == replies[0]  # generate ends after the answer


# --- training -----------------------------------------------------------------------------------------------------


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
    command = [sys.executable, "-m", "pmtools.zoo.training", "--out", str(out), "--hours", "0.0011", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_training_runs_and_goes_on_where_it_stopped(tmp_path):
    whole = run_training(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["pictures", "questions"]
    zoo.demo_model(tmp_path / "whole" / "model")
    script = (
        "import sys, pmtools.zoo.training.__main__ as t\n"
        "step, count = t._question_step, []\n"
        "def stopping(*a):\n"
        "    count.append(1)\n"
        "    if len(count) == 4: raise SystemExit(3)\n"
        "    return step(*a)\n"
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


# --- methods ------------------------------------------------------------------------------------------------------


def test_greedy_is_the_stock_model(random_demo):
    items = list(scene_items(seed=8, limit=6))
    methods = SceneMethods(random_demo.model, random_demo.processor)
    replies = methods(items, ["greedy"])["greedy"]
    for item, reply in zip(items, replies, strict=True):
        inputs = random_demo.processor(
            images=[item.image], text=random_demo.prompt(item.question.text), return_tensors="pt"
        )
        token = random_demo.model(**inputs).logits[0, -1].argmax()
        assert random_demo.processor.tokenizer.decode([token]).strip() == reply


def test_every_method_answers_and_batches_do_not_matter(random_demo):
    items = list(scene_items(seed=9, limit=5))
    methods = SceneMethods(random_demo.model, random_demo.processor, settings=Settings(start_layer=2, max_iterations=2))
    together = methods(items, list(METHODS))
    assert set(together) == set(METHODS)
    alone = [methods([item], ["greedy", "uniform", "pm", "shuffled", "window+original"]) for item in items]
    for name in alone[0]:
        assert together[name] == [replies[name][0] for replies in alone], name
    assert together["uniform"] == together["greedy"]


def test_heatmaps_equal_eager_attention(random_demo):
    item = next(scene_items(seed=10))
    methods = SceneMethods(random_demo.model, random_demo.processor, settings=Settings(start_layer=2, max_iterations=0))
    heat = methods.heatmaps([item])[0]
    inputs = random_demo.processor(
        images=[item.image], text=random_demo.prompt(item.question.text), return_tensors="pt"
    )
    model = random_demo.model
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        attentions = model(**inputs, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    expected = torch.stack([a[0, :, -1, 1 : 1 + views.TOKENS].amax(0) for a in attentions[1:]]).mean(0)
    np.testing.assert_allclose(heat.ravel(), expected.detach().numpy(), atol=1e-5)


def test_the_summary_is_written_and_a_second_run_gives_the_same(random_demo, tmp_path):
    def run(folder):
        answer = SceneMethods(random_demo.model, random_demo.processor, settings=Settings(max_iterations=1))
        return evaluate_scenes(answer, out=folder, methods=("greedy", "pm"), limit=12, batch_size=5)

    summary = run(tmp_path / "a")
    assert summary == run(tmp_path / "a") == run(tmp_path / "b")
    assert json.loads((tmp_path / "a" / "summary.json").read_text()) == summary
    written = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"answers", "tables.md"} <= written
    if importlib.util.find_spec("matplotlib"):
        assert {"by_size.png", "by_category.png"} <= written
    assert set(summary["methods"]) == {"greedy", "pm"}


def test_wrong_use_is_refused(random_demo):
    with pytest.raises(ValueError, match="start_layer"):
        SceneMethods(random_demo.model, random_demo.processor, settings=Settings(start_layer=7))
    with pytest.raises(ValueError, match="methods"):
        SceneMethods(random_demo.model, random_demo.processor)(list(scene_items(limit=1)), ["magic"])


def test_settings_are_compared_on_the_same_questions(random_demo):
    items = list(scene_items(seed=11, limit=8, split="tune"))
    candidates = [Settings(start_layer=2, max_iterations=1), Settings(start_layer=3, max_iterations=1, gain=0.0)]
    found = compare_settings(random_demo.model, random_demo.processor, candidates, items=items, batch_size=3)
    assert {settings for settings, _ in found} == set(candidates)
    for settings, share in found:
        replies = SceneMethods(random_demo.model, random_demo.processor, settings=settings)(items, ["pm"])["pm"]
        assert share == np.mean([grade(item, reply) for item, reply in zip(items, replies, strict=True)])
    with pytest.raises(ValueError, match="`items`"):
        compare_settings(random_demo.model, random_demo.processor, candidates, items=[])


def test_an_alternative_may_have_a_map_of_its_own(random_demo):
    """Its own gain and smoothing change what it sees and nothing else; `generate`'s way takes them too."""
    items = list(scene_items(seed=13, limit=12))
    steep = Settings(start_layer=2, max_iterations=0, gain=100.0, kernel_size=1)
    flat = dataclasses.replace(steep, gain=1.0, kernel_size=3)
    edits = {"blur": {"gain": 1.0, "kernel_size": 3}}
    model = (random_demo.model, random_demo.processor)

    def seen(**options):
        methods, batches = SceneMethods(*model, **options), []
        see = Passes.see
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Passes, "see", lambda self, images, **k: batches.append(images) or see(self, images, **k))
            methods(items, ["blur", "mask", "pm"])
        return [np.stack([np.asarray(image) for image in batch]) for batch in batches]

    own, of_pm, other = seen(settings=steep, edits=edits), seen(settings=steep), seen(settings=flat)
    np.testing.assert_array_equal(own[0], other[0])
    assert (own[0] != of_pm[0]).any()
    np.testing.assert_array_equal(own[1], of_pm[1])
    np.testing.assert_array_equal(own[2], of_pm[2])

    answers = GeneratedAnswers(*model, text=str, settings=dataclasses.asdict(steep), edits=edits)
    source = answers.attention()
    assert (answers.edited("blur", source).gain, answers.edited("mask", source).gain) == (1.0, 100.0)
    with pytest.raises(ValueError, match="edits"):
        SceneMethods(*model, edits={"magic": {}})


def test_the_selection_tries_every_method_and_keeps_the_best(random_demo, tmp_path):
    from pmtools.zoo.selection import choose_settings

    folder = packaging.save_demo_model(random_demo.model, tmp_path / "model", settings={})
    found = choose_settings(folder, questions=4)
    assert set(found.edits) == {"blur", "mask", "bbox", "crop"}
    for method, own in found.edits.items():
        tried = [score for score in found.scores if score["method"] == method]
        best = max(tried, key=lambda score: score["accuracy"])
        assert own == {name: best[name] for name in ("gain", "kernel_size")}
    refined = [score for score in found.scores if score["method"] == "pm" and score["max_iterations"]]
    assert dataclasses.asdict(found.settings).items() <= max(refined, key=lambda score: score["accuracy"]).items()


def test_the_batched_pm_is_the_adapters_pm(random_demo):
    """Two implementations: plain passes in batches here, transformers' generation loop there."""
    from pmtools.decoding import PerceptionMagnifier

    settings = Settings(start_layer=2, kernel_size=1, max_iterations=2)
    items = list(scene_items(seed=12, limit=6))
    methods = SceneMethods(random_demo.model, random_demo.processor, settings=settings)
    replies, heats = methods(items, ["pm"])["pm"], methods.heatmaps(items)
    for item, reply, heat in zip(items, replies, heats, strict=True):
        pm = PerceptionMagnifier(random_demo.processor, **dataclasses.asdict(settings))
        text = pm.generate(random_demo.model, item.image, random_demo.prompt(item.question.text), max_new_tokens=1)
        assert text.strip() == ("" if reply in SPECIAL else reply)
        np.testing.assert_allclose(np.asarray(pm.last[0].heatmaps[0]).reshape(heat.shape), heat, atol=1e-5)


def test_the_demonstration_counts_both_ways(random_demo):
    from pmtools.zoo.demonstration import demonstrate

    seen = []
    shown = demonstrate(random_demo, questions=6, batch_size=4, progress=seen.append)
    assert sum(seen) == shown.questions == 6
    assert shown.right_after - shown.right_before == shown.mended - shown.broken


def test_the_card_takes_its_numbers_from_the_evaluation(random_demo, tmp_path):
    from pmtools.zoo.card import model_card

    folder = packaging.save_demo_model(random_demo.model, tmp_path / "model", settings=random_demo.settings)
    answer = SceneMethods(random_demo.model, random_demo.processor, settings=Settings(max_iterations=1))
    summary = evaluate_scenes(answer, out=tmp_path / "run", methods=("greedy", "pm"), limit=11)
    card = model_card(folder, tmp_path / "run", command="train it")
    assert "A Llava of 1.9 million parameters" in card
    assert f"| pm | 11 | {summary['methods']['pm']['accuracy']:.3f} |" in card
    assert "`train it`" in card
    again = model_card(folder, tmp_path / "run", command="train it", larger=tmp_path / "run")
    assert "`pmtools eval scenes --methods greedy,pm --out DIR --limit 11 --seed 0`" in again
    assert again.count("| pm, greedy | existence, color, open_color, open_shape | small, medium |") == 2


def test_the_cards_pairs_count_the_questions_they_name(tmp_path):
    from pmtools.zoo.card import pairs_table

    def record(index, category, size, right):
        return json.dumps({"index": index, "category": category, "size": size, "right": right}) + "\n"

    asked = [("position", "small"), ("position", "small"), ("position", "large"), ("count", "small")]
    (tmp_path / "answers").mkdir()
    for method, right in (("greedy", (False, True, False, True)), ("pm", (True, True, True, False))):
        lines = (record(k, *what, hit) for k, (what, hit) in enumerate(zip(asked, right, strict=True)))
        (tmp_path / "answers" / f"{method}.jsonl").write_text("".join(lines))
    assert pairs_table(tmp_path).splitlines()[2:] == [
        "| pm, greedy | position | small | 2 | 1.000 | 0.500 | +0.500 | 1 : 0 | 1.0 |",
        "| pm, greedy | existence, color, open_color, open_shape, position | large | 1 | 1.000 | 0.000 | +1.000 | 1 : 0 | 1.0 |",
        "| pm, greedy | count, open_count | all | 1 | 0.000 | 1.000 | -1.000 | 0 : 1 | -1.0 |",
    ]
