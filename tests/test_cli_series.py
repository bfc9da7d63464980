"""Tables whose rows follow each other, on the command line: windows, and splits in time's order."""

import csv
import io

import numpy as np
import pytest

pytest.importorskip("click")
pytest.importorskip("pandas")
pytest.importorskip("matplotlib")

import pycnn
from pycnn.cli.series import Windows
from pycnn.exceptions import DataError

ROWS, DAY = 240, 12


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def series(rows=ROWS, gaps=()):
    """Return the load of hours, which hangs on the hour and on the weather, and that."""
    rng = np.random.default_rng(0)
    weather = np.convolve(rng.normal(size=rows), [1, 1, 1])[:rows]
    load = 20 + 3 * np.sin(2 * np.pi * np.arange(rows) / DAY) + weather
    load[list(gaps)] = np.nan
    return load, weather


def write(path, load, **others):
    columns = {"load": load, **others}
    lines = [",".join(columns)]
    for row in zip(*columns.values(), strict=True):
        lines.append(",".join("" if v != v else f"{v:.6f}" for v in row))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture
def table(in_own_folder):
    load, weather = series()
    return write(in_own_folder / "series.csv", load, weather=weather)


OPTIONS = ("--sequence", DAY, "--target", "load", "--no-plot", "--epochs", 40)


@pytest.mark.parametrize(("sequence", "horizon", "season"), [(4, 1, 4), (3, 2, 5), (1, 7, 3)])
def test_windows_end_before_what_they_foretell(sequence, horizon, season):
    values = np.arange(30.0)
    windows = Windows(sequence, horizon, season)
    X, y = windows.of(values[:, None]), windows.targets(values)
    assert np.shares_memory(X, values)
    assert (X[: len(y), -1, 0] + horizon == y).all()
    assert (X[:, 0, 0] + sequence - 1 == X[:, -1, 0]).all()
    assert X[-1, -1, 0] == 29
    last, ago = windows.naive(values).values()
    assert (last + horizon == y).all()
    seasons = -(-horizon // season) * season
    assert np.array_equal(ago, np.where(y >= seasons, y - seasons, np.nan), equal_nan=True)


def test_a_season_that_is_longer_than_the_table_has_no_forecast():
    values = np.arange(30.0)
    naive = Windows(4, 1, 1000).naive(values)
    assert np.isnan(naive["1000 before"]).all()
    assert "1000 before" not in Windows(4, 1, 1000).compared(values, slice(None))
    assert np.isfinite(Windows(4, 1, 28).naive(values)["28 before"]).sum() == 2


def test_a_sequence_wants_a_table(in_own_folder, fail):
    assert "--sequence needs a table" in fail("train", "--sequence", 12)


def test_a_series_learns_more_than_is_known_without_it(table, succeed):
    out = succeed("train", table, *OPTIONS, "--horizon", 2)
    assert f"{ROWS} rows as {ROWS - DAY - 1} windows of {DAY} rows and 2 inputs" in out
    assert "load, 2 rows on; what is held out is the end" in out
    assert f"network   {DAY}x2-64-1" in out
    rmse = float(out.split("RMSE")[1].split()[0])
    naive = {
        line.split()[0]: float(line.split()[-2])
        for line in out.splitlines()
        if line.startswith(("persistence", f"{DAY} before"))
    }
    assert rmse < 0.8 * min(naive.values())
    load, _ = series()
    test = load[-round(0.2 * (ROWS - DAY - 1)) :]
    before = load[-len(test) - 2 : -2]
    assert naive["persistence"] == pytest.approx(np.sqrt(((test - before) ** 2).mean()), rel=1e-4)


def test_what_is_held_out_has_no_part_in_the_training(in_own_folder, table, succeed):
    succeed("train", table, *OPTIONS, "--quiet", "--out", "one.safetensors")
    load, weather = series()
    load[-40:] *= -5  # within the test
    other = write(in_own_folder / "other.csv", load, weather=weather)
    succeed("train", other, *OPTIONS, "--quiet", "--out", "two.safetensors")
    one, two = (pycnn.load(f"{name}.safetensors") for name in ("one", "two"))
    assert (one.parameters == two.parameters).all()
    assert one.metadata["table"]["columns"] == two.metadata["table"]["columns"]
    rows = one.metadata["table"]["training_rows"]
    assert rows == ROWS - round(0.2 * (ROWS - DAY))


def test_forecasts_are_those_of_the_network_on_its_windows(table, succeed):
    succeed("train", table, *OPTIONS, "--horizon", 3, "--quiet")
    out = succeed("predict", "model.safetensors", table)
    head, *rows = csv.reader(io.StringIO(out))
    assert head == ["row", "load"]
    assert [int(row) for row, _ in rows] == list(range(DAY + 3, ROWS + 4))
    net = pycnn.load("model.safetensors")
    X = pycnn.Table.from_metadata(net.metadata["table"]).transform(
        dict(zip(("load", "weather"), series(), strict=True))
    )
    values = [float(value) for _, value in rows]
    assert net.predict(X[None, -DAY:])[0, 0] == pytest.approx(values[-1], rel=1e-4)
    assert net.predict(X[None, :DAY])[0, 0] == pytest.approx(values[0], rel=1e-4)
    scores = succeed("evaluate", "model.safetensors", table)
    assert f"({ROWS - DAY - 2} windows)" in scores
    true = series()[0][DAY + 2 :]
    rmse = float(scores.split("RMSE")[1].split()[0])
    assert rmse == pytest.approx(np.sqrt(((true - values[:-3]) ** 2).mean()), rel=1e-4)
    assert f"{DAY} rows, foretold 3 on" in succeed("info", "model.safetensors")


def test_gaps_of_the_target_are_left_out(in_own_folder, pycnn_command):
    load, weather = series(gaps=(50, 51, 200))
    path = write(in_own_folder / "gaps.csv", load, weather=weather)
    status, out, err = pycnn_command("train", path, *OPTIONS)
    assert status == 0
    assert "left out, as their target 'load' is missing: 3 window(s)" in err
    assert np.isfinite(float(out.split("RMSE")[1].split()[0]))


def test_a_series_of_one_column_is_enough(in_own_folder, succeed):
    path = write(in_own_folder / "alone.csv", series()[0])
    out = succeed("train", path, *OPTIONS, "--hidden", "none", "--season", 24)
    assert f"network   {DAY}x1-1" in out
    assert "24 before" in out


REFUSED = [
    (("--horizon", 2), "--horizon needs --sequence"),
    (("--season", 2), "--season needs --sequence"),
    (("--sequence", 4), "--target is missing: the columns are load, weather"),
    (("--sequence", 4, "--target", "lod"), "there is no column 'lod'"),
    (("--sequence", 240, "--target", "load"), "need 241 rows at least, and the table has 240"),
    (("--sequence", 238, "--target", "load"), "leave 2 windows of 240 rows to learn from, and 3"),
    (("--sequence", 4, "--target", "load", "--test-size", 0.99), "leave 2 windows of 240 rows"),
    (("--sequence", 4, "--target", "load", "--drop", "load"), "leaves out the target column"),
    (("--sequence", 4, "--target", "load", "--task", "classification"), "foretells numbers"),
    (("--sequence", 4, "--target", "load", "--class-weight", "balanced"), "a target of classes"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_cannot_be_foretold_is_refused(table, fail, options, message):
    assert message in fail("train", table, *options)


def test_folders_are_no_series(in_own_folder, fail):
    (in_own_folder / "photos").mkdir()
    assert "--sequence is for a table" in fail("train", "photos", "--sequence", 3)


def test_a_table_that_is_shorter_than_a_window_is_refused(in_own_folder, table, succeed, fail):
    succeed("train", table, *OPTIONS, "--quiet")
    load, weather = series(DAY - 1)
    short = write(in_own_folder / "short.csv", load, weather=weather)
    assert "a window needs 12 rows, and the table has 11" in fail(
        "predict", "model.safetensors", short
    )
    assert "need 13 rows at least" in fail("evaluate", "model.safetensors", short)


@pytest.mark.parametrize(
    "kept",
    [5, {}, {"sequence": 12}, {"sequence": 5, "horizon": 1, "season": 2}]
    + [{"sequence": DAY, "horizon": value, "season": 2} for value in (0, 1.5, None, True, "1")],
)
def test_windows_of_a_hostile_file_are_refused(table, fail, kept):
    net = pycnn.Network((DAY, 2), [pycnn.Flatten(), pycnn.Dense(1)], seed=0)
    columns = dict(zip(("load", "weather"), series(), strict=True))
    read = pycnn.Table(task="regression").fit(columns)
    net.metadata |= {"table": read.to_metadata(), "series": kept}
    net.save("hostile.safetensors")
    message = fail("predict", "hostile.safetensors", table)
    assert "the model's windows do not fit its network" in message


def test_too_few_rows_are_named():
    with pytest.raises(DataError, match="--sequence 3 and --horizon 2 need 5 rows at least"):
        Windows(3, 2, 3).targets(np.zeros(4))
