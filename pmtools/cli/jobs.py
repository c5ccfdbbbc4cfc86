"""Many files: from paths to jobs, from jobs to results. In parallel, resumable, one bad file stops nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from pmtools import io
from pmtools.cli.console import in_options, one_line, progress, quoted, stderr, usage_error
from pmtools.cli.streams import STREAM, say
from pmtools.io.files import remove_leftovers


@dataclass(frozen=True)
class Job:
    """One image and the files to make from it.

    Attributes
    ----------
    source : Path
        The image.
    output : Path
        The file that is written last: where it is, the job is finished.
    warp, show : Path, optional
        The files that are written before it.
    """

    source: Path
    output: Path
    warp: Path | None = None
    show: Path | None = None

    @property
    def outputs(self) -> list[Path]:
        """All files that the job makes."""
        return [path for path in (self.output, self.warp, self.show) if path is not None]


@dataclass(frozen=True)
class Result:
    """What became of a job: "done" (with notes on what was left out), "skipped", "failed" (with an error) or "not started"."""

    job: Job
    status: str
    error: str | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The result for JSON."""
        paths = {"input": self.job.source, "output": self.job.output, "warp": self.job.warp, "show": self.job.show}
        named = {name: None if path is None else os.fspath(path) for name, path in paths.items()}
        return {"status": self.status, **named, "error": self.error, "notes": list(self.notes)}


# ----------------------------------------------------------------------------------------------------- planning


def find_sources(paths: Sequence[str], *, tree: bool = False) -> list[Path]:
    """The images that files, folders (with what is below them) and globs stand for, each once; a usage error for none.

    A single "-" is stdin.
    """
    if os.fspath(STREAM) in paths:
        if len(paths) > 1:
            raise usage_error("- is the image on stdin, and must be the only one", "PATH")
        return [STREAM]
    try:
        found = io.find_images(paths, recursive=tree)
    except io.ImageFileError as error:
        raise usage_error(str(error), "PATH") from None
    return list({os.path.abspath(path): path for path in found}.values())


def names_in_tree(paths: Sequence[str], sources: Sequence[Path]) -> dict[Path, Path]:
    """What each image is called below the folder that was given, for results that keep the shape of a tree."""
    folders = [Path(path) for path in paths if Path(path).is_dir()]
    found = {}
    for source in sources:
        above = next((folder for folder in folders if source.is_relative_to(folder)), source.parent)
        found[source] = source.relative_to(above)
    return found


def destinations(
    option: str,
    value: str | None,
    sources: Sequence[Path],
    suffix: str | None,
    names: Mapping[Path, Path] | None = None,
) -> list[Path | None]:
    """Where `option` puts the file of each source.

    A value with a suffix is a file, for a single source. A folder that exists, a name that ends in a slash and a name without
    suffix are folders, which get one file per source, of the same name.

    Parameters
    ----------
    option : str
        For errors.
    value : str or None
        What the user gave; None gives None for each source.
    sources : sequence of Path
    suffix : str or None
        What the suffix of the source is replaced by in a folder; None keeps it.
    names : mapping, optional
        What a source is called in a folder. Default: its own name, without its folders.

    Returns
    -------
    list of Path or None
    """
    if value is None:
        return [None] * len(sources)
    path = Path(value)
    if path == STREAM:
        if option != "--output" or len(sources) > 1:
            raise usage_error("- is stdout, which takes one image and nothing else; name a file or folder", option)
        return [STREAM]
    if path.is_dir() or value.endswith(("/", os.sep)) or not path.suffix:
        if path.exists() and not path.is_dir():
            raise usage_error(
                f"{quoted(value)} is a file, but must be a folder here; give it a suffix, or another name", option
            )
        if STREAM in sources:
            raise usage_error(
                f"{quoted(value)} is a folder, but what comes from stdin has no name; name a file", option
            )
        named = [Path(source.name) if names is None else names[source] for source in sources]
        return [path / (name if suffix is None else name.with_name(name.stem + suffix)) for name in named]
    if len(sources) > 1:
        raise usage_error(f"{quoted(value)} is one file, but there are {len(sources)} images; name a folder", option)
    known = [".json"] if suffix == ".json" else list(io.FORMATS)
    if path.suffix.lower() not in known:
        wanted = f"must end in {' or '.join([', '.join(known[:-1]), known[-1]] if known[1:] else known)}"
        raise usage_error(f"{quoted(value)} {wanted}; for a folder, end it with a slash", option)
    return [path]


def plan(
    sources: Sequence[Path],
    output: str,
    *,
    warp: str | None = None,
    show: str | None = None,
    also_read: Sequence[Path | None] = (),
    names: Mapping[Path, Path] | None = None,
) -> list[Job]:
    """The jobs, checked: no file is written twice, and no file that is read is written to.

    Files that are read are the sources, and those of `also_read` or all that is in such a folder. `names` is that of
    `destinations`.
    """
    columns = (
        destinations("--output", output, sources, None, names),
        destinations("--warp", warp, sources, ".json", names),
        destinations("--show", show, sources, ".png", names),
    )
    jobs = [Job(source, out, *rest) for source, out, *rest in zip(sources, *columns, strict=True) if out is not None]
    others = [file for path in also_read if path for file in (path.rglob("*") if path.is_dir() else [path])]
    inputs = {_identity(path): path for path in (*sources, *others) if path != STREAM}
    writers: dict[str, Job] = {}
    for job in jobs:
        for path in job.outputs:
            if path == STREAM:
                continue
            if overwritten := inputs.get(_identity(path)):
                raise usage_error(f"{quoted(path)} would overwrite the input {quoted(overwritten)}; name another place")
            if other := writers.get(os.path.abspath(path)):
                both = quoted(job.source) if other is job else f"{quoted(other.source)} and {quoted(job.source)}"
                raise usage_error(f"{quoted(path)} would be written twice, for {both}; rename, or use another folder")
            writers[os.path.abspath(path)] = job
    return jobs


def _identity(path: Path) -> object:
    """The same for all names of one file, links included."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _make_folders(jobs: Sequence[Job]) -> None:
    """Folders for all outputs, without what killed commands left there; a usage error where there can be none.

    Before hours of work are lost.
    """
    for folder in sorted({path.parent for job in jobs for path in job.outputs if path != STREAM}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise usage_error(f"cannot make the folder {quoted(folder)}: {error.strerror or error}") from None
        if not os.access(folder, os.W_OK):
            raise usage_error(f"cannot write into the folder {quoted(folder)}: permission denied")
        remove_leftovers(folder)


# ------------------------------------------------------------------------------------------------------ running


def run_jobs(
    jobs: Sequence[Job],
    work: Callable[[Job], Any],
    *,
    done: str,
    overwrite: bool,
    workers: int,
    as_json: bool,
    objection: Callable[[Job], str | None] = lambda job: None,
) -> None:
    """Do the jobs in threads, report, and exit: 0 if none failed, 1 if one did, 130 if interrupted.

    Jobs whose files are all there are skipped, unless `overwrite`; where there is an `objection` to that,
    they fail. After Ctrl-C, however often it comes, the files at work are finished first.

    Parameters
    ----------
    jobs : sequence of Job
    work : callable
        Makes the files of a job, each whole or not at all, `job.output` last; returns notes on what it left out, or None.
    done : str
        What to call a job that is done, for example "magnified".
    overwrite : bool
    workers : int
        Number of threads.
    as_json : bool
        Print the results as a JSON object on stdout.
    objection : callable, optional
        Why the files that are there are not those that the job would make.

    Raises
    ------
    typer.Exit
        Always.
    """
    if as_json and any(job.output == STREAM for job in jobs):
        raise usage_error("--json prints on stdout, where the image goes; name a file", "--output")
    results: dict[Job, Result] = {}
    if not overwrite:
        there = [job for job in jobs if all(_is_there(path) for path in job.outputs)]
        results = {job: _skipped(job, objection) for job in there}
        for result in results.values():
            if result.error:
                stderr().print(one_line(f"failed: {result.error}"))
    todo = [job for job in jobs if job not in results]
    _make_folders(todo)
    futures: dict[Future[Any], Job] = {}
    with (
        _interrupts(futures) as interrupted,
        progress(len(todo), done) as (console, step),
        ThreadPoolExecutor(min(workers, len(todo)) or 1) as pool,
    ):
        for job in todo:
            if interrupted.is_set():
                break
            futures[pool.submit(work, job)] = job
        if interrupted.is_set():  # between the last look and the last job
            _cancel(futures)
        for future in as_completed(futures):
            result = results[futures[future]] = _result(futures[future], future)
            if result.error:
                console.print(one_line(f"failed: {result.error}"))
            for note in result.notes:
                console.print(say(note, result.job.source))
            step()
    ordered = [results.get(job) or Result(job, "not started") for job in jobs]
    if as_json:
        typer.echo(json.dumps({**_counts(ordered), "files": [result.to_dict() for result in ordered]}, indent=1))
    for line in _closing_lines(ordered, done, interrupted.is_set()):
        stderr().print(line)
    raise typer.Exit(130 if interrupted.is_set() else int(any(result.status == "failed" for result in ordered)))


def _is_there(path: Path) -> bool:
    return path != STREAM and path.is_file()


def _cancel(futures: dict[Future[Any], Job]) -> None:
    for future in list(futures):
        future.cancel()


@contextlib.contextmanager
def _interrupts(futures: dict[Future[Any], Job]) -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, in place of their exception; they cancel the `futures` that have not begun."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # the only one that receives signals
        yield event
        return

    def stop(*_: object) -> None:
        event.set()
        _cancel(futures)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _skipped(job: Job, objection: Callable[[Job], str | None]) -> Result:
    """The result of a job whose files are there."""
    try:
        error = objection(job)
    except (ValueError, OSError) as trouble:
        error = in_options(str(trouble))
    return Result(job, "skipped") if error is None else Result(job, "failed", f"{quoted(job.source)}: {error}")


def _result(job: Job, future: Future[Any]) -> Result:
    """The result of a future that has ended. Whatever happened to one file, the others go on."""
    try:
        notes = future.result() or ()
    except CancelledError:
        return Result(job, "not started")
    except MemoryError:
        return Result(
            job, "failed", f"{quoted(job.source)}: not enough memory; a smaller --size or fewer --jobs may do"
        )
    except io.ImageFileError as error:
        about_source = os.path.abspath(error.path) == os.path.abspath(job.source)
        message = in_options(str(error))
        return Result(job, "failed", message if about_source else f"{quoted(job.source)}: {message}")
    except (ValueError, OSError) as error:
        return Result(job, "failed", f"{quoted(job.source)}: {in_options(str(error))}")
    except Exception as error:
        return Result(job, "failed", f"{quoted(job.source)}: {type(error).__name__}: {error}")
    return Result(job, "done", notes=tuple(notes))


def _counts(results: Sequence[Result]) -> dict[str, int]:
    statuses = [result.status for result in results]
    return {status.replace(" ", "_"): statuses.count(status) for status in ("done", "skipped", "failed", "not started")}


def _closing_lines(results: Sequence[Result], done: str, interrupted: bool) -> list[str]:
    if len(results) == 1 and not interrupted:
        path = results[0].job.output
        output = "stdout" if path == STREAM else quoted(path)
        lines = {"done": [f"{done}: {output}"], "skipped": [f"skipped: {output} exists (--overwrite redoes it)"]}
        return lines.get(results[0].status, [])
    counts = _counts(results)
    parts = [f"{counts['done']} {done}"]
    if counts["skipped"]:
        parts.append(f"{counts['skipped']} skipped, as they exist (--overwrite redoes them)")
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    if interrupted:
        parts.append(f"interrupted before {counts['not_started']}; the same command goes on from here")
    return [", ".join(parts)]
