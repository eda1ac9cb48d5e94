"""The command line: each command says what it takes, hands it to a job, and shows what came back.

A command is a file. Imports that take time stay inside the commands.
"""

from forecaster.cli.ablate import ablate
from forecaster.cli.app import app
from forecaster.cli.demo import demo
from forecaster.cli.drift import drift
from forecaster.cli.evaluate import evaluate
from forecaster.cli.explain import explain
from forecaster.cli.ingest import ingest
from forecaster.cli.nightly import nightly
from forecaster.cli.predict import predict
from forecaster.cli.publish import publish
from forecaster.cli.reconcile import reconcile
from forecaster.cli.report import report
from forecaster.cli.runs_log import runs
from forecaster.cli.state import state
from forecaster.cli.stream import stream
from forecaster.cli.train import train
from forecaster.cli.tune import tune
from forecaster.cli.warm import warm

__all__ = ["COMMANDS", "app"]

COMMANDS = (  # in the order of the help
    ingest,
    tune,
    train,
    evaluate,
    predict,
    reconcile,
    publish,
    report,
    stream,
    warm,
    nightly,
    drift,
    ablate,
    demo,
)

for command in COMMANDS:
    app.command()(command)

app.add_typer(runs, name="runs")
app.add_typer(explain, name="explain")
app.add_typer(state, name="state")
