"""The demo model's words and files, its settings, its demonstration and its card; random weights where none are needed."""

import json

import numpy as np
import pytest
import torch

from pmtools import zoo
from pmtools.decoding import PerceptionMagnifier
from pmtools.evaluation.methods import COMPARED
from pmtools.evaluation.model_answers import ModelAnswers
from pmtools.evaluation.scenes import scene_items
from pmtools.evaluation.scenes.benchmark import evaluate_scenes
from pmtools.zoo.vocabulary import SPECIAL, TOKEN_IDS, TOKENS, encode, unknown_words
from training import batches, packaging, views

# --- words -----------------------------------------------------------------------------------------------------------


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


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m training"):
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
    PerceptionMagnifier(demo.processor, **demo.settings)
    assert set(demo.alternatives) == set(COMPARED)
    assert (zoo.DEMO_MODEL / "README.md").is_file()


def test_the_shipped_model_answers():
    demo = zoo.demo_model()
    items = [item for item in scene_items(seed=5, limit=132) if item.size == "large"]
    answer = ModelAnswers(demo.model, demo.processor, text=lambda item: item.question.text, max_new_tokens=1)
    replies = answer(items, ["greedy"])["greedy"]
    right = np.mean([reply == item.question.answer for reply, item in zip(replies, items, strict=True)])
    assert right > 0.7
    assert demo.ask(items[0].image, items[0].question.text) == replies[0]  # generate ends after the answer


# --- settings, demonstration, card -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_selection_tries_every_method_and_keeps_the_best(random_demo, tmp_path):
    from training.selection import choose_settings

    folder = packaging.save_demo_model(random_demo.model, tmp_path / "model", settings={})
    found = choose_settings(folder, questions=4)
    assert set(found.alternatives) == set(COMPARED)
    for method, own in found.alternatives.items():
        tried = [score for score in found.scores if score["method"] == method]
        best = max(tried, key=lambda score: score["accuracy"])
        assert own == {name: best[name] for name in ("gain", "kernel_size")}
    refined = [score for score in found.scores if score["method"] == "pm" and score["max_iterations"]]
    assert found.settings.items() <= max(refined, key=lambda score: score["accuracy"]).items()


def test_the_papers_threshold_never_ends_the_shipped_models_refinement():
    """The sum of the maximum over heads is above 1 to begin with; averaged heads would be a share."""
    demo, items = zoo.demo_model(), list(scene_items(seed=3, limit=12))
    images, texts = [[item.image] for item in items], [demo.prompt(item.question.text) for item in items]
    met, sums = {}, {}
    for threshold in (0.3, 100.0, "relative"):
        options = {"relative_threshold": 1.0} if threshold == "relative" else {"threshold": threshold}
        pm = PerceptionMagnifier(demo.processor, **{**demo.settings, **options})
        pm.generate(demo.model, images, texts, max_new_tokens=1)
        met[threshold] = pm.last[0].met_threshold
        sums[threshold] = [float(maps[0].sum()) for maps in pm.last[0].heatmaps]
    assert not any(met[0.3])
    assert all(met[100.0])
    assert all(met["relative"])
    assert min(sums[100.0]) > 1


def test_the_demonstration_counts_both_ways(random_demo):
    from pmtools.zoo.demonstration import demonstrate

    seen = []
    shown = demonstrate(random_demo, questions=6, batch_size=4, progress=seen.append)
    assert sum(seen) == shown.questions == 6
    assert shown.correct_after - shown.correct_before == shown.fixed - shown.newly_wrong


@pytest.mark.slow
def test_the_card_takes_its_numbers_from_the_evaluation(random_demo, tmp_path):
    from training.card import model_card

    folder = packaging.save_demo_model(random_demo.model, tmp_path / "model", settings=random_demo.settings)
    answer = ModelAnswers(
        random_demo.model, random_demo.processor, text=lambda item: item.question.text, max_new_tokens=1
    )
    summary = evaluate_scenes(answer, out=tmp_path / "run", methods=("greedy", "pm"), limit=11)
    card = model_card(folder, tmp_path / "run", command="train it")
    assert "A Llava of 1.9 million parameters" in card
    assert f"| pm | 11 | {summary['methods']['pm']['accuracy']:.3f} |" in card
    assert "`train it`" in card
    again = model_card(folder, tmp_path / "run", command="train it", larger=tmp_path / "run")
    assert "`pmtools eval scenes --methods greedy,pm --out DIR --limit 11 --seed 0`" in again
    assert again.count("| pm, greedy | existence, color, open_color, open_shape | small, medium |") == 2


def test_the_cards_pairs_count_the_questions_they_name(tmp_path):
    from training.card import pairs_table

    def record(index, category, size, right):
        return json.dumps({"index": index, "image": index, "category": category, "size": size, "right": right}) + "\n"

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
