"""`pmtools demo`: an answer that magnification fixes, how many it fixes and makes wrong, and a photograph magnified."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pmtools import io
from pmtools.app.pictures import PATCH_XYXY
from pmtools.cli import options as opt
from pmtools.cli.console import WIDTH, CommandError, progress, quoted, stderr

if TYPE_CHECKING:
    from rich.console import Console

    from pmtools.zoo.demonstration import Demonstration, Example

NEEDS = {"torch": "hf", "transformers": "hf", "matplotlib": "viz", "skimage": "cli"}


def demo(
    *,
    out: Annotated[Path, opt.value("DIR", "Folder for the pictures.", "--out", "-o")] = Path("pmtools-demo"),
    questions: Annotated[int, opt.value("N", "Scenes to ask about, one question each.", min=1)] = 200,
    seed: Annotated[int, opt.value("N", "Of the scenes.", min=0)] = 2026,
) -> None:
    """See a model answer wrongly from an image, and correctly from the magnified one.

    The embedded model is asked about scenes that it has not seen: how many answers does magnification fix, and how
    many does it make wrong? Then a photograph is magnified. Nothing is downloaded.
    """
    _check_extras()
    console = _stdout()
    try:
        out.mkdir(parents=True, exist_ok=True)
        console.print(f"\n{questions} scenes that the model has not seen, one question each (200 take half a minute)")
        shown = _demonstrate(questions, seed)
        written = _show_example(console, shown.example, out / "question.png")
        _show_counts(console, shown)
        written |= _show_photograph(console, out / "photograph.png", out / "photograph_magnified.png")
        written |= _show_signs(console, out / "three_signs.png")
    except io.ImageFileError as error:
        raise CommandError(str(error), exit_code=1) from None
    except OSError as error:
        raise CommandError(f"--out: {quoted(out)}: {error.strerror or error}", exit_code=1) from None
    console.print("\n[bold]Look at[/bold]\n")
    for path, what in written.items():
        console.print(f"  {path}\n      {what}", markup=False, soft_wrap=True)


def _check_extras() -> None:
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(dict.fromkeys(NEEDS[name] for name in missing))
        raise CommandError(f"`pmtools demo` needs {' and '.join(missing)}: pip install 'pmtools[{extras}]'", 1)


def _stdout() -> Console:
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    console.width = min(console.width, WIDTH)
    return console


def _demonstrate(questions: int, seed: int) -> Demonstration:
    with stderr().status("loading the model"):
        import transformers

        from pmtools import zoo
        from pmtools.zoo.demonstration import demonstrate

        transformers.utils.logging.disable_progress_bar()
        try:
            model = zoo.demo_model()
        except (FileNotFoundError, ValueError) as error:
            raise CommandError(str(error), 1) from None
    with progress(questions, "asking") as (_, step):
        return demonstrate(model, questions=questions, seed=seed, batch_size=20, progress=step)


def _show_example(console: Console, example: Example | None, path: Path) -> dict[Path, str]:
    """Both answers and the true one; the figure that was written, and what it shows."""
    if example is None:
        console.print("\nMagnifying fixed no answer about a small object: try more --questions, or another --seed")
        return {}
    from pmtools.zoo.demonstration_picture import draw_example

    before, after = (
        f"{box[2] - box[0]:.0f} x {box[3] - box[1]:.0f}" for box, *_ in map(list, example.input_boxes_xyxy)
    )
    console.print(f"\n[bold]{example.item.question.text}[/bold]\n")
    console.print(f"  from the image            [bold red]{example.plain:8}[/] wrong: the object has {before} pixels")
    console.print(f"  from the magnified image  [bold green]{example.magnified:8}[/] correct: it has {after} pixels")
    console.print(f"  the truth                 [bold]{example.item.question.answer}[/]")
    io.write_image(draw_example(example), path)
    return {path: "this scene, where the model looked, the scene magnified"}


def _show_counts(console: Console, shown: Demonstration) -> None:
    n = shown.questions
    console.print(f"\n[bold]All {n} questions[/bold]\n")
    console.print(f"  correct from the image            {shown.correct_before:4d}   {shown.correct_before / n:4.0%}")
    console.print(f"  correct from the magnified image  {shown.correct_after:4d}   {shown.correct_after / n:4.0%}")
    console.print(f"  fixed by magnifying               {shown.fixed:4d}")
    console.print(f"  newly wrong                       {shown.newly_wrong:4d}")


def _show_photograph(console: Console, picture: Path, image: Path) -> dict[Path, str]:
    """The photograph of the README: its mission patch magnified, and taken back; the files, and what they show."""
    import numpy as np
    from skimage import data

    import pmtools
    from pmtools import viz

    photo, patch = data.astronaut(), np.array(PATCH_XYXY)
    heatmap = pmtools.heatmaps.from_boxes(patch, source_hw=photo.shape[:2])
    warp = pmtools.fit_warp(heatmap, source_hw=photo.shape[:2])
    magnified, box = warp.image(photo), warp.boxes(patch)
    panels = {
        "original": viz.draw_boxes(photo, [patch]),
        "where to look": viz.overlay(photo, heatmap),
        "magnified": viz.draw_boxes(magnified, [box]),
        "the warp": viz.warp_grid(magnified, warp),
    }
    io.write_image(viz.side_by_side(list(panels.values()), titles=list(panels)), picture)
    io.write_image(magnified, image)

    growth = float(np.prod(box[2:] - box[:2]) / np.prod(patch[2:] - patch[:2]))
    off = float(np.abs(warp.inverse_boxes(box) - patch).max())
    console.print("\n[bold]A photograph, magnified at the patch on a suit[/bold]\n")
    console.print(f"  the patch has {growth:.1f} times its area; its box, taken back, is off by {off:.1g} pixels")
    return {picture: "the photograph, where to look, magnified, the warp's grid", image: "magnified, at full size"}


def _show_signs(console: Console, path: Path) -> dict[Path, str]:
    """Three signs, read by OCR that never saw a warp; where it is not installed, a line that says how to have it."""
    from pmtools.evaluation.reading.demonstration import read_signs

    console.print("\n[bold]Three signs on a photograph, read by OCR from 336 x 336 pixels[/bold]\n")
    try:
        with stderr().status("reading"):
            found = read_signs()
    except ModuleNotFoundError:
        console.print("  left out; the reader comes with: pip install 'pmtools\\[reading]'")
        return {}
    console.print(f"  on the signs              {', '.join(found.words)}")
    console.print(f"  from the image            [bold red]{', '.join(found.plain) or 'nothing'}[/]")
    console.print(f"  from the magnified image  [bold green]{', '.join(found.magnified) or 'nothing'}[/]")
    io.write_image(found.figure, path)
    return {path: "what the reader saw, and its boxes back on the photograph"}
