"""`pmtools ask`: a question about an image, answered by a vision-language model that looks closer."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from pmtools import Warp, io
from pmtools.adapters.pixels import as_pil
from pmtools.answers import FORMATS
from pmtools.api.decoded import undone_answers
from pmtools.cli import methods, streams
from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, in_options, quoted, stderr, usage_error
from pmtools.cli.models import LoadedModel, demo_prompt, load_model
from pmtools.cli.streams import Which
from pmtools.decoding import MagnifierStep

OUTPUT = "Output"


@opt.taking(methods.Looking)
def ask(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image; - for stdin.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask about it.")],
    *,
    looking: methods.Looking,
    max_new_tokens: Annotated[int, opt.value("N", "Longest answer, in tokens.", panel=OUTPUT, min=1)] = 64,
    save: Annotated[
        Path | None, opt.value("DIR", "Write the images that the model saw and the heatmaps there.", panel=OUTPUT)
    ] = None,
    answer_format: Annotated[
        opt.AnswerFormat | None,
        opt.value(
            "NAME",
            "Say places of the image itself: how the model writes them, one of " + ", ".join(FORMATS) + ".",
            panel=OUTPUT,
        ),
    ] = None,
    max_pixels: opt.MaxPixelsOption = io.MAX_PIXELS,
    as_json: Annotated[bool, opt.flag("Print one JSON object on stdout.", "--json", panel=OUTPUT)] = False,
) -> None:
    """Answer a question about an image, from the image in which what the model looks at is magnified."""
    given, method = looking.given(), looking.method
    if save is not None and not methods.shows_images(method):
        raise usage_error(
            f"there is nothing to save with --method {method.value}, which sees the image as it is", "--save"
        )
    picture = _read(image, max_pixels)
    if save is not None:
        opt.check_folder(save, "--save")
    loaded = load_model(looking.model, looking.device, command="ask", settings=looking.settings)
    try:
        prompt = _prompt(loaded, question)
        decoder = methods.make(method, loaded, given)
        with _progress() as report:
            streamer = _Printer(
                loaded.processor.tokenizer, silent=as_json or bool(answer_format), decoder=decoder, report=report
            )
            options = {"streamer": streamer, "max_new_tokens": max_new_tokens, "do_sample": False}
            answer = decoder.generate(loaded.model, picture, prompt, **options)
        if answer_format is not None:
            undone = undone_answers(
                [answer],
                decoder.last,
                loaded.processor,
                format=answer_format.value,
                source_hws=[(picture.height, picture.width)],
            )
            answer = undone[0].text
    except (TypeError, ValueError) as error:
        raise CommandError(in_options(str(error))) from None
    written = [] if save is None else _save(save, decoder.last, picture)
    if answer_format is not None and not as_json:
        typer.echo(answer)
    if as_json:
        typer.echo(json.dumps(_report(answer, method.value, decoder.last, written)))
    elif written:
        stderr().print(f"wrote {len(written)} pictures to {quoted(save)}")  # type: ignore[arg-type]


def _prompt(loaded: LoadedModel, question: str) -> str:
    if loaded.demo is not None:
        return demo_prompt(loaded.demo, question)
    if getattr(loaded.processor, "chat_template", None):
        return question  # `generate` makes a chat turn of it
    return f"{getattr(loaded.processor, 'image_token', '<image>')}\n{question}"


def _read(path: str, max_pixels: int) -> Any:
    """The image of a file as a model sees it; what is left out of the file is said."""
    try:
        found = streams.read(Path(path), Which.FIRST, max_pixels)
        picture = as_pil(found.images[0], name=path)
    except ValueError as error:  # io.ImageFileError too
        raise CommandError(in_options(str(error)), exit_code=1) from None
    if len(found.images) < found.count:
        stderr().print(streams.say(found.left_out[0], Path(path)))
    return picture


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
        looks = sum(sum(step.iterations) for step in steps if isinstance(step, MagnifierStep))
        passes = f", {looks} looks again" if looks else ""
        self.report(f"{len(self.ids)} tokens{passes}")

    def end(self) -> None:
        if not self.ids:  # an error came first
            return
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
    """Of every step that looked again: what the model saw, the heatmap over the original, the grid and the warp."""
    from pmtools import viz

    written = []
    try:
        for number, step in enumerate(steps):
            if isinstance(step, MagnifierStep) and not step.refreshed[0]:
                continue
            name, shown, warp = _shown_image(step)
            files = {name: shown, "heatmap": viz.overlay(picture, step.heatmaps[0][0])}
            if isinstance(warp, Warp):  # the official numbers come without
                files["grid"] = viz.warp_grid(shown, warp)
                io.write_json(warp.to_dict(), folder / f"step_{number:03d}_warp.json")
            for kind, image in files.items():
                path = folder / f"step_{number:03d}_{kind}.png"
                io.write_image(image, path)
                written.append(str(path))
    except io.ImageFileError as error:
        raise CommandError(str(error), exit_code=1) from None
    return written


def _shown_image(step: Any) -> tuple[str, Any, Any]:
    """A name for what the model was shown in a step, the image, and the way there from the original."""
    if isinstance(step, MagnifierStep):
        return "magnified", step.images()[0][0], step.warps[0][0]
    return "shown", step.shown[0][0][-1], step.frames[0][0]


def _report(answer: Any, method: str, steps: list[Any], written: list[str]) -> dict[str, Any]:
    return {
        "answer": answer,
        "method": method,
        "steps": [
            {
                "refreshed": step.refreshed[0],
                "iterations": step.iterations[0],
                "forwards": step.forwards,
                "seconds": round(step.seconds, 6),
            }
            for step in steps
            if isinstance(step, MagnifierStep)
        ],
        "pictures": written,
    }
