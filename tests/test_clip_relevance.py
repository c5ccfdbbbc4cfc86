"""CLIP's relevance against its definition, from attention matrices and one patch at a time."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import PICTURES, close, model_of, picture, processor_of, prompts_of
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

import pmtools
from pmtools.adapters.heatmaps.clip_relevance import CLIPRelevance, attention_contributions, class_states, project
from pmtools.testing.models import tiny_tokenizer


class TinyCLIPProcessor:
    def __init__(self, side):
        self.image_processor = CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
        self.tokenizer = tiny_tokenizer()


@cache
def clip(seed=0):
    side = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    config = CLIPConfig(
        text_config={**side, **special, "vocab_size": 267, "max_position_embeddings": 64},
        vision_config={**side, "image_size": 40, "patch_size": 8},
        projection_dim=24,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(config).eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.mul_(8.0 if "proj" in name and weight.ndim > 1 else 1.0)
                if name.endswith("bias") or "norm" in name:  # zero or one at the start: nothing would be tested
                    weight.add_(0.3 * torch.randn(weight.shape))
    return model, TinyCLIPProcessor(40)


def embeddings(model, pixels, question):
    with torch.no_grad():
        image = model.get_image_features(pixel_values=pixels).pooler_output[0]
        ids = tiny_tokenizer()([question], return_tensors="pt", truncation=True)
        text = model.get_text_features(**ids).pooler_output[0]
    return image / image.norm(), text / text.norm()


class TestCLIPRelevance:
    @pytest.fixture
    def pixels(self):
        return clip()[1].image_processor(images=picture(80, 80, 1), return_tensors="pt")["pixel_values"]

    def test_states_are_the_models_own(self, pixels):
        model, _ = clip()
        with torch.no_grad():
            want = model.vision_model(pixels, output_hidden_states=True)
            found = class_states(model, pixels)
        assert len(found) == 5
        for got, state in zip(found, want.hidden_states, strict=True):
            close(got, state[0])
        close(model.vision_model.post_layernorm(found[-1][0]), want.pooler_output[0])

    def test_contributions_are_the_attention_output(self, pixels):
        model, _ = clip()
        with torch.no_grad():
            states = class_states(model, pixels)
            for index, layer in enumerate(model.vision_model.encoder.layers):
                whole, _ = layer.self_attn(layer.layer_norm1(states[index][None]), attention_mask=None)
                close(attention_contributions(model, states[index], index).sum(0), whole[0, 0], 1e-4)

    def test_everything_together_is_the_image_embedding(self, pixels):
        """The embedding, each layer's attention token by token, and each layer's MLP sum to the similarity."""
        model, _ = clip()
        image, text = embeddings(model, pixels, "a red ball?")
        with torch.no_grad():
            states = class_states(model, pixels)
            final, tokens = states[-1][0], len(states[0])
            parts = [project(model, states[0][:1], final, 1)]
            for index in range(4):
                added = attention_contributions(model, states[index], index)
                parts.append(project(model, added, final, tokens))
                mlp = states[index + 1][0] - states[index][0] - added.sum(0)
                parts.append(project(model, mlp[None], final, 1))
            close(torch.cat(parts).sum(0), image, 1e-4)
            close(torch.cat(parts).sum(0) @ text, image @ text, 1e-4)

    def test_relevance_token_by_token(self, pixels):
        """From attention matrices, one patch at a time, in numbers written out."""
        model, processor = clip()
        source = CLIPRelevance(model, processor)
        from_class, from_patches = source.relevance(picture(80, 80, 1), "a red ball?")
        _, text = embeddings(model, pixels, "a red ball?")
        eager = CLIPModel(model.config)
        eager.load_state_dict(model.state_dict())
        eager.eval().set_attn_implementation("eager")
        with torch.no_grad():
            out = eager.vision_model(pixels, output_hidden_states=True, output_attentions=True)
            final, norm = out.hidden_states[-1][0, 0], eager.vision_model.post_layernorm
            embedding = eager.visual_projection(norm(final)).norm()
            deviation = ((final - final.mean()).pow(2).mean() + norm.eps).sqrt()
            layer = eager.vision_model.encoder.layers[2]  # the last but one of four
            values = layer.self_attn.v_proj(layer.layer_norm1(out.hidden_states[2][0]))
            for patch in range(25):
                shares = out.attentions[2][0, :, 0, patch + 1]  # of the four heads, 8 wide
                mixed = shares.repeat_interleave(8) * values[patch + 1]
                a = layer.self_attn.out_proj.weight @ mixed + layer.self_attn.out_proj.bias / 26
                a = (a - final.mean() / (9 * 26)) / deviation * norm.weight + norm.bias / (9 * 26)
                x = (out.hidden_states[3][0, patch + 1] - final.mean() / 9) / deviation * norm.weight + norm.bias / 9
                close(from_class[patch // 5, patch % 5], eager.visual_projection(a) @ text / embedding)
                close(from_patches[patch // 5, patch % 5], eager.visual_projection(x) @ text / embedding, 1e-4)

    def test_the_mask(self):
        source = CLIPRelevance(*clip())
        image = picture(80, 80, 1)
        c, q = (part.double().numpy() for part in source.relevance(image, "a red ball?"))

        def box(values):
            padded = np.pad(values, 1, mode="edge")
            return sum(padded[y : y + 5, x : x + 5] for y in range(3) for x in range(3)) / 9

        scaled = (c - c.min()) / (c.max() - c.min())
        big = box(1 / (1 + np.exp(-5 * (scaled - scaled.mean()) / scaled.std(ddof=1))))
        small = box((q.max() - q) / (q.max() - q.min()))
        union = big + small - big * small
        found = source.mask(image, "a red ball?")
        close(found, (union - union.min()) / (union.max() - union.min()), 1e-4)
        assert source.perceptual

    def test_padding_is_cut_off_and_nothing_is_turned(self):
        source = CLIPRelevance(*clip())
        image = picture(120, 72, 3)  # 3 of 5 rows of patches
        found = source.relevance(image, "a red ball?")[0]
        assert found.shape == (3, 5)
        padded = Image.new("RGB", (120, 120), tuple(int(255 * v) for v in source.processor.image_processor.image_mean))
        padded.paste(image, (0, 24))
        close(found, source.relevance(padded, "a red ball?")[0][1:4])

    def test_a_source_for_batches(self):
        texts = ["USER: <image>\nIs it red? ASSISTANT:", "USER: <image>\nHow many? ASSISTANT:"]
        source = CLIPRelevance(*clip())
        found = source(prompts_of(text=texts))
        close(found[0][0], source.mask(PICTURES[0][0], "Is it red?"))
        close(found[1][0], source.mask(PICTURES[1][0], "How many?"))
        assert (found[0][0] - source.mask(PICTURES[0][0], "How many?")).abs().max() > 1e-3

    def test_final_maps_are_not_amplified_again(self):
        from pmtools.decoding.api import API

        source = CLIPRelevance(*clip())
        api = API(processor_of(), heatmap=source)
        api.generate(model_of(), PICTURES[0][0], "Is it red?", max_new_tokens=1)
        (shown,) = api.last[0].shown[0][0]
        want = pmtools.alternatives.mask(PICTURES[0][0], source.mask(PICTURES[0][0], "Is it red?")).image
        assert np.array_equal(np.asarray(shown), np.asarray(want))

    @pytest.mark.slow
    @pytest.mark.parametrize("where", ["cpu", "disk"])
    def test_weights_that_wait_elsewhere(self, where, tmp_path):
        accelerate = pytest.importorskip("accelerate")
        model, processor = clip()
        want = CLIPRelevance(model, processor).mask(picture(80, 80, 1), "a red ball?")
        if where == "cpu":
            model = accelerate.cpu_offload(copy.deepcopy(model), execution_device="cpu")
        else:
            model = accelerate.disk_offload(copy.deepcopy(model), tmp_path, execution_device="cpu")
        assert model.device.type == "meta"
        close(CLIPRelevance(model, processor).mask(picture(80, 80, 1), "a red ball?"), want)

    def test_wrong_layers_are_refused(self):
        source = CLIPRelevance(*clip(), layer=4)
        with pytest.raises(ValueError, match="layer"):
            source.mask(picture(80, 80, 1), "?")
