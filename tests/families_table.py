"""The page of supported models, from the table of families and from what their tiny models do.

.venv-families/bin/python tests/families_table.py    # the environment of `make test-families`
"""

from itertools import product
from pathlib import Path

import torch
import transformers
from tiny import PICTURES, prompts_for

from pmtools.decoding import PerceptionMagnifier
from pmtools.decoding.pm import REFRESH
from pmtools.testing.models import tiny_model, tiny_processor
from pmtools.testing.models.table import TABLE

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "supported_models.md"
REFINE = ("none", "cached", "exact")
#: Rows of the table that are no `model_type`, and what they stand for.
VARIANTS = {
    "llava_siglip": "`llava` with SigLIP",
    "llava_pixtral": "`llava` with Pixtral",
    "internvl_qwen3_moe": "`internvl` with Qwen3-MoE",
}
WINDOW = '`refine="cached"` needs a prompt that fits into the sliding window'
#: What a user should know of a family, beside its modes.
LIMITS = {
    "llama4": "transformers 5.24 itself cannot run it: its forward pass raises AttributeError (`image_outputs`)",
    "smolvlm": "its processor needs `num2words`",
    "perception_lm": "its vision tower needs `timm`",
    "gemma3": WINDOW,
    "gemma3n": f"its vision tower needs `timm`; {WINDOW}",
    "gemma4": f"captured attention equals the eager one to 5e-5 with SDPA; {WINDOW}",
}
#: Rows of the table that are refused, and why.
REFUSED = {
    "mllama": "the text reads the image in cross-attention layers, so the prompt holds no image tokens",
}
#: Families without a tiny model, and why.
LEFT_OUT = {
    "blip-2, instructblip": "the text sees the answers of a fixed set of queries, which have no place in the image",
    "idefics2, kosmos-2, aria": "a resampler's queries stand between image and text; they have no place in the image",
    "florence2, pix2struct, udop, t5gemma2": "encoder and decoder: the image is not among the tokens of the answer",
    "chameleon, emu3": "image tokens are words of a codebook; there are no image features to encode beforehand",
}
HEADER = "# Supported models\n\n"
TESTED = "Tested with "


def supported():
    """The families of the table that are not refused."""
    return [family for family in TABLE if family not in REFUSED]


def modes(family):
    """What the magnifier can do with a tiny model: `refine` for each `refresh`, and whether pixels can be fused."""
    model = tiny_model(family)
    processor = tiny_processor(model)
    runs = {mode: _runs(model, processor, *mode) for mode in product(REFRESH, REFINE)}
    refine = {refresh: tuple(kind for kind in REFINE if runs[refresh, kind]) for refresh in REFRESH}
    if all(found == REFINE for found in refine.values()):
        said = "all"
    elif len({*refine.values()}) == 1:
        said = "all but " + ", ".join(f'`refine="{kind}"`' for kind in REFINE if kind not in refine["first"])
    else:
        said = "; ".join(f"`{refresh}`: {', '.join(found) or 'none'}" for refresh, found in refine.items())
    return said, "yes" if _runs(model, processor, "first", "none", preprocess="fused") else "no"


def _runs(model, processor, refresh, refine, **options):
    """Whether this mode runs; if it does not, it must say why not, as a ValueError."""
    pm = PerceptionMagnifier(processor, refresh=refresh, refine=refine, threshold=0.05, max_iterations=3, **options)
    settings = {"max_new_tokens": 3, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    inputs = pm.processor(images=PICTURES, text=prompts_for(model.tiny_family), return_tensors="pt", padding=True)
    try:
        out = model.generate(**inputs.to(model.dtype), custom_generate=pm, **settings)
    except ValueError:
        return False
    if not torch.stack(out.logits).isfinite().all():
        raise ArithmeticError(f"{model.tiny_family} with {refresh}, {refine} gives logits that are not finite")
    return True


def page(found, versions):
    """The whole page.

    Parameters
    ----------
    found : dict of str to (str, str)
        For each supported family what `modes` returns.
    versions : str
    """
    left_out = [*LEFT_OUT.items(), *((f"{family}", reason) for family, reason in REFUSED.items())]
    return "\n".join(
        [
            HEADER
            + "Written by `tests/families_table.py`: every row was run, as a tiny random model with the processor",
            "class that transformers has for it. The layout of its image tokens was read off the processor and",
            "passed a probe of the vision tower at three aspect ratios, captured attention equals what eager",
            "attention returns to 1e-5, and a uniform heatmap gives plain decoding. A family that is not",
            "listed is tried in the same way when you use it: it works, or is refused with the reason, before",
            "anything is magnified ([how to add one](../howto/add_model_family.md)).",
            "",
            f"{TESTED}{versions}: {len(found)} families.",
            "",
            '| Family | Processor | Image back ends | `refresh` x `refine` | `preprocess="fused"` | Limits |',
            "| --- | --- | --- | --- | --- | --- |",
            *(_row(family, *found[family]) for family in supported()),
            "",
            "transformers asks for torchvision where there is no PIL back end, and for processors that may take",
            "videos.",
            "",
            "## Left out",
            "",
            "| Family | Why |",
            "| --- | --- |",
            *(f"| {family} | {reason} |" for family, reason in sorted(left_out)),
            "",
        ]
    )


def read():
    """What the page says of the modes of each family, and of versions."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = (line.strip("| ").split(" | ") for line in lines if line.startswith("| `"))
    names = {_name(family): family for family in supported()}
    (tested,) = (line for line in lines if line.startswith(TESTED))
    return {names[row[0]]: (row[3], row[4]) for row in rows}, tested.removeprefix(TESTED).rsplit(": ", 1)[0]


def _name(family):
    return VARIANTS.get(family, f"`{family}`")


def _row(family, refine, fused):
    row = TABLE[family]
    limits = LIMITS.get(family, "")
    return f"| {_name(family)} | {row.processor_class} | {', '.join(row.backends)} | {refine} | {fused} | {limits} |"


def main():
    """Run every family in every mode and write the page."""
    from test_families import llama_4_as_it_was_meant

    versions = f"transformers {transformers.__version__} and torch {torch.__version__.split('+')[0]}"
    with llama_4_as_it_was_meant():
        found = {family: modes(family) for family in supported()}
    PAGE.write_text(page(found, versions), encoding="utf-8")


if __name__ == "__main__":
    import torchvision_stub

    kept = torchvision_stub.load()
    main()
