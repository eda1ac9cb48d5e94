"""The page of a run: whole and by itself, with the numbers of the evaluation, and with nothing in it that is a user's code."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_pages import IDS, OUTSIDER, make_report_home, type_words

from forecaster.report.inline import VARIABLES

ANCHORS = ("leaderboard", "series", "errors", "calibration", "champions", "gates", "ladder", "data", "provenance")
GAIN = {"share": -0.02, "low": -0.05, "high": 0.01, "confidence": 0.95}
ABLATION = {
    "answer": "On this panel <b>the reset gate</b> earns nothing.",
    "recommended": "gru_no_reset",
    "best": "gru",
    "questions": [{"question": "Is the reset gate needed?", "answer": "No: it earns nothing."}],
    "measure": "mase",
    "confidence": 0.95,
    "seeds": [1, 2, 3],
    "panel": "shop",
    "panel_fingerprint": "another",
    "ladder": [
        {"forecaster": "gru", "mase": 0.8, "wql": 0.01, "gain_on_best": dict.fromkeys(GAIN, 0.0), "parameters": 12345},
        {"forecaster": "gru_no_reset", "mase": 0.82, "wql": 0.011, "gain_on_best": GAIN, "parameters": 9876},
        {"forecaster": "ses", "mase": 1.2, "wql": None, "gain_on_best": {**GAIN, "low": None, "high": None}, "parameters": None},
    ],
}


class Seen(HTMLParser):
    """What a browser would find: elements, ids, links, and the rows of all tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.asked: list[str] = []
        self.handlers: list[str] = []
        self.rows: list[list[str]] = []
        self.cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            self.ids += [str(value)] if name == "id" else []
            self.asked += [str(value)] if name in ("src", "href", "xlink:href", "srcset", "action") else []
            self.asked += re.findall(r"url\((.*?)\)", str(value)) if name in ("style", "clip-path", "fill") else []
            self.handlers += [name] if name.startswith("on") else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.cell is not None:
            self.rows[-1].append("".join(self.cell))
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)


@pytest.fixture(scope="module")
def report_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = make_report_home(tmp_path_factory.mktemp("report"))
    (home / "ablation.json").write_text(json.dumps(ABLATION), encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def told(report_home: Path) -> dict[str, object]:
    """What `forecast report --json` said."""
    done = type_words(report_home, "report", "shop", "--ablation", report_home / "ablation.json", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def page(told: dict[str, object]) -> str:
    return Path(str(told["out"])).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def seen(page: str) -> Seen:
    seen = Seen()
    seen.feed(page)
    return seen


# -- one file, by itself ---------------------------------------------------------------------------------------------------------


def test_a_page_is_one_file_of_less_than_two_megabytes(told: dict[str, object], report_home: Path) -> None:
    path = report_home / "runs" / "shop" / "report.html"
    assert told["out"] == str(path)
    assert told["bytes"] == path.stat().st_size < 2_000_000
    assert told["missing"] == []
    assert not list(path.parent.glob(".report*"))


def test_a_page_asks_nothing_of_a_network(seen: Seen) -> None:
    assert seen.asked
    assert [link for link in seen.asked if not link.startswith(("#", "data:"))] == []
    assert seen.tags["script"] == 1
    assert seen.tags["link"] == 1


def test_every_reference_within_a_page_leads_somewhere_and_no_id_stands_twice(seen: Seen) -> None:
    assert [name for name, count in Counter(seen.ids).items() if count > 1] == []
    assert {link[1:] for link in seen.asked if link.startswith("#")} <= set(seen.ids)
    assert set(ANCHORS) <= set(seen.ids)


def test_every_picture_has_colours_of_the_page_and_a_table(page: str, seen: Seen) -> None:
    assert seen.tags["figure"] >= 9
    assert len(re.findall(r"<svg[^>]*aria-label=", page)) == seen.tags["svg"] >= seen.tags["figure"]
    assert not re.search("|".join(VARIABLES), page)
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert all("<table>" in figure and "<title>" in figure for figure in figures)


def test_what_users_wrote_is_text_and_never_markup(page: str, seen: Seen) -> None:
    assert seen.handlers == []
    assert seen.tags["img"] == seen.tags["b"] - 4 == 0  # the four figures at the top are bold
    assert "<script>alert" not in page
    cells = {cell for row in seen.rows for cell in row}
    assert {*IDS, OUTSIDER} <= cells
    assert "On this panel &lt;b&gt;the reset gate&lt;/b&gt; earns nothing." in page


# -- its numbers -----------------------------------------------------------------------------------------------------------------


def test_the_leaderboard_is_that_of_the_evaluation(seen: Seen, report_home: Path) -> None:
    summary = json.loads((report_home / "runs" / "shop" / "evaluation.json").read_text())
    head = next(row for row in seen.rows if "may be best" in row or "95 % holds" in row)
    begin = seen.rows.index(head) + 1
    shown = seen.rows[begin : begin + len(summary["leaderboard"])]
    assert [row[0] for row in shown] == [row["forecaster"] for row in summary["leaderboard"]]
    for cells, row in zip(shown, summary["leaderboard"], strict=True):
        assert float(cells[head.index("MASE")]) == pytest.approx(row["mase"], abs=5e-4)
        if row["coverage_80"] is not None:
            assert cells[head.index("80 % holds")] == f"{100 * row['coverage_80']:.1f} %"


def test_coverage_is_what_a_slow_count_finds(seen: Seen, report_home: Path) -> None:
    frame = pd.read_parquet(report_home / "runs" / "shop" / "evaluation" / "forecasts.parquet")
    ours = [row for row in frame.to_dict("records") if row["forecaster"] == "gru" and not np.isnan(row["y"])]
    inside = sum(row["q0.1"] <= row["y"] <= row["q0.9"] for row in ours)
    below = sum(row["y"] < row["q0.1"] for row in ours)
    share = [f"{100 * part / len(ours):.1f} %" for part in (inside, below)]
    assert any(row[:4] == ["gru", "80.0 %", *share] for row in seen.rows)


def test_errors_by_lead_and_origin_are_those_of_the_evaluation(seen: Seen, report_home: Path) -> None:
    folder = report_home / "runs" / "shop" / "evaluation"
    by_lead = pd.read_parquet(folder / "by_lead.parquet").query("forecaster == 'gru' and lead == 3")["mase"].iloc[0]
    begin = next(k for k, row in enumerate(seen.rows) if row[0] == "lead")
    assert float(seen.rows[begin + 3][seen.rows[begin].index("gru")]) == pytest.approx(by_lead, abs=5e-4)
    by_origin = pd.read_parquet(folder / "by_origin.parquet").query("forecaster == 'gru'")
    last = by_origin[by_origin["origin"] == by_origin["origin"].max()]["mase"].mean()
    begin = next(k for k, row in enumerate(seen.rows) if row[0] == "origin")
    assert float(seen.rows[begin + 3][seen.rows[begin].index("gru")]) == pytest.approx(last, abs=5e-4)  # the last of three


def test_faults_of_the_data_and_the_way_to_get_the_same_again_are_told(page: str, seen: Seen, report_home: Path) -> None:
    assert ["missing values", "3"] in seen.rows
    facts = json.loads((report_home / "runs" / "shop" / "run.json").read_text())
    for told in (facts["panel_fingerprint"], facts["model_fingerprint"], f"torch {facts['versions']['torch']}"):
        assert told in page


def test_the_ladder_is_shown_with_its_intervals(page: str, seen: Seen) -> None:
    assert ["gru_no_reset", "+2.0 %", "-1.0 %", "+5.0 %"] in seen.rows
    assert ["ses", "+2.0 %", "–", "–"] in seen.rows
    assert "The experiment was made on another panel" in page


# -- what is not there, and what goes wrong --------------------------------------------------------------------------------------


def test_a_run_without_scores_has_a_page_that_says_how_to_score_it(report_home: Path, tmp_path: Path) -> None:
    out = tmp_path / "some" / "page.html"
    done = type_words(report_home, "report", "unscored", "--out", out, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(done.stdout)["missing"] == ["scores", "significance", "champions", "ladder"]
    html = out.read_text(encoding="utf-8")
    assert "forecast evaluate unscored" in html
    assert "forecast ablate" in html
    assert html.count("<svg") == 3  # gates, wide and narrow, and half-lives


def test_a_page_says_so_where_nobody_could_be_scored(report_home: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(report_home / "runs" / "shop", tmp_path / "failed"))
    summary = json.loads((run / "evaluation.json").read_text())
    failed = {"forecaster": "gru", "owa": None, "mase": None, "smape": None, "failure": "ValueError: <i>torn</i>"}
    told = {
        "leaderboard": [failed],
        "winner": None,
        "measure": "smape",
        "verdict": "No forecaster could be scored.",
        "significance": {},
    }
    (run / "evaluation.json").write_text(json.dumps(summary | told))
    for table in ("by_series", "by_lead", "by_origin", "forecasts"):
        pd.DataFrame({"forecaster": []}).to_parquet(run / "evaluation" / f"{table}.parquet")
    done = type_words(report_home, "report", run)
    assert done.exit_code == 0, (done.output, done.exception)
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "No forecaster could be scored." in html
    assert "gru failed: ValueError: &lt;i&gt;torn&lt;/i&gt;" in html


def test_an_evaluation_that_is_damaged_is_told_in_one_line(report_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(report_home, tmp_path / "home"))
    (home / "runs" / "shop" / "evaluation" / "by_lead.parquet").unlink()
    done = type_words(home, "report", "shop")
    assert done.exit_code == 2
    assert "by_lead.parquet is gone. Evaluate the run again." in done.stderr.splitlines()[-1]
    (home / "runs" / "shop" / "evaluation.json").write_text("{")
    done = type_words(home, "report", "shop")
    assert done.exit_code == 2
    assert "evaluation.json is damaged" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("[", "no JSON"),
        ("[]", "holds no 'answer'"),
        ("{}", "holds no 'answer'"),
    ],
)
def test_an_ablation_that_is_none_is_told(report_home: Path, tmp_path: Path, content: str | None, expected: str) -> None:
    if content is not None:
        (tmp_path / "ablation.json").write_text(content)
    done = type_words(report_home, "report", "shop", "--ablation", tmp_path)
    assert done.exit_code == 2
    assert expected in done.stderr
    assert done.stderr.splitlines()[-1].endswith("Give the folder that `forecast ablate` wrote.")


def test_a_place_that_cannot_be_written_to_is_told_and_nothing_is_lost(report_home: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    (tmp_path / "page.html" / "kept").touch()
    done = type_words(report_home, "report", "unscored", "--out", tmp_path / "page.html")
    assert done.exit_code == 2
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
