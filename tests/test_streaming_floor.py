"""Times between two steps: refused, or taken for the step before, whatever they are written in."""

import io

import pyarrow as pa
import pytest

from forecaster.frequency import Frequency
from forecaster.streaming.edges import open_source

HOURLY = Frequency("h")
STAMPS = ("2024-03-01T00:04", "2024-03-01T01:00", "2024-03-01T01:59:59")


def ndjson() -> bytes:
    return "".join(f'{{"unique_id":"a","ds":"{ds}","y":{n}}}\n' for n, ds in enumerate(STAMPS)).encode()


def csv() -> bytes:
    return "".join(["unique_id,ds,y\n", *(f"a,{ds},{n}\n" for n, ds in enumerate(STAMPS))]).encode()


def arrow(ds: pa.Array) -> bytes:
    stream = io.BytesIO()
    batch = pa.record_batch({"unique_id": ["a"] * 3, "ds": ds, "y": [0.0, 1.0, 2.0]})
    with pa.ipc.new_stream(stream, batch.schema) as writer:
        writer.write_batch(batch)
    return stream.getvalue()


FEEDS = {
    "ndjson": ("ndjson", ndjson()),
    "csv": ("csv", csv()),
    "arrow, text": ("arrow", arrow(pa.array(STAMPS))),
    "arrow, timestamps": ("arrow", arrow(pa.array(STAMPS).cast(pa.timestamp("s")))),
}


@pytest.mark.parametrize("name", FEEDS)
def test_floored_times_count_as_the_step_before_and_others_are_dead_letters(name):
    form, feed = FEEDS[name]
    (refused,) = open_source(io.BytesIO(feed), HOURLY, format=form, max_latency_ms=1e6)
    (floored,) = open_source(io.BytesIO(feed), HOURLY, format=form, max_latency_ms=1e6, floored=True)
    first = int(floored.positions[0])
    assert floored.positions.tolist() == [first, first + 1, first + 1]
    assert not floored.rejected
    assert str(HOURLY.labels(floored.positions)[0]) == "2024-03-01 00:00:00"
    assert refused.positions.tolist() == [first + 1]
    assert [(letter.line - refused.rejected[0].line, letter.arrival.label) for letter in refused.rejected] == [
        (0, "misaligned"),
        (2, "misaligned"),
    ]
    assert "Send that." in refused.rejected[0].reason


def test_a_stream_takes_a_feed_off_the_grid_for_the_one_on_it(forecast, home):
    feed = (home / "later.csv").read_text()
    inside = feed.replace("-01,", "-17,")  # quarters begin on the first
    assert inside != feed
    for name, text, settings in (("on", feed, ()), ("refused", inside, ()), ("off", inside, ("--set", "misaligned=floor"))):
        (home / f"{name}.csv").write_text(text)
        done = forecast("stream", "tiny", "--state", name, "--in", f"{name}.csv", "--out", f"{name}.ndjson", *settings)
        assert done.exit_code == 0, done.output
    said = {name: (home / f"{name}.ndjson").read_text() for name in ("on", "refused", "off")}
    assert said["on"] == said["off"] != ""
    assert said["refused"] == ""
