"""The methods PM is compared with, inside `generate`: against references without caches, against plain decoding, with PM."""

import math

import numpy as np
import pytest
import torch
from tiny import FAMILIES, PICTURES, PROMPTS, model_of, picture, processor_of, prompts_for
from transformers import AttentionInterface, LogitsProcessorList
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

import pmtools
from pmtools import decoding, frames
from pmtools.adapters import interception
from pmtools.adapters.editing import biased_image, boosted_image, edited_attention
from pmtools.adapters.heatmaps import SOURCES, ControlHeatmap
from pmtools.adapters.prompts import Prompts
from pmtools.alternatives import ALTERNATIVES, Edited
from pmtools.decoding import Greedy, PerceptionMagnifier
from pmtools.decoding._image_prompting import ImagePrompting
from pmtools.decoding.api import API
from pmtools.decoding.ibd import IBD
from pmtools.decoding.m3id import M3ID
from pmtools.decoding.pai import PAI
from pmtools.decoding.second_stream import SecondStream
from pmtools.decoding.vcd import VCD, noisy
from pmtools.decoding.vdd import VDD
from pmtools.decoding.vicrop import RATIOS, ViCrop, best_window
from pmtools.testing.models import image_mark, tiny_model

NEW = 3
LOOPS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 0.8, "num_return_sequences": 2},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "beam sampling": {"num_beams": 2, "do_sample": True, "repetition_penalty": 1.3},
}


def inputs_of(method, images=PICTURES, text=PROMPTS):
    return method.processor(images=images, text=text, return_tensors="pt", padding=True)


def generate(inputs, family="llava", **options):
    torch.manual_seed(7)
    settings = {"max_new_tokens": NEW, "return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    return model_of(family).generate(**inputs, **{**settings, **options})


def run(method, family="llava", images=PICTURES, text=PROMPTS, **options):
    return generate(inputs_of(method, images, text), family, custom_generate=method, **options)


def plain(inputs, family="llava", **options):
    return generate({name: value for name, value in inputs.items() if name != "pm_images"}, family, **options)


def close(a, b, atol=1e-4):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def same(got, want, atol=1e-4):
    """The same tokens, and the same scores up to a constant per row: some methods return log probabilities, some logits."""
    new = len(want.scores)  # prompts of other images may be longer
    assert got.sequences[:, -new:].tolist() == want.sequences[:, -new:].tolist()
    for a, b in zip(got.scores, want.scores, strict=True):
        a, b = a.log_softmax(-1), b.log_softmax(-1)
        assert torch.equal(a.isinf(), b.isinf())
        close(a[~a.isinf()], b[~b.isinf()], atol)


def test_the_checker_fails():
    inputs = inputs_of(Greedy(processor_of()))
    found = plain(inputs)
    with pytest.raises(AssertionError):
        same(plain(inputs, repetition_penalty=1.5), found)
    with pytest.raises(AssertionError):
        same(plain(inputs, suppress_tokens=[5]), found)  # never generated, so only its score tells


# ---------------------------------------------------------------------------------- a reference without any cache


class Stateless:
    """A logits processor that runs whole sequences anew for every token, and works its contrast out in its own way."""

    def __init__(self, rule, prompts, prompt_length, model=None):
        self.rule, self.prompts, self.prompt_length = rule, prompts, prompt_length  # prompts: list of lists of inputs
        self.model = model or model_of()

    def __call__(self, input_ids, scores):
        copies = len(input_ids) // len(self.prompts[0])
        given = scores.double().log_softmax(-1)
        rows = []
        for row, ids in enumerate(input_ids):
            new = ids[self.prompt_length :]
            others = [self.logits(variant[row // copies], new).double().log_softmax(-1) for variant in self.prompts]
            rows.append(self.rule(given[row], others, len(new) + 1))
        return torch.stack(rows).log_softmax(-1).float()

    def logits(self, inputs, new):
        ids = torch.cat([inputs["input_ids"], new[None]], dim=1)
        rest = {name: value for name, value in inputs.items() if name == "pixel_values"}
        with torch.no_grad():
            return self.model(input_ids=ids, use_cache=False, **rest).logits[0, -1]


def cut(z, found, cutoff=0.1):
    return torch.where(z.exp() >= cutoff * z.exp().amax(-1, keepdim=True), found, -torch.inf)


def blind_inputs(instead):
    """Each prompt with something in the place of its image, tokenised as text."""
    tokenizer = processor_of().tokenizer
    return [dict(tokenizer(text.replace("<image>", instead), return_tensors="pt")) for text in PROMPTS]


def noisy_inputs(method):
    singles = [inputs_of(method, [images], [text]) for images, text in zip(PICTURES, PROMPTS, strict=True)]
    pixels = [noisy({"pixel_values": one["pixel_values"]}, noise_step=500, seed=0) for one in singles]
    return [{"input_ids": one["input_ids"], **some} for one, some in zip(singles, pixels, strict=True)]


def gain(z, others, step, decay=0.3):
    g = math.exp(-decay * step)
    return cut(z, z + (1 - g) / g * (z - others[0]))


CASES = {
    "vcd": (lambda p: VCD(p), lambda z, o, t: cut(z, 2 * z - o[0]), lambda m: [noisy_inputs(m)]),
    "vdd none": (lambda p: VDD(p, instead="none"), lambda z, o, t: cut(z, 2 * z - o[0]), lambda m: [blind_inputs("")]),
    "vdd unknown": (
        lambda p: VDD(p, instead="unknown", strength=0.5),
        lambda z, o, t: cut(z, 1.5 * z - 0.5 * o[0]),
        lambda m: [blind_inputs("<unk>")],
    ),
    "vdd both": (
        lambda p: VDD(p, cutoff=0.01),
        lambda z, o, t: cut(z, 2 * z - (o[0] + o[1]) / 2, 0.01),
        lambda m: [blind_inputs(""), blind_inputs("<unk>")],
    ),
    "m3id": (lambda p: M3ID(p, decay=0.3), gain, lambda m: [blind_inputs("")]),
    "pai guidance": (
        lambda p: PAI(p, strength=0.0, guidance=1.4),
        lambda z, o, t: cut(z, 1.4 * (z - o[0]) + o[0]),
        lambda m: [blind_inputs("")],
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("case", CASES)
class TestAgainstTheStatelessReference:
    @pytest.fixture
    def parts(self, case):
        make, rule, prompts = CASES[case]
        method = make(processor_of())
        inputs = inputs_of(method)
        return method, inputs, Stateless(rule, prompts(method), inputs["input_ids"].shape[1])

    def test_alone_and_as_a_logits_processor(self, case, loop, parts):
        method, inputs, reference = parts
        options = dict(LOOPS[loop])
        want = plain(inputs, logits_processor=LogitsProcessorList([reference]), **options)
        same(
            plain(
                inputs, logits_processor=LogitsProcessorList([method.logits_processor(model_of(), inputs)]), **options
            ),
            want,
        )
        if "repetition_penalty" not in options:  # a custom step comes before the penalty, a logits processor after it
            same(run(method, **options), want)
        assert plain(inputs, **options).sequences.tolist() != want.sequences.tolist() or case == "pai guidance"


@pytest.mark.parametrize("family", FAMILIES)
class TestEveryFamily:
    """References through the family's own preparation, the whole sequence anew for every token."""

    @pytest.mark.parametrize("make", [lambda p: VCD(p), lambda p: VDD(p, instead="none")], ids=["vcd", "vdd"])
    def test_contrast(self, family, make):
        method = make(processor_of(family))
        inputs = inputs_of(method, text=prompts_for(family))
        got = generate(inputs, family, custom_generate=method, num_beams=2)
        prompts = Prompts.from_inputs(model_of(family), method.processor, inputs)
        length = inputs["input_ids"].shape[1]

        def reference(input_ids, scores):
            (stream,) = method.references(prompts, length)  # a fresh one for every token
            other, z = stream(input_ids).log_softmax(-1), scores.log_softmax(-1)
            return cut(z, 2 * z - other).log_softmax(-1)

        same(got, plain(inputs, family, logits_processor=[reference], num_beams=2), atol=2e-3)

    def test_without_images_is_the_text_alone(self, family):
        method = Greedy(processor_of(family))
        prompts = Prompts.from_inputs(model_of(family), method.processor, inputs_of(method))
        texts = [text.replace("<image>", "") for text in PROMPTS]
        if family == "paligemma":  # its processor puts a token behind the image, and ends the line
            texts = [text.replace("<image>", "<s>") + "\n" for text in PROMPTS]
        want = method.processor.tokenizer(texts, return_tensors="pt", padding=True)
        got = prompts.without_images()
        if family in ("idefics3", "smolvlm"):  # the marks around the tiles stay
            assert not (got.input_ids == model_of(family).config.image_token_id).any()
        else:
            assert got.input_ids.tolist() == want["input_ids"].tolist()
            assert got.attention_mask.tolist() == want["attention_mask"].tolist()


# --------------------------------------------------------------------------------------------- attention editing


def slow_attention(name, change):
    """Attention with all scores written out, and `change(scores, module)` before the softmax."""

    def attention(module, query, key, value, attention_mask, scaling, **_):
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ key.transpose(-1, -2) * scaling
        causal = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(scores.shape[-1] - scores.shape[-2])
        scores = change(scores, module).masked_fill(~causal, -torch.inf)
        return (scores.softmax(-1) @ value).transpose(1, 2), None

    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def one_prompt_slowly(change, new):
    """Logits after each token of `new`, from one pass over the whole of the first prompt with edited attention."""
    model = tiny_model()
    inputs = inputs_of(Greedy(processor_of()), PICTURES[:1], PROMPTS[:1])
    ids = torch.cat([inputs["input_ids"], torch.tensor([new], dtype=torch.long)], dim=1)
    prompt_length = inputs["input_ids"].shape[1]
    on = ids[0] == model.config.image_token_id
    slow_attention("slow_for_tests", lambda scores, module: change(scores, module, on, prompt_length))
    model.get_decoder().config._attn_implementation = "slow_for_tests"
    with torch.no_grad():
        return model(input_ids=ids, pixel_values=inputs["pixel_values"], use_cache=False).logits[0, prompt_length - 1 :]


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
class TestAttentionEdits:
    def check(self, method, logits, implementation):
        """Every step of a greedy run on the first prompt, alone and left-padded in a batch."""
        for images, text in ((PICTURES[:1], PROMPTS[:1]), (PICTURES, PROMPTS)):
            model = model_of(attn_implementation=implementation)
            found = model.generate(
                **inputs_of(method, images, text),
                custom_generate=method,
                max_new_tokens=NEW,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
            new = found.sequences[0, -NEW:].tolist()
            want = logits(new[:-1])
            got = torch.stack(found.logits)[:, 0]
            close(got.log_softmax(-1), want.log_softmax(-1))

    def test_pai(self, implementation):
        def boosted(scores, module, on, prompt_length):
            if module.layer_idx < 1:
                return scores
            edited = torch.where(on, scores + 0.5 * scores.abs(), scores)
            late = torch.arange(scores.shape[-2])[:, None] >= prompt_length - 1  # each was the last query once
            return torch.where(late, edited, scores)

        method = PAI(processor_of(), strength=0.5, guidance=1.0, first_layer=1)
        self.check(method, lambda new: one_prompt_slowly(boosted, new), implementation)

    def test_ibd(self, implementation):
        def biased(scores, module, on, prompt_length):
            return scores + 9.0 / math.sqrt(module.head_dim) * on

        def logits(new):
            z = one_prompt_slowly(lambda scores, *_: scores, new).log_softmax(-1)
            other = one_prompt_slowly(biased, new).log_softmax(-1)
            p, q = z.exp().double(), other.exp().double()
            m = (p + q) / 2
            divergence = ((p * (p / m).log2() + q * (q / m).log2()).sum(-1, keepdim=True) / 2).float()
            assert (divergence > 0.01).all()
            return z + 2.0 * divergence * (other - z)

        self.check(IBD(processor_of(), strength=2.0, bias=9.0, cutoff=0.0), logits, implementation)

    def test_zero_edits_change_nothing(self, implementation):
        model = model_of(attn_implementation=implementation)
        inputs = dict(inputs_of(Greedy(processor_of())))
        inputs.pop("pm_images")
        on = inputs["input_ids"] == model.config.image_token_id
        with torch.no_grad():
            want = model(**inputs).logits[:, -1]
            for edit in (boosted_image(on, strength=0.0), biased_image(on, bias=0.0)):
                with edited_attention(model, edit):
                    close(model(**inputs).logits[:, -1], want, 1e-5)
            with edited_attention(model, boosted_image(on, strength=1.0)):
                assert (model(**inputs).logits[:, -1] - want).abs().max() > 0.1
            assert torch.equal(model(**inputs).logits[:, -1], want)


class TestEditsLeaveNoTrace:
    def test_nested_and_after_an_exception(self):
        model = model_of()
        config = model.get_decoder().config
        before = config._attn_implementation

        def edit(attend, *arguments, **options):
            return attend(*arguments, **options)

        def fail(*arguments, **options):
            raise RuntimeError("inside")

        ids = torch.tensor([[20, 21, 22]])
        with pytest.raises(RuntimeError, match="inside"), edited_attention(model, edit), edited_attention(model, fail):  # noqa: PT012
            assert config._attn_implementation != before
            model(input_ids=ids)
        assert config._attn_implementation == before
        assert not interception._wrappers.open
        assert not interception._redirections

    def test_other_models_run_unedited(self):
        model, other = model_of(), tiny_model(seed=1)
        ids = torch.tensor([[20, 21, 22]])
        with torch.no_grad():
            want = other(input_ids=ids).logits

            def fail(*arguments, **options):
                raise RuntimeError("inside")

            with edited_attention(model, fail), edited_attention(other, lambda attend, *a, **o: attend(*a, **o)):
                assert torch.equal(other(input_ids=ids).logits, want)

    def test_unknown_implementations_are_refused(self):
        model = tiny_model()
        model.get_decoder().config._attn_implementation = "flash_attention_2"
        with (
            pytest.raises(ValueError, match="sdpa"),
            edited_attention(model, boosted_image(torch.ones(1, 3), strength=1.0)),
        ):
            pass

    def test_misplaced_keys_are_refused(self):
        on = torch.ones(1, 5, dtype=torch.bool)
        with pytest.raises(ValueError, match="is_image"), edited_attention(model_of(), biased_image(on, bias=1.0)):
            model_of()(input_ids=torch.tensor([[20, 21, 22]]))


# -------------------------------------------------------------------------------------------------- zero strength


ZERO = {
    "vcd": lambda p: VCD(p, strength=0.0),
    "vdd": lambda p: VDD(p, strength=0.0),
    "m3id": lambda p: M3ID(p, decay=0.0),
    "pai": lambda p: PAI(p, strength=0.0, guidance=1.0),
    "ibd": lambda p: IBD(p, strength=0.0),
    "ibd bias": lambda p: IBD(p, bias=0.0),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("case", ZERO)
def test_zero_strength_is_plain_decoding_bit_for_bit(case, loop):
    method = ZERO[case](processor_of())
    inputs = inputs_of(method)
    want = plain(inputs, **LOOPS[loop])
    processor = method.logits_processor(model_of(), inputs)
    for got in (
        run(method, **LOOPS[loop]),
        plain(inputs, logits_processor=LogitsProcessorList([processor]), **LOOPS[loop]),
    ):
        assert torch.equal(got.sequences, want.sequences)
        assert torch.equal(torch.stack(got.scores), torch.stack(want.scores))
        assert torch.equal(torch.stack(got.logits), torch.stack(want.logits))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: VCD(p, strength=1e-6, cutoff=0.0),
        lambda p: VDD(p, strength=1e-6, cutoff=0.0),
        lambda p: M3ID(p, decay=1e-7, cutoff=0.0),
        lambda p: PAI(p, strength=1e-6, guidance=1 + 1e-6, cutoff=0.0),
        lambda p: IBD(p, strength=1e-6, cutoff=0.0),
        lambda p: IBD(p, bias=1e-6, cutoff=0.0),
    ],
)
def test_zero_is_no_special_case(make):
    """The least strength, with the second stream really run, is nearly plain decoding."""
    method = make(processor_of())
    same(run(method, do_sample=False), plain(inputs_of(method), do_sample=False), atol=1e-3)


# ------------------------------------------------------------------------------------- batches, beams, composition


METHODS = {
    "vcd": VCD,
    "vdd": VDD,
    "m3id": M3ID,
    "pai": PAI,
    "ibd": lambda p: IBD(p, bias=9.0),
    "api": API,
    "vicrop": lambda p: ViCrop(p, window=30),
    **{name: decoding.METHODS[name] for name in ("magnify", "blur", "mask", "bbox")},
    "crop": lambda p: decoding.METHODS["crop"](p, threshold=0.7),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_equals_its_rows(name):
    method = METHODS[name](processor_of())
    batch = run(method, do_sample=False)
    for row in range(2):
        one = run(method, images=PICTURES[row : row + 1], text=PROMPTS[row : row + 1], do_sample=False)
        assert batch.sequences[row, -NEW:].tolist() == one.sequences[0, -NEW:].tolist()
        for a, b in zip(batch.logits, one.logits, strict=True):
            a, b = a[row].log_softmax(-1), b[0].log_softmax(-1)
            close(a[~a.isinf()], b[~b.isinf()], 2e-3)  # the warp passes the rounding of padded batches on


@pytest.mark.parametrize("name", METHODS)
def test_one_call_answers(name):
    method = METHODS[name](processor_of())
    answer = method.generate(model_of(), picture(), "What is it?", max_new_tokens=3, do_sample=False)
    assert isinstance(answer, str)


class TestSecondStream:
    def stream(self):
        method = Greedy(processor_of())
        inputs = inputs_of(method)
        prompts = Prompts.from_inputs(model_of(), method.processor, inputs)
        return SecondStream(prompts, prompt_length=inputs["input_ids"].shape[1]), inputs["input_ids"]

    def test_rows_move_freely_within_their_prompt(self):
        stream, ids = self.stream()
        ids = ids.repeat_interleave(3, 0)
        stream(ids)
        first = torch.cat([ids, torch.tensor([[30], [31], [32], [30], [31], [32]])], 1)
        stream(first)
        # the same tokens stand in both prompts: each must go on from its own
        moved = torch.cat([first[[2, 2, 0, 4, 3, 4]], torch.tensor([[40], [41], [42], [43], [44], [45]])], 1)
        fresh, _ = self.stream()
        close(stream(moved), fresh(moved))

    def test_starts_over_where_it_must(self):
        stream, ids = self.stream()
        for tokens in ([30, 31], [33], [33, 34, 35], []):
            asked = torch.cat([ids, torch.tensor([tokens, tokens], dtype=torch.long).reshape(2, -1)], 1)
            fresh, _ = self.stream()
            close(stream(asked), fresh(asked))

    def test_the_cached_way_runs_one_token(self):
        stream, ids = self.stream()
        lengths = []
        handle = (
            model_of()
            .get_decoder()
            .register_forward_pre_hook(
                lambda module, args, kwargs: lengths.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
            )
        )
        try:
            for new in range(3):
                stream(torch.cat([ids, ids.new_full((2, new), 30)], 1))
        finally:
            handle.remove()
        assert lengths == [ids.shape[1], 1, 1]

    def test_other_prompts_are_refused(self):
        stream, ids = self.stream()
        with pytest.raises(ValueError, match="same prompts"):
            stream(ids[:1])


class TestWithThePerceptionMagnifier:
    def test_contrast_of_magnified_scores(self):
        vcd = VCD(processor_of())
        pm = PerceptionMagnifier(processor_of(), threshold=0.05, refresh="first")
        inputs = inputs_of(pm)
        _, rule, prompts = CASES["vcd"]
        reference = Stateless(rule, prompts(vcd), inputs["input_ids"].shape[1])
        found = []
        for processor in (reference, vcd.logits_processor(model_of(), inputs)):
            options = {"logits_processor": LogitsProcessorList([processor]), "custom_generate": pm}
            found.append(generate(inputs, num_beams=2, **options))
        same(*found)

    def test_magnifying_by_a_constant_map_is_the_method_alone(self):
        vdd = VDD(processor_of())
        pm = PerceptionMagnifier(processor_of(), heatmap=np.ones((3, 3)))
        inputs = inputs_of(pm)
        processor = vdd.logits_processor(model_of(), inputs)
        got = generate(inputs, logits_processor=LogitsProcessorList([processor]), custom_generate=pm, do_sample=False)
        same(got, run(vdd, do_sample=False))

    def test_magnify_as_an_alternative_is_magnify_once(self):
        pm = PerceptionMagnifier(processor_of(), refresh="first", refine="none")
        method = ImagePrompting(processor_of(), alternative="magnify", heatmap="attention")
        same(run(method, do_sample=False), run(pm, do_sample=False))


# ------------------------------------------------------------------------------------------ attend, show, answer


def untouched(image, perception_map):
    return Edited(image, frames.identity((image.height, image.width)))


class TestImagePrompting:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_identity_is_plain_decoding(self, family):
        method = ImagePrompting(processor_of(family), alternative=untouched, heatmap="attention")
        # not with beams: transformers 5.17 mixes up the tiles of beams, and this method does not
        same(run(method, family, do_sample=False), plain(inputs_of(method), family, do_sample=False))

    @pytest.mark.parametrize("loop", LOOPS)
    def test_it_keeps_every_loop(self, loop):
        method = ImagePrompting(processor_of(), alternative=untouched, heatmap="attention")
        same(run(method, **LOOPS[loop]), plain(inputs_of(method), **LOOPS[loop]))

    @pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("idefics3", "smolvlm")])
    @pytest.mark.parametrize("name", [*(name for name in ALTERNATIVES if name != "magnify"), "api"])
    def test_it_is_plain_decoding_of_the_edited_image(self, family, name):
        heat = pmtools.heatmaps.from_boxes([20, 10, 50, 60], source_hw=(90, 70), grid_hw=(6, 6))
        method = decoding.METHODS[name](processor_of(family), heatmap=heat)
        weights = pmtools.perception.perception_map(heat, gain=5.0 if name == "api" else 10.0)
        alternative = ALTERNATIVES["mask" if name == "api" else name]
        edited = [[alternative(image, weights).image for image in row] for row in PICTURES]
        got = run(method, family, do_sample=False)
        same(got, plain(inputs_of(method, edited), family, do_sample=False), atol=1e-3)
        (step,) = method.last
        assert [[image.size for (image,) in row] for row in step.shown] == [
            [image.size for image in row] for row in edited
        ]

    @pytest.mark.parametrize("source", [*SOURCES, "map", "control"])
    @pytest.mark.parametrize("alternative", ALTERNATIVES)
    def test_any_source_with_any_alternative(self, source, alternative):
        heatmap = {"map": np.eye(3), "control": ControlHeatmap("rolled", SOURCES["attention"], seed=3)}.get(
            source, source
        )
        method = ImagePrompting(processor_of(), alternative=alternative, heatmap=heatmap)
        found = run(method, do_sample=False, max_new_tokens=2)
        assert torch.stack(found.logits).isfinite().all()
        (step,) = method.last
        assert [len(row) for row in step.heatmaps] == [1, 1]
        for (image,), ((shown,),), (frame,) in zip(PICTURES, step.shown, step.frames, strict=True):
            assert frame.source_hw == (image.height, image.width)
            assert frame.target_hw == (shown.height, shown.width)

    def test_several_images_in_a_prompt(self):
        method = decoding.METHODS["mask"](processor_of(), heatmap="attention")
        images = [[picture(120, 90, 1), picture(60, 60, 3)]]
        text = ["Is <image> like <image>?"]
        got = run(method, images=images, text=text, do_sample=False)
        edited = [[shown for (shown,) in method.last[0].shown[0]]]
        same(got, plain(inputs_of(method, edited, text), do_sample=False))

    def test_tiles_with_text_between_them_are_refused(self):
        method = ViCrop(processor_of("idefics3"), window=30)
        with pytest.raises(ValueError, match="keeps the image's size"):
            run(method, "idefics3", do_sample=False)

    def test_wrong_options_are_refused(self):
        with pytest.raises(ValueError, match="alternative"):
            ImagePrompting(processor_of(), alternative="sharpen")
        with pytest.raises(ValueError, match="heatmap"):
            ImagePrompting(processor_of(), alternative="blur", heatmap="grad-cam")
        with pytest.raises(ValueError, match="instead"):
            VDD(processor_of(), instead="noise")
        with pytest.raises(ValueError, match="noise_step"):
            VCD(processor_of(), noise_step=1000)
        with pytest.raises(ValueError, match="input_ids"):
            VCD(processor_of()).logits_processor(model_of(), {})


class TestViCrop:
    @pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("idefics3", "smolvlm")])
    def test_it_is_plain_decoding_with_a_second_image(self, family):
        method = ViCrop(processor_of(family), heatmap=np.eye(6), window=30)
        prompts = prompts_for(family)
        got = run(method, family, text=prompts, do_sample=False)
        pairs = [list(row[0]) for row in method.last[0].shown]
        assert [len(pair) for pair in pairs] == [2, 2]
        mark = image_mark(family)
        texts = [text.replace(mark, mark * 2) for text in prompts]
        same(got, plain(inputs_of(method, pairs, texts), family, do_sample=False), atol=1e-3)

    def test_the_crop_comes_from_the_original(self):
        image = picture(200, 100, 4)
        heat = pmtools.heatmaps.from_boxes([100, 50, 150, 100], source_hw=(100, 200), grid_hw=(4, 8))
        method = ViCrop(processor_of(), heatmap=heat, window=50)
        run(method, images=[[image]], text=PROMPTS[:1], do_sample=False)
        (shown,) = method.last[0].shown[0]
        assert np.array_equal(np.asarray(shown[1]), np.asarray(image)[50:100, 100:150])

    def test_the_window_that_stands_out(self):
        heat = np.zeros((10, 20))
        heat[2:5, 11:14] = 1.0  # 3 x 3 cells of 10 pixels
        assert best_window(heat, source_hw=(100, 200), window=30) == (110, 20, 140, 50)
        assert best_window(heat.T, source_hw=(200, 100), window=30) == (20, 110, 50, 140)
        assert best_window(heat[:, ::-1], source_hw=(100, 200), window=30) == (60, 20, 90, 50)

    def test_small_images_are_shown_whole(self):
        assert best_window(np.eye(4), source_hw=(100, 80), window=336) == (0, 0, 80, 100)

    def test_against_a_plain_search(self):
        rng = np.random.default_rng(0)
        for _ in range(20):
            heat = rng.random((7, 9))
            got = best_window(heat, source_hw=(70, 90), window=20)
            found = []
            for ratio in RATIOS:
                n = int(2 * ratio + 1e-9)
                sums = {(y, x): heat[y : y + n, x : x + n].sum() for y in range(8 - n) for x in range(10 - n)}
                y, x = max(sums, key=sums.get)
                beside = [sums[p] for p in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)) if p in sums]
                found.append(
                    ((sums[y, x] - sum(beside) / len(beside)) / n**2, (10 * x, 10 * y, 10 * (x + n), 10 * (y + n)))
                )
            assert got == max(found, key=lambda item: item[0])[1]
