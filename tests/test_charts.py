"""Charts: what stands in them, that they are whole files, and that they leave matplotlib as they found it."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.artist import Artist

from forecaster.errors import ConfigError, DataError
from forecaster.evaluation.backtest import Backtest
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.scores import score
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency
from forecaster.report.charts import forecast_chart, leaderboard_chart, save_chart
from forecaster.series import Panel

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
HORIZON = 6


def a_panel(frequency, series=6, length=40):
    rng = np.random.default_rng(0)
    ids = tuple(f"s{b}" for b in range(series))
    return Panel(
        ids, np.full(series, 100), np.arange(series + 1) * length, 50 + rng.normal(size=series * length).cumsum(), frequency
    )


def a_forecast(panel, shift=0.0, back=HORIZON):
    """A flat forecast from `back` steps before the end of each series."""
    last = panel.values.reshape(len(panel), -1)[:, -back - 1]
    values = last[:, None, None] + shift + np.linspace(-3, 3, len(QUANTILES)) * np.ones((1, HORIZON, 1))
    return Forecast(panel.ids, panel.ends - back, QUANTILES, values, panel.frequency, {})


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("alias", ["h", "D", "B", "MS", "QE-DEC", "YS"])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_chart_of_any_frequency_is_a_whole_picture(alias, suffix, tmp_path):
    panel = a_panel(Frequency(alias), series=2)
    path = save_chart(
        forecast_chart(panel, a_forecast(panel), ids=panel.ids, actuals=panel, title=alias), tmp_path / f"c{suffix}"
    )
    begins, ends = {".png": (b"\x89PNG", b"IEND\xaeB`\x82"), ".svg": (b"<?xml", b"</svg>\n")}[suffix]
    assert path.read_bytes().startswith(begins)
    assert path.read_bytes().endswith(ends)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_each_series_has_a_panel_and_all_share_one_legend(count):
    panel = a_panel(Frequency("h", is_numbered=True))
    figure = forecast_chart(panel, a_forecast(panel), ids=panel.ids[:count], actuals=panel, label="gru", title="Six hours ahead")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(panel.ids[:count])
    assert len(figure.legends) == 1
    assert legend_of(figure) == ["history", "actual", "gru", "80 % interval", "95 % interval"]
    assert figure.legends[0].get_title().get_text() == "Six hours ahead"


def test_text_in_a_chart_does_not_overlap():
    panel = a_panel(Frequency("MS"))
    panel = replace(panel, values=panel.values * 1e6)
    others = {name: a_forecast(panel, shift) for shift, name in enumerate(("seasonal_naive", "holt_winters", "arima"))}
    figure = forecast_chart(panel, a_forecast(panel), ids=panel.ids, actuals=panel, title="Sales", others=others)
    figure.draw_without_rendering()
    boxes = [figure.legends[0].get_window_extent()]
    for axes in figure.axes:
        shown = [axes.title, axes._left_title, axes.yaxis.get_offset_text(), axes.xaxis.get_offset_text()]
        boxes += [text.get_window_extent() for text in shown if text.get_text()]
        low, high = axes.get_ylim()
        ticks = [label for at, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True) if low <= at <= high]
        boxes += [label.get_window_extent() for label in ticks]
    overlapping = [(a, b) for n, a in enumerate(boxes) for b in boxes[:n] if a.overlaps(b)]
    assert not overlapping
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_the_lines_are_the_past_the_median_and_the_truth():
    panel = a_panel(Frequency("h", is_numbered=True), series=1)
    forecast = a_forecast(panel)
    figure = forecast_chart(panel, forecast, ids=["s0"], actuals=panel, history=10, label="gru", others={"naive": forecast})
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    np.testing.assert_array_equal(lines["history"].get_ydata(), panel.values[24:34])
    np.testing.assert_array_equal(lines["history"].get_xdata(), np.arange(124, 134))
    np.testing.assert_array_equal(lines["actual"].get_ydata(), panel.values[34:])
    for name in ("gru", "naive"):
        np.testing.assert_array_equal(lines[name].get_ydata(), forecast.median[0])


def test_of_several_origins_the_last_is_drawn():
    panel = a_panel(Frequency("h", is_numbered=True), series=1)
    early, late = a_forecast(panel, back=12), a_forecast(panel)
    both = Forecast(("s0", "s0"), np.r_[late.origins, early.origins], QUANTILES, np.concatenate([late.values, early.values]),
                    panel.frequency, {})  # fmt: skip
    lines = {line.get_label(): line for line in forecast_chart(panel, both, ids=["s0"]).axes[0].get_lines()}
    np.testing.assert_array_equal(lines["forecast"].get_ydata(), late.median[0])
    assert "actual" not in lines


def test_times_are_shown_on_the_clock_of_the_panel(tmp_path):
    panel = a_panel(Frequency("h", time_zone="Europe/Berlin"), series=1)
    figure = forecast_chart(panel, a_forecast(panel), ids=["s0"], actuals=panel)
    drawn = next(line for line in figure.axes[0].get_lines() if line.get_label() == "actual").get_xdata()
    assert drawn[-1] == np.datetime64("1970-01-06T20")  # position 139 is 19:00 in UTC
    save_chart(figure, tmp_path / "c.png")


def test_a_name_with_dollar_signs_is_no_formula_and_a_long_one_is_cut(tmp_path):
    panel = replace(a_panel(Frequency("D"), series=1), ids=("$5 \\frac{ and up$" + "x" * 100,))
    figure = forecast_chart(panel, a_forecast(panel), ids=panel.ids)
    assert len(figure.axes[0].get_title(loc="left")) == 44
    save_chart(figure, tmp_path / "c.png")


def test_an_unknown_series_or_suffix_is_refused(tmp_path):
    panel = a_panel(Frequency("D"))
    with pytest.raises(DataError, match=r"series 'x' is not in both panel and forecast; name one such as 's0'"):
        forecast_chart(panel, a_forecast(panel), ids=["x"])
    with pytest.raises(DataError, match=r"no series to draw; name at least one"):
        forecast_chart(panel, a_forecast(panel), ids=[])
    with pytest.raises(ConfigError, match=r"ends in '.gif'; expected .png or .svg"):
        save_chart(forecast_chart(panel, a_forecast(panel), ids=["s0"]), tmp_path / "c.gif")


def a_leaderboard(panel, names, reference="naive2"):
    forecasts = {name: a_forecast(panel, shift=float(k)) for k, name in enumerate(names)}
    actuals = panel.values.reshape(len(panel), -1)[:, -HORIZON:]
    made = Backtest(forecasts, {"arima": DataError("no.")})
    return rank(score(made, history=panel, actuals=actuals, season_length=1, reference=reference))


def test_the_leaderboard_chart_shows_who_was_scored_best_on_top(tmp_path):
    panel = a_panel(Frequency("D"))
    leaderboard = a_leaderboard(panel, ["gru", "naive2", "holt_winters"])
    figure = leaderboard_chart(leaderboard, title="Six series")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [row.forecaster for row in leaderboard.rows[:3]]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert [text.get_text() for text in axes.texts] == [f"{row.owa:.3f}" for row in leaderboard.rows[:3]]
    assert axes.get_xlabel() == "OWA, lower is better (naive2 is 1)"
    save_chart(figure, tmp_path / "board.svg")
    assert leaderboard_chart(a_leaderboard(panel, ["gru"])).axes[0].get_xlabel() == "MASE, lower is better"


def test_a_leaderboard_on_which_all_failed_is_still_a_picture(tmp_path):
    save_chart(leaderboard_chart(a_leaderboard(a_panel(Frequency("D")), [])), tmp_path / "board.png")


def test_the_same_figure_gives_the_same_bytes_and_global_settings_stay(tmp_path):
    panel = a_panel(Frequency("D"), series=1)
    before = dict(matplotlib.rcParams)
    for suffix in (".png", ".svg"):
        first, second = (
            save_chart(forecast_chart(panel, a_forecast(panel), ids=["s0"]), tmp_path / f"{n}{suffix}").read_bytes()
            for n in range(2)
        )
        assert first == second
    assert dict(matplotlib.rcParams) == before


class Torn(Artist):
    """Cannot be drawn."""

    def draw(self, renderer):
        raise ValueError("nonsense")


def test_a_chart_that_cannot_be_written_leaves_the_old_one(tmp_path):
    panel = a_panel(Frequency("D"), series=1)
    path = tmp_path / "c.png"
    path.write_bytes(b"the old one")
    figure = forecast_chart(panel, a_forecast(panel), ids=["s0"])
    figure.add_artist(Torn())  # matplotlib finds out while it writes
    with pytest.raises(ValueError, match="nonsense"):
        save_chart(figure, path)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]
