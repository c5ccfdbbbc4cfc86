"""`pmtools eval`: benchmarks answered by a model with several methods, resumably."""

from __future__ import annotations

import typer

from pmtools.cli.eval import llava_bench, mme, pope, reading, scenes

app = typer.Typer(help="Answer a benchmark with several methods, resumably, and score the answers.")


@app.callback(invoke_without_command=True)
def _evaluate(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command()(scenes.scenes)
app.command()(reading.reading)
app.command()(mme.mme)
app.command()(pope.pope)
app.command()(llava_bench.llava_bench)
