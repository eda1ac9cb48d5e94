"""Pictures of a page, whatever the numbers; and what is read out of the tables of an evaluation."""

from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from forecaster.frequency import Frequency
from forecaster.report.content import MOST_ROWS, Table
from forecaster.report.excerpts import by_turn, calibration, read_case
from forecaster.report.inline import INK, Drawing
from forecaster.report.pictures import bars_picture, calibration_picture, dots_picture, lines_picture, spread_out
from forecaster.report.strips import half_lives_picture, strip_picture
from forecaster.series import Panel

SVG = "{http://www.w3.org/2000/svg}"
DAILY = Frequency("D")


def parts(drawing: Drawing) -> ElementTree.Element:
    return ElementTree.fromstring(str(drawing.to_svg("it", "a <label> & more")))


def lines(values: dict[str, list[float]], ours: str = "gru", rival: str | None = "ses") -> Drawing:
    x = list(range(1, 1 + len(next(iter(values.values())))))
    drawn = {name: np.array(line) for name, line in values.items()}
    return lines_picture(x, drawn, ours=ours, rival=rival, labels=[f"lead {k}" for k in x], what=("steps ahead", "MASE"))


def test_a_picture_is_valid_and_speaks_of_every_place() -> None:
    root = parts(lines({"gru": [1.0, 2.0, 3.0], "ses": [2.0, 2.0, 2.5]}))
    assert root.get("aria-label") == "a <label> & more"
    assert root.get("width") is None
    said = [title.text for title in root.iter(f"{SVG}title")]
    assert said == ["lead 1\nses 2.000\ngru 1.000", "lead 2\nses 2.000\ngru 2.000", "lead 3\nses 2.500\ngru 3.000"]
    assert {"gru", "ses", "MASE", "steps ahead"} <= {text.text for text in root.iter(f"{SVG}text")}


@pytest.mark.parametrize(
    "values",
    [
        {"gru": [1.0]},
        {"gru": [np.nan, np.nan], "ses": [1.0, 2.0]},
        {"gru": [0.0, 0.0], "ses": [0.0, 0.0]},
        {"gru": [np.nan]},
        {"gru": [1e9, 2e9], "ses": [1e-9, 1e-9]},
        {"$x_": [1.0, 2.0], "🚀": [2.0, 1.0], "a\\frac": [1.0, 1.0]},
    ],
)
def test_odd_numbers_and_names_are_drawn_all_the_same(values: dict[str, list[float]]) -> None:
    assert len(list(parts(lines(values)).iter(f"{SVG}title"))) == len(next(iter(values.values())))


def test_a_line_far_above_the_others_leaves_the_picture_and_says_so() -> None:
    words = [text.text for text in parts(lines({"gru": [1.0, 1.0], "ses": [1.1, 1.1], "naive": [90.0, 95.0]})).iter(f"{SVG}text")]
    assert "naive ↑" in words
    assert max(float(word) for word in words if word and word.replace(".", "").isdigit()) < 4


def test_other_pictures_take_the_least_there_can_be() -> None:
    one = np.array([0.8])
    drawings = [
        dots_picture({"gru": 0.0}, ours="gru"),
        dots_picture({"gru": 0.5, "ses": 1.5}, ours="gru", best=["gru"], reference=1.0, what="OWA"),
        dots_picture({"gru": 0.0, "rnn": 0.1}, ours="gru", reference=0.0, intervals={"rnn": (-0.1, 0.3)}, is_share=True),
        bars_picture({"gru": 1}, ours="gru", what="series"),
        calibration_picture({"gru": (one, one)}, ours="gru", rival=None),
        half_lives_picture(np.array([0.0, np.inf, 3.0]), seasons=(7,), longest=3.0),
        strip_picture(DAILY, np.arange(1), np.array([np.nan]), {"z, share": np.array([[0.5]])}),
        strip_picture(Frequency("step", is_numbered=True), np.arange(300), np.ones(300), {"z": np.ones((200, 300))}),
    ]
    for drawing in drawings:
        assert len(list(parts(drawing).iter(f"{SVG}title"))) == len(drawing.tips) > 0


def test_the_same_numbers_give_the_same_picture_and_global_settings_stay() -> None:
    before = dict(mpl.rcParams)
    first, second = (lines({"gru": [1.0, 2.0]}).to_svg("a", "b") for _ in range(2))
    assert first == second
    assert INK not in first
    assert "var(--ink)" in first
    assert dict(mpl.rcParams) == before


def test_labels_lie_apart_and_within_the_picture() -> None:
    rng = np.random.default_rng(1)
    for count in (2, 5, 9, 16):
        places = np.array(spread_out(sorted(rng.beta(0.3, 0.3, count).tolist()), 0.06))
        assert (np.diff(places) >= 0.06 - 1e-9).all()
        assert places.min() >= -1e-9
        assert places.max() <= 1 + 1e-9


def test_many_origins_are_drawn_a_few_at_once() -> None:
    times = pd.date_range("2024-01-01", periods=100)
    frame = pd.DataFrame({"forecaster": "gru", "unique_id": "a", "origin": times, "mase": np.arange(100.0)})
    found = by_turn(pd.concat([frame, frame.assign(unique_id="b", mase=0.0)]), "mase")
    assert len(found) == 34
    assert found["score"].iloc[:2].tolist() == [0.5, 2.0]  # of 0, 1, 2 and three zeros
    assert (found["first"].iloc[1], found["last"].iloc[1]) == (times[3], times[5])


def test_a_long_table_says_how_much_it_leaves_out() -> None:
    table = Table.of(("series", "n"), [(f"s{k}", str(k)) for k in range(MOST_ROWS + 7)])
    assert table.rows[-1] == ("… and 7 more", "")
    assert len(table.rows) == MOST_ROWS + 1


def test_a_case_holds_what_was_known_at_each_origin_and_forecasts_of_what_came(tmp_path: Path) -> None:
    panel = Panel(("a",), np.array([0]), np.array([0, 40]), np.arange(40.0), DAILY)
    rows = []
    for origin in range(20, 37):  # each forecast says its origin's position, whoever makes it adds a hundred
        for lead in (1, 2, 3):
            for name, more in (("gru", 0.0), ("ses", 100.0)):
                at = DAILY.timestamps(np.array([origin, origin + lead]))
                rows.append(
                    (name, "a", at[1], at[0], lead, float(origin + lead), origin - 1.0 + more, origin + more, origin + 1.0)
                )
    columns = ["forecaster", "unique_id", "ds", "origin", "lead", "y", "q0.1", "q0.5", "q0.9"]
    pd.DataFrame(rows, columns=columns).to_parquet(tmp_path / "forecasts.parquet")
    case = read_case(tmp_path / "forecasts.parquet", panel, "a", ours="gru", rival="ses")
    assert case is not None
    assert [int(fan.positions[0]) for fan in case.fans] == [31, 34, 37]
    for fan in case.fans:
        origin = fan.positions[0] - 1
        np.testing.assert_array_equal(case.quantile(fan, 0.5), origin)
        np.testing.assert_array_equal(fan.actuals, panel.series(0)[fan.positions])
        assert fan.rival is not None
        np.testing.assert_array_equal(fan.rival, origin + 100)
    assert (case.past[0], case.past[-1], case.bands) == (22, 36, ((0.1, 0.9),))
    assert read_case(tmp_path / "forecasts.parquet", panel, "a", ours="nobody", rival=None) is None


def test_values_that_are_not_known_do_not_count_for_coverage(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"forecaster": "gru", "y": [0.0, 1.0, 5.0, np.nan], "q0.1": 0.5, "q0.5": 1.0, "q0.9": [2.0, 2, 2, np.nan]}
    )
    frame.to_parquet(tmp_path / "forecasts.parquet")
    found = calibration(tmp_path / "forecasts.parquet", ["gru", "nobody"])
    third = pytest.approx(1 / 3)
    assert found.to_dict("records") == [
        {"forecaster": "gru", "nominal": 0.8, "achieved": third, "below": third, "above": third, "pairs": 3}
    ]
