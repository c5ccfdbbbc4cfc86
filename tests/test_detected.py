"""Maps of what detectors and SAM find: tiny random models with transformers' own processors; that they find, not what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf
from tiny import PICTURES, model_of, picture, processor_of, prompts_of

import pmtools
from pmtools.adapters.heatmaps import DetectorHeatmap, MaskHeatmap, heatmap_source
from pmtools.decoding import PerceptionMagnifier
from pmtools.testing.models import tiny_tokenizer

SIDE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", "what", "is", "there", "then", "and", "why", ","]


def image_processor(name, **options):
    """transformers' own that needs no torchvision."""
    return getattr(hf, f"{name}ImageProcessorPil")(**options)


def owlv2():
    words = {"vocab_size": 267, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    seen = {"image_size": 64, "patch_size": 16}
    config = hf.Owlv2Config(text_config=SIDE | words, vision_config=SIDE | seen, projection_dim=32)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 16
    pixels = image_processor("Owlv2", size={"height": 64, "width": 64})
    return hf.Owlv2ForObjectDetection(config), hf.Owlv2Processor(pixels, tokenizer)


def grounding_dino():
    backbone = hf.SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    text = hf.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=64,
    )  # fmt: skip
    config = hf.GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=7,
        max_text_len=64,
    )  # fmt: skip
    tokenizer = hf.BertTokenizerFast(vocab={word: k for k, word in enumerate(WORDS)})
    pixels = image_processor("GroundingDino", size={"shortest_edge": 64, "longest_edge": 96})
    return hf.GroundingDinoForObjectDetection(config), hf.GroundingDinoProcessor(pixels, tokenizer)


DETECTORS = {"owlv2": owlv2, "grounding_dino": grounding_dino}


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = DETECTORS[request.param]()
    return DetectorHeatmap(model.eval(), processor, threshold=0.0)


@pytest.fixture(scope="module")
def sam():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tower = {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64, "patch_size": 16}
        config = hf.SamConfig(
            vision_config=tower | {"hidden_size": 16, "output_channels": 8, "mlp_dim": 16, "num_pos_feats": 4},
            prompt_encoder_config={"hidden_size": 8, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
            mask_decoder_config={
                "hidden_size": 8, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                "iou_head_hidden_dim": 8,
            },
        )  # fmt: skip
        model = hf.SamModel(config)
    square = {"height": 64, "width": 64}
    sizes = {"size": {"longest_edge": 64}, "pad_size": square, "mask_size": {"longest_edge": 16}}
    pixels = image_processor("Sam", **sizes, mask_pad_size={"height": 16, "width": 16})
    return model.eval(), hf.SamProcessor(pixels)


def test_boxes_are_the_processors_and_lie_on_the_image(detector):
    image = picture(90, 60)
    boxes, scores = detector.find(image, "What is there?")
    assert len(boxes) == len(scores) > 0
    assert ((boxes >= 0) & (boxes <= [90, 60, 90, 60])).all()
    inputs = detector.processor(images=image, text=[["what is there"]], return_tensors="pt")
    output = detector.model(**inputs)
    ids = [inputs["input_ids"]] if "grounding" in detector.model.config.model_type else []
    sizes = [(image.height, image.width)]
    process = detector.processor.post_process_grounded_object_detection
    (found,) = process(output, *ids, threshold=0.0, target_sizes=sizes)
    best = found["scores"].argmax()
    np.testing.assert_allclose(scores.max(), found["scores"][best].item(), atol=1e-5)


def test_the_map_is_the_best_box_of_each_cell(detector, monkeypatch):
    boxes, scores = np.array([[0.0, 0, 30, 60], [60, 0, 90, 60]]), np.array([0.4, 0.8])
    monkeypatch.setattr(DetectorHeatmap, "find", lambda *_: (boxes, scores))
    found = detector.heatmap(picture(90, 60), "what")
    left, right = (pmtools.heatmaps.from_boxes(box, source_hw=(60, 90)) for box in boxes)
    np.testing.assert_allclose(found, np.maximum(0.5 * left, right))


def test_nothing_found_magnifies_nothing(detector):
    found = DetectorHeatmap(detector.model, detector.processor, threshold=1.0).heatmap(picture(90, 60), "what")
    places = np.array([[1.0, 2.0], [80.0, 31.0]])
    np.testing.assert_allclose(pmtools.fit_warp(found, source_hw=(60, 90)).points(places), places)


@pytest.mark.parametrize("phrases", ["a kite", [], [3]])
def test_phrases_must_be_a_list(detector, phrases):
    source = DetectorHeatmap(detector.model, detector.processor, phrases=lambda _: phrases)
    with pytest.raises(ValueError, match="`phrases` must return a list"):
        source.find(picture(90, 60), "what")


def test_it_is_a_source_of_the_magnifier(detector):
    pm = PerceptionMagnifier(processor_of(), heatmap=detector, refresh="first")
    assert isinstance(pm.generate(model_of(), PICTURES[0][0], "What is <image>?", max_new_tokens=2), str)
    maps = detector(prompts_of())
    assert [len(row) for row in maps] == [1, 1]
    assert all(0 <= row[0].min() <= row[0].max() == 1 for row in maps)


def test_a_detector_by_its_folder(detector, tmp_path):
    detector.model.save_pretrained(tmp_path)
    detector.processor.save_pretrained(tmp_path)
    loaded = heatmap_source(f"detector:{tmp_path}")
    assert isinstance(loaded, DetectorHeatmap)
    want, got = (DetectorHeatmap(each.model, each.processor, threshold=0.0) for each in (detector, loaded))
    for a, b in zip(want.find(picture(), "what"), got.find(picture(), "what"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_masks_of_boxes(detector, sam, monkeypatch):
    source = MaskHeatmap(detector, *sam)
    boxes = np.array([[5.0, 5, 40, 40], [10, 2, 60, 50]])
    masks = source.masks(picture(90, 60), boxes)
    assert masks.shape == (2, 60, 90)
    assert masks.dtype == bool
    planted = np.zeros((2, 60, 90), bool)
    planted[0, :, :30], planted[1, 30:] = True, True
    monkeypatch.setattr(MaskHeatmap, "masks", lambda *_: planted)
    monkeypatch.setattr(DetectorHeatmap, "find", lambda *_: (boxes, np.array([0.2, 0.8])))
    found = source.heatmap(picture(90, 60), "what")
    assert found[0, 0] == pytest.approx(0.25)
    assert found[-1, -1] == pytest.approx(1)
    assert found[0, -1] == 0


def test_masks_are_a_source_of_the_magnifier(detector, sam):
    source = MaskHeatmap(detector, *sam)
    pm = PerceptionMagnifier(processor_of(), heatmap=source, refresh="first")
    assert isinstance(pm.generate(model_of(), PICTURES[0][0], "What is <image>?", max_new_tokens=2), str)
