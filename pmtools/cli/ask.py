"""`pmtools ask`: a question about an image, answered by a vision-language model that looks closer."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pmtools import io
from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, in_options, quoted, stderr, usage_error

MODEL, LOOK, OUTPUT = "Model", "How it looks", "Output"


class Method(StrEnum):
    """Decoding methods."""

    PM = "pm"
    GREEDY = "greedy"


class Refine(StrEnum):
    """How tokens are hidden while the model looks again."""

    EXACT = "exact"
    CACHED = "cached"
    NONE = "none"


class Refresh(StrEnum):
    """When the image is magnified anew."""

    FIRST = "first"
    EVERY = "every"
    ADAPTIVE = "adaptive"


def ask(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask about it.")],
    *,
    model: Annotated[
        str | None, opt.value("PATH", "Folder or hub name of the model. Default: the embedded one.", panel=MODEL)
    ] = None,
    device: Annotated[
        str | None, opt.value("DEVICE", "cpu, cuda, ... Default: a GPU where there is one.", panel=MODEL)
    ] = None,
    method: Annotated[Method, opt.value("pm|greedy", "Magnify, or answer as the model is.", panel=LOOK)] = Method.PM,
    refine: Annotated[Refine | None, opt.value("MODE", "Looking again: exact, cached or none.", panel=LOOK)] = None,
    refresh: Annotated[Refresh | None, opt.value("WHEN", "Magnify first, every or adaptive.", panel=LOOK)] = None,
    start_layer: Annotated[
        int | None, opt.value("N", "First layer whose attention counts, from 1.", panel=LOOK)
    ] = None,
    gain: Annotated[float | None, opt.value("X", "Contrast of the map.", panel=LOOK)] = None,
    kernel_size: Annotated[int | None, opt.value("N", "Smoothing window in tokens, odd.", panel=LOOK)] = None,
    max_new_tokens: Annotated[int, opt.value("N", "Longest answer, in tokens.", panel=OUTPUT, min=1)] = 64,
    save: Annotated[
        Path | None, opt.value("DIR", "Write the magnified images and the heatmaps there.", panel=OUTPUT)
    ] = None,
    max_pixels: opt.MaxPixelsOption = io.MAX_PIXELS,
    as_json: Annotated[bool, opt.flag("Print one JSON object on stdout.", "--json", panel=OUTPUT)] = False,
) -> None:
    """Answer a question about an image, from the image in which what the model looks at is magnified."""
    chosen = {
        "refine": refine,
        "refresh": refresh,
        "start_layer": start_layer,
        "gain": gain,
        "kernel_size": kernel_size,
    }
    given = {name: getattr(value, "value", value) for name, value in chosen.items() if value is not None}
    if method is Method.GREEDY and save is not None:
        raise usage_error("there is nothing to save with --method greedy", "--save")
    if method is Method.GREEDY and given:
        raise usage_error("is an option of --method pm", "--" + next(iter(given)).replace("_", "-"))
    picture = _as_pil(_read(image, max_pixels))
    loaded = _load(model, device, question)

    from pmtools.decoding import METHODS

    try:
        settings = {**loaded.settings, **given} if method is Method.PM else {}
        decoder = METHODS[method.value](loaded.processor, **settings)
        with _progress() as report:
            streamer = _Printer(loaded.processor.tokenizer, silent=as_json, decoder=decoder, report=report)
            options = {"streamer": streamer, "max_new_tokens": max_new_tokens, "do_sample": False}
            answer = decoder.generate(loaded.model, picture, loaded.prompt, **options)
    except (TypeError, ValueError) as error:
        raise CommandError(in_options(str(error))) from None
    written = [] if save is None else _save(save, decoder.last, picture)
    if as_json:
        typer.echo(json.dumps(_report(answer, method, decoder.last, written)))
    elif written:
        stderr().print(f"wrote {len(written)} pictures to {quoted(save)}")  # type: ignore[arg-type]


def _read(path: str, max_pixels: int) -> Any:
    try:
        return io.read_image(path, max_pixels=max_pixels)
    except io.ImageFileError as error:
        raise CommandError(str(error), exit_code=1) from None


def _as_pil(image: Any) -> Any:
    """Any image that was read, as RGB: 16-bit colour files come as arrays."""
    if not hasattr(image, "convert"):
        image = io.from_array((image >> 8).astype("uint8"))
    return image.convert("RGB")


@dataclass(frozen=True)
class _Loaded:
    """A model ready to be asked; `settings` of `PerceptionMagnifier` that were chosen for it; its question as a prompt."""

    model: Any
    processor: Any
    settings: dict[str, Any]
    prompt: str


def _load(name: str | None, device: str | None, question: str) -> _Loaded:
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise CommandError(f"`pmtools ask` needs {error.name}: pip install 'pmtools[hf]'") from None
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as error:
        raise usage_error(f"{where!r} cannot be used: {str(error).splitlines()[0]}", "--device") from None
    transformers.utils.logging.disable_progress_bar()
    if name is None:
        from pmtools import zoo

        try:
            demo = zoo.demo_model()
            return _Loaded(demo.model.to(where), demo.processor, dict(demo.settings), demo.prompt(question))
        except (FileNotFoundError, ValueError, TypeError) as error:
            raise CommandError(str(error)) from None
    if (Path(name).is_absolute() or name.startswith(".")) and not Path(name).is_dir():
        raise CommandError(f"--model: there is no folder {quoted(name)}", exit_code=1)
    try:
        processor = transformers.AutoProcessor.from_pretrained(name)
        model = transformers.AutoModelForImageTextToText.from_pretrained(name, dtype="auto")
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise CommandError(
            f"--model: cannot load {name!r}: {str(error).strip().splitlines()[0]}", exit_code=1
        ) from None
    # `generate` makes a chat turn of the question where there is a template
    templated = getattr(processor, "chat_template", None)
    prompt = question if templated else f"{getattr(processor, 'image_token', '<image>')}\n{question}"
    return _Loaded(model.to(where).eval(), processor, {}, prompt)


class _Printer:
    """A streamer: prints the answer as it grows, and reports the steps."""

    def __init__(self, tokenizer: Any, *, silent: bool, decoder: Any, report: Callable[[str], None]) -> None:
        self.tokenizer, self.silent, self.decoder, self.report = tokenizer, silent, decoder, report
        self.ids: list[int] = []
        self.printed, self.prompt_seen = "", False

    def put(self, value: Any) -> None:
        if not self.prompt_seen:  # the first call brings the prompt
            self.prompt_seen = True
            return
        self.ids.extend(value.reshape(-1).tolist())
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True).lstrip()
        if text.startswith(self.printed) and not text.endswith("�"):  # the rest of a character is still to come
            self._write(text[len(self.printed) :])
            self.printed = text
        steps = self.decoder.last
        passes = f", {sum(sum(s.iterations) for s in steps)} looks again" if steps else ""
        self.report(f"{len(self.ids)} tokens{passes}")

    def end(self) -> None:
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True).strip()
        self._write(text[len(self.printed) :] + "\n")

    def _write(self, text: str) -> None:
        if not self.silent:
            sys.stdout.write(text)
            sys.stdout.flush()


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says how far the answer is, while stdout is not a terminal too; it goes when done."""
    console = stderr()
    if not console.is_terminal or console.is_dumb_terminal or sys.stdout.isatty():
        yield lambda _: None
        return
    with console.status("loading") as status:
        yield status.update


def _save(folder: Path, steps: list[Any], picture: Any) -> list[str]:
    """The magnified image, the heatmap over the original, the grid and the warp of every step that magnified anew."""
    from pmtools import viz

    written = []
    for number, step in enumerate(steps):
        if not step.refreshed[0]:
            continue
        magnified, warp = step.images()[0][0], step.warps[0][0]
        files = {
            "magnified": magnified,
            "heatmap": viz.overlay(picture, step.heatmaps[0][0]),
            "grid": viz.warp_grid(magnified, warp),
        }
        try:
            for kind, image in files.items():
                path = folder / f"step_{number:03d}_{kind}.png"
                io.write_image(image, path)
                written.append(str(path))
            io.write_json(warp.to_dict(), folder / f"step_{number:03d}_warp.json")
        except io.ImageFileError as error:
            raise CommandError(str(error), exit_code=1) from None
    return written


def _report(answer: Any, method: Method, steps: list[Any], written: list[str]) -> dict[str, Any]:
    return {
        "answer": answer,
        "method": method.value,
        "steps": [
            {
                "refreshed": step.refreshed[0],
                "iterations": step.iterations[0],
                "forwards": step.forwards,
                "seconds": round(step.seconds, 6),
            }
            for step in steps
        ],
        "pictures": written,
    }
