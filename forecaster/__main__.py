"""`python -m forecaster` is `forecast`."""

from forecaster.cli import app

if __name__ == "__main__":
    app(prog_name="forecast")
