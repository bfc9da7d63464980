import csv
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("click")
pd = pytest.importorskip("pandas")
pytest.importorskip("matplotlib")

import pycnn  # noqa: E402
from pycnn.cli import commands, report, table, training, using  # noqa: E402


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, text):
    Path(name).write_text(text)
    return name


def figure(name, text):
    """Return the figure after a score's name."""
    return float(text.split(name)[1].split()[0])


def flowers(rows=120, seed=0):
    """Return a table of three well-parted kinds, one told by its text column."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, rows)
    return pd.DataFrame(
        {
            "length": kind // 2 * 400 + rng.normal(1000, 40, rows),
            "width": rng.normal(3, 1, rows),
            "colour": np.where(kind == 1, "red", rng.choice(["blue", "white"], rows)),
            "kind": np.array(["iris", "rose", "tulip"])[kind],
        }
    )


@pytest.fixture
def flowers_model(succeed):
    flowers().to_csv("flowers.csv", index=False)
    succeed("train", "flowers.csv", "--target", "kind", "--epochs", 30, "--no-plot")
    return "model.safetensors"


# ------------------------------------------------------------------ training to good results


def test_bare_train_learns_the_digits_and_writes_model_and_picture(succeed):
    out = succeed("train")
    assert figure("accuracy", out) >= 0.96
    assert "confusion matrix" in out
    assert Path("model.png").read_bytes().startswith(b"\x89PNG")
    network = pycnn.load("model.safetensors")
    assert network.classes.tolist() == list(range(10))


def test_digits_model_is_evaluated_on_the_part_that_training_held_out(succeed):
    trained = succeed("train", "--epochs", 3, "--no-plot", "--seed", 7)
    evaluated = succeed("evaluate", "model.safetensors")
    assert evaluated.split("\n\n", 1)[1].strip() in trained


def test_digits_model_reads_digits_from_csv(succeed):
    succeed("train", "--epochs", 3, "--no-plot")
    X, y = pycnn.datasets.load_digits()
    frame = pd.DataFrame(X[:50].astype(int), columns=[f"pixel_{i}" for i in range(64)])
    frame.assign(digit=y[:50]).to_csv("some.csv", index=False)
    assert figure("accuracy", succeed("evaluate", "model.safetensors", "some.csv")) >= 0.9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_xor_is_learned_without_a_test_part(succeed, seed):
    write("xor.csv", "a,b,out\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n")
    out = succeed("train", "xor.csv", "--target", "out", "--seed", seed, "--no-plot")
    assert "no test part, as there are less than 50" in out
    assert "score on the training part, for want of a test part (4 rows)" in out
    assert "accuracy  1.0000" in out
    predicted = succeed("predict", "model.safetensors", "xor.csv")
    assert [row["out"] for row in csv.DictReader(io.StringIO(predicted))] == list("0110")


def test_one_dimensional_regression_is_reported_in_its_own_unit(succeed):
    x = np.linspace(-3, 3, 200)
    y = 500 + 100 * np.sin(x) + np.random.default_rng(0).normal(0, 2, 200)
    pd.DataFrame({"x": x, "y": y}).to_csv("sine.csv", index=False)
    out = succeed("train", "sine.csv", "--target", "y")
    assert figure("R²", out) > 0.98
    assert 1 < figure("RMSE", out) < 15
    lines = succeed("predict", "model.safetensors", "sine.csv").splitlines()
    assert lines[0] == "y"
    assert np.abs(np.array(lines[1:], dtype=float) - y).mean() < 15


def test_text_labelled_table_is_learned(succeed):
    flowers().to_csv("flowers.csv", index=False)
    out = succeed("train", "flowers.csv", "--target", "kind", "--no-plot")
    assert "kind, 3 classes: iris, rose, tulip" in out
    assert figure("accuracy", out) >= 0.95
    assert pycnn.load("model.safetensors").classes.tolist() == ["iris", "rose", "tulip"]


def test_table_with_missing_values_is_learned(pycnn_command):
    frame = flowers(300)
    rng = np.random.default_rng(1)
    frame.loc[rng.random(300) < 0.05, "length"] = np.nan
    frame.loc[rng.random(300) < 0.05, "colour"] = np.nan
    frame.loc[:2, "kind"] = np.nan
    frame.to_csv("flowers.csv", index=False)
    status, out, err = pycnn_command("train", "flowers.csv", "--target", "kind", "--no-plot")
    assert status == 0
    assert "target 'kind' is missing: 3 row(s)" in err
    assert "297 rows, 3 columns as 7 inputs" in out  # 2 numbers, 3 colours, 2 x "was missing"
    assert figure("accuracy", out) >= 0.85


def test_same_seed_writes_the_same_model(succeed):
    flowers().to_csv("flowers.csv", index=False)
    common = ("train", "flowers.csv", "--target", "kind", "--epochs", 5, "--no-plot", "--quiet")
    models = []
    for seed in (1, 1, 2):
        assert succeed(*common, "--seed", seed) == ""
        models.append(Path("model.safetensors").read_bytes())
    assert models[0] == models[1] != models[2]


@pytest.mark.parametrize("name", ["c", "numpy"])
def test_backend_is_chosen(succeed, name, core):
    write("xor.csv", "a,b,out\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n")
    options = ("--epochs", 20, "--hidden", "", "--no-plot", "--backend", name)
    assert "no hidden layer" in succeed("train", "xor.csv", "--target", "out", *options)


def test_default_network_and_rates_can_be_replaced(succeed):
    flowers().to_csv("flowers.csv", index=False)
    options = ("--hidden", "8, 4", "--activation", "tanh", "--epochs", 7, "--batch-size", 10)
    options += ("--learning-rate", 0.25, "--test-size", 0.5, "--drop", "width", "--plot", "a.svg")
    out = succeed("train", "flowers.csv", "--target", "kind", "--out", "b.st", *options)
    assert "4-8-4-3, tanh, softmax output" in out
    assert "7 epochs of 5 batches, sgd, learning rate 0.25" in out
    assert "(60 rows)" in out
    assert sorted(os.listdir()) == ["a.svg", "b.st", "flowers.csv"]


# ------------------------------------------------------------------ how it trains


def noise(rows=300, columns=12, seed=0):
    """Return a table whose target is the first column and much that no column tells."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns))
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(columns)])
    return frame.assign(y=X[:, 0] + rng.normal(0, 1.5, rows))


@pytest.mark.thorough
def test_a_small_noisy_table_is_not_overfitted(succeed):
    noise().to_csv("noise.csv", index=False)
    train = ("train", "noise.csv", "--target", "y", "--no-plot")
    overfitted = figure("R²", succeed(*train, "--l2", 0, "--patience", 0))
    assert overfitted < -0.2 < -0.05 < figure("R²", succeed(*train))


def test_training_ends_by_a_part_of_the_training_rows_and_keeps_its_best(succeed, monkeypatch):
    noise().to_csv("noise.csv", index=False)
    drawn = []
    monkeypatch.setattr(
        "pycnn._plot.learning_curves",
        lambda history, path, *, held_out: drawn.append((history, held_out)),
    )
    out = succeed("train", "noise.csv", "--target", "y", "--patience", 7)
    assert "60 held out for the test" in out
    assert "48 of the 240 training rows, held out to tell when to stop" in out
    ((history, name),) = drawn
    assert name == "validation"
    assert f"after {history.epochs} epochs; kept is the best, epoch {history.epochs - 7}\n" in out
    assert history.epochs < 300
    assert pycnn.load("model.safetensors").l2 == pytest.approx(3 / 192)


def test_the_test_part_does_not_change_what_the_network_learns(succeed):
    frame = noise()
    data = training.Dataset(frame, table.FileTable(), "y", (), None, None)
    parts = [data.fit, data.validation, data.test]
    assert [len(part) for part in parts] == [192, 48, 60]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(300))

    def trained(rows):
        changed = frame.copy()
        changed.loc[rows, "y"] = changed.loc[rows, "y"].to_numpy()[::-1]
        changed.to_csv("noise.csv", index=False)
        succeed("train", "noise.csv", "--target", "y", "--no-plot", "--epochs", 30)
        return pycnn.load("model.safetensors").parameters

    same = trained([])
    np.testing.assert_array_equal(trained(data.test), same)
    assert not np.array_equal(trained(data.fit), same)


def test_no_patience_trains_on_all_training_rows_to_the_last_epoch(succeed, monkeypatch):
    flowers().to_csv("flowers.csv", index=False)
    names = []
    monkeypatch.setattr(
        "pycnn._plot.learning_curves", lambda history, path, *, held_out: names.append(held_out)
    )
    out = succeed("train", "flowers.csv", "--target", "kind", "--patience", 0, "--epochs", 9)
    assert "9 epochs of 3 batches" in out  # of 96 rows
    assert "held out to tell" not in out
    assert names == ["test part"]
    network = pycnn.load("model.safetensors")
    assert (network.epochs_trained, network.l2) == (9, pytest.approx(3 / 96))


def test_a_tiny_table_is_learned_as_a_whole_unless_it_is_told_to_stop(succeed, fail):
    flowers(45).to_csv("flowers.csv", index=False)
    train = ("train", "flowers.csv", "--target", "kind", "--no-plot", "--epochs", 9)
    assert "held out to tell" not in succeed(*train)
    assert pycnn.load("model.safetensors").l2 == pytest.approx(3 / 45)
    assert "9 of the 45 training rows, held out to tell" in succeed(*train, "--patience", 3)
    write("two.csv", "a,out\n0,0\n1,1\n")
    assert "too few" in fail("train", "two.csv", "--target", "out", "--patience", 3)


@pytest.mark.parametrize("name", training.OPTIMIZERS)
def test_penalty_dropout_and_optimizer_are_chosen(succeed, name):
    flowers().to_csv("flowers.csv", index=False)
    options = ("--optimizer", name, "--l2", 0.01, "--dropout", 0.2, "--hidden", "16,8")
    out = succeed("train", "flowers.csv", "--target", "kind", "--no-plot", "--epochs", 40, *options)
    rate = 0.1 if name == "sgd" else training.OPTIMIZERS[name]().learning_rate
    assert f"{name}, learning rate {rate:g}, l2 0.01, dropout 0.2" in out
    network = pycnn.load("model.safetensors")
    assert network.l2 == 0.01
    kinds = ["dense", "dropout", "dense", "dropout", "dense"]
    assert [layer.kind for layer in network.layers] == kinds
    assert "5-16-8-3" in out


def test_the_loss_that_ends_the_training_is_free_of_the_penalty():
    X = np.random.default_rng(0).normal(size=(30, 2))
    network = pycnn.Network(2, [pycnn.Dense(8, "relu"), pycnn.Dense(1)], l2=0.3, seed=0)
    stopping = training.Stopping(patience=1)
    data = (X, X[:, 0])
    network.fit(*data, epochs=1, validation_data=data, callbacks=[stopping], progress=False)
    wrong = network.predict(X)[:, 0] - X[:, 0]
    assert stopping.best == pytest.approx(np.mean(wrong**2) / 2)


@pytest.mark.thorough
def test_weights_of_the_classes_count_rows_as_often(succeed):
    rng = np.random.default_rng(0)
    rare = rng.random(600) < 0.1
    frame = pd.DataFrame({"x": rare + rng.normal(0, 1, 600), "y": np.where(rare, "a=b", "no")})
    frame.to_csv("rare.csv", index=False)
    train = ("train", "rare.csv", "--target", "y", "--no-plot", "--test-size", 0)
    train += ("--epochs", 100)

    def found(*weights):
        succeed(*train, *weights)
        answers = succeed("predict", "model.safetensors", "rare.csv").splitlines()[1:]
        return sum(line.startswith("a=b,") for line in answers)

    plain = found()
    assert plain < 60 < 150 < found("--class-weight", "balanced")
    assert found("--class-weight", "a=b=9") > 150
    assert found("--class-weight", "a=b=1", "--class-weight", "no=1") == plain


# ------------------------------------------------------------------ the transform


def test_transform_is_fitted_on_the_training_part_alone():
    frame = pd.DataFrame({"x": np.arange(100.0), "y": [0, 1] * 50})
    data = training.Dataset(frame, table.FileTable(), "y", (), None, None)
    (column,) = data.table.columns
    assert column.mean == data.train.mean()  # the value is the row's number
    assert data.X[data.train].std() == pytest.approx(1)
    assert len(data.test) == 20
    assert np.bincount(data.y[data.test]).tolist() == [10, 10]


def test_rare_class_stays_in_the_training_part():
    classes = np.array([0] * 49 + [1])
    for seed in range(10):
        train, test = table.split(50, 0.2, seed, classes)
        assert 49 in train
        assert len(test) == 10
        assert sorted([*train, *test]) == list(range(50))


@pytest.mark.parametrize("labels", [("yes", "no"), ("True", "False"), ("7", "9"), ("1", "2")])
def test_two_labels_come_back_as_they_were_written(succeed, labels):
    rows = "\n".join(f"{i % 2},{labels[i % 2]}" for i in range(60))
    write("two.csv", f"x,label\n{rows}\n")
    succeed("train", "two.csv", "--target", "label", "--epochs", 100, "--no-plot")
    predicted = list(
        csv.DictReader(io.StringIO(succeed("predict", "model.safetensors", "two.csv")))
    )
    assert [row["label"] for row in predicted[:4]] == [*labels, *labels]
    first = predicted[0]
    assert float(first[f"probability of {labels[0]}"]) > 0.9
    assert "accuracy  1.0000" in succeed("evaluate", "model.safetensors", "two.csv")


def test_codes_keep_their_leading_zeros(pycnn_command, succeed):
    rows = "".join(f"{i % 3},{i % 7:05d},{['007', '08', ''][i % 3]}\n" for i in range(120))
    write("codes.csv", f"x,zip,class\n{rows}")
    status, out, err = pycnn_command("train", "codes.csv", "--target", "class", "--no-plot")
    assert status == 0
    assert "class, 2 classes: 007, 08\n" in out
    assert "column 'zip' has codes with leading zeros, such as '00000'" in err
    predicted = succeed("predict", "model.safetensors", "codes.csv").splitlines()
    assert [line.split(",")[0] for line in predicted[:3]] == ["class", "007", "08"]
    assert "accuracy  1.0000" in succeed("evaluate", "model.safetensors", "codes.csv")


def test_predictions_have_enough_digits(succeed):
    x = np.linspace(-1, 1, 200)
    frame = pd.DataFrame({"x": x, "y": 1.7e12 + 1000 * x})
    frame.to_csv("large.csv", index=False)
    succeed("train", "large.csv", "--target", "y", "--no-plot")
    lines = succeed("predict", "model.safetensors", "large.csv").splitlines()[1:]
    assert len(set(lines)) == 200
    assert np.abs(np.array(lines, dtype=float) - frame["y"]).max() < 500
    network = pycnn.load("model.safetensors")
    table = pycnn.Table.from_metadata(network.metadata["table"])
    values = network.predict(table.transform(frame))
    assert np.array(lines, dtype=float).tolist() == values[:, 0].tolist()


def test_classes_of_many_digits_keep_them_all(succeed, fail):
    codes = [1234567890123456789, 1234567890123456790, -987654321098765433]
    labels = [codes[i % 3] for i in range(90)]
    rows = [f"{i % 3},{label}\n" for i, label in enumerate(labels)]
    write("long.csv", "x,id\n" + "".join(rows))
    out = succeed("train", "long.csv", "--target", "id", "--no-plot")
    assert f"3 classes: {', '.join(map(str, sorted(codes)))}" in out
    predicted = succeed("predict", "model.safetensors", "long.csv").splitlines()[1:]
    assert [int(line.split(",")[0]) for line in predicted] == labels
    assert "accuracy  1.0000" in succeed("evaluate", "model.safetensors", "long.csv")
    # With a gap pandas has floats, which round them.
    write("gaps.csv", "x,id\n" + "".join([*rows, "0,\n"]))
    words = "classes of more digits than a number keeps, and gaps: --text id takes them as they"
    assert words in fail("train", "gaps.csv", "--target", "id", "--no-plot")
    assert "3 classes" in succeed(
        "train", "gaps.csv", "--target", "id", "--text", "id", "--no-plot", "--epochs", 1
    )


def test_a_quantity_has_its_own_unit_in_python_too(succeed):
    x = np.linspace(-1, 1, 200)
    frame = pd.DataFrame({"x": x, "price": 400_000 + 100_000 * x})
    frame.to_csv("prices.csv", index=False)
    out = succeed("train", "prices.csv", "--target", "price", "--no-plot", "--test-size", 0)
    network = pycnn.load("model.safetensors")
    table = pycnn.Table.from_metadata(network.metadata["table"])
    X, y = table.transform(frame), table.targets(frame)
    assert np.abs(network.predict(X)[:, 0] - y).max() < 20_000
    assert f"R²    {network.score(X, y):.4f}" in out


def test_whole_numbers_as_classes_hint_at_a_quantity(succeed):
    y = np.arange(200) % 17 - 8
    pd.DataFrame({"x": y + 0.5, "y": y}).to_csv("whole.csv", index=False)
    train = ("train", "whole.csv", "--target", "y", "--epochs", 1, "--no-plot")
    assert "17 classes: -8, -7" in succeed(*train)
    assert "(--task regression for a quantity)" in succeed(*train)
    assert "for a quantity" not in succeed(*train, "--task", "classification")


def test_text_that_looks_like_numbers_at_prediction_stays_text(succeed):
    rows = "\n".join(f"{'1' if i % 2 else 'A'},{i % 2}" for i in range(60))
    write("codes.csv", f"code,y\n{rows}\n")
    succeed("train", "codes.csv", "--target", "y", "--epochs", 100, "--no-plot")
    write("new.csv", "code\n1\n1\n")
    assert succeed("predict", "model.safetensors", "new.csv").splitlines()[1].startswith("1,")


def test_unnamed_and_empty_columns_are_left_out_with_a_note(pycnn_command):
    frame = flowers().assign(nothing=np.nan)
    frame.to_csv("flowers.csv")  # with pandas' own row numbers
    status, out, err = pycnn_command("train", "flowers.csv", "--target", "kind", "--epochs", 1)
    assert status == 0
    assert "no name in the header" in err
    assert "empty in the training part: nothing" in err
    assert "3 columns as 5 inputs" in out


# ------------------------------------------------------------------ how a table is read


def test_none_is_a_class_unless_told_otherwise(pycnn_command):
    frame = pd.DataFrame({"x": np.arange(300) % 3, "y": ["None", "Mild", "Severe"] * 100})
    frame.to_csv("severity.csv", index=False)
    train = ("train", "severity.csv", "--target", "y", "--epochs", 1, "--no-plot")
    status, out, err = pycnn_command(*train)
    assert status == 0
    assert "300 rows" in out
    assert "y, 3 classes: Mild, None, Severe" in out
    assert "'None' is a class of the target 'y', in 100 rows; --na None" in err
    status, out, err = pycnn_command(*train, "--na", "None")
    assert "200 rows" in out
    assert "taken as missing: 'None' in 100 cells of y" in err


def test_gaps_of_r_are_gaps_in_numbers(pycnn_command):
    rows = "".join(f"{'NA' if i % 9 == 0 else i / 7},{i % 2}\n" for i in range(90))
    write("r.csv", f"x,y\n{rows}")
    status, out, err = pycnn_command("train", "r.csv", "--target", "y", "--epochs", 1, "--no-plot")
    assert status == 0
    assert "1 columns as 2 inputs" in out
    assert err == "Note: taken as missing: 'NA' in 10 cells of x\n"
    write("new.csv", "x\nNA\n1\n?\n")
    status, out, err = pycnn_command("predict", "model.safetensors", "new.csv")
    assert len(out.splitlines()) == 4
    assert err == (
        "Note: taken as missing: 'NA' in 1 cell of x\nNote: taken as missing: '?' in 1 cell of x\n"
    )
    write("new.csv", "x\n1\nmany\n")
    status, _, err = pycnn_command("predict", "model.safetensors", "new.csv")
    assert (status, err) == (
        2,
        "Error: column 'x' must hold numbers, got 'many' in row 2: --na many takes it as missing\n",
    )


def test_odd_cell_is_named_with_options_that_help(pycnn_command, fail):
    cells = [f"{i / 7}" for i in range(90)]
    cells[8:80:9] = ["abt 5"] * 8
    write("odd.csv", "x,y\n" + "".join(f"{x},{i % 2}\n" for i, x in enumerate(cells)))
    train = ("train", "odd.csv", "--target", "y", "--epochs", 1, "--no-plot")
    message = fail(*train)
    assert "column 'x' must hold numbers, got 'abt 5' in row 9 and 7 more cells" in message
    assert "--na 'abt 5' takes it as missing" in message
    assert pycnn_command(*train, "--na", "abt 5")[0] == 0


def test_european_table_is_read_and_predicted_alike(succeed, pycnn_command):
    rng = np.random.default_rng(0)
    x, day = rng.uniform(1000, 9000, 200), pd.date_range("2024-01-01", periods=200)
    frame = pd.DataFrame({"größe": x, "tag": day.strftime("%d.%m.%Y"), "preis": x / 3})
    frame["größe"] = [f"{v:,.1f}".translate(str.maketrans(",.", ".,")) for v in x]
    frame.to_csv("euro.csv", index=False, sep=";", decimal=",", encoding="latin-1")
    options = ("--delimiter", ";", "--decimal", ",", "--thousands", ".", "--encoding", "latin-1")
    options += ("--date", "tag", "--na", "-1")
    succeed("train", "euro.csv", "--target", "preis", *options, "--no-plot", "--epochs", 50)
    table = pycnn.load("model.safetensors").metadata["table"]
    assert table["reading"] == {
        "na": ["-1"],
        "decimal": ",",
        "thousands": ".",
        "delimiter": ";",
        "encoding": "latin-1",
    }
    assert figure("R²", succeed("evaluate", "model.safetensors", "euro.csv")) > 0.9
    frame["größe"] = x.round(1)
    frame["tag"] = day.strftime("%d.%m.%Y")
    frame.to_csv("plain.csv", index=False)
    plain = ("--delimiter", ",", "--decimal", ".", "--thousands", "'", "--encoding", "utf-8")
    out = succeed("predict", "model.safetensors", "plain.csv", *plain)
    assert out == succeed("predict", "model.safetensors", "euro.csv")
    assert "tag: dates of the form %d.%m.%Y" in succeed("info", "model.safetensors")
    status, _, err = pycnn_command("predict", "model.safetensors", "euro.csv", "--text", "größe")
    assert (status, err) == (2, "Error: --text größe: the model has learned it otherwise\n")


FORMATS = {
    "t.csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "t.csv.bz2": lambda frame, path: frame.to_csv(path, index=False),
    "t.csv.xz": lambda frame, path: frame.to_csv(path, index=False),
    "t.zip": lambda frame, path: frame.to_csv(path, index=False),
    "gzipped": lambda frame, path: frame.to_csv(path, index=False, compression="gzip"),
    "t.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "t.json": lambda frame, path: frame.to_json(path, orient="records"),
    "columns.json": lambda frame, path: frame.to_json(path),
    "t.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "t.ndjson.gz": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "t.parquet": lambda frame, path: frame.to_parquet(path),
    "t.feather": lambda frame, path: frame.to_feather(path),
    "t.xlsx": lambda frame, path: frame.to_excel(path, index=False),
    "workbook": lambda frame, path: frame.to_excel(path + ".xlsx", index=False),
}
LIBRARIES = {"parquet": "pyarrow", "feather": "pyarrow", "xlsx": "openpyxl", "workbook": "openpyxl"}


@pytest.mark.parametrize("name", FORMATS)
def test_table_of_each_format_is_read_as_csv_is(succeed, flowers_model, name):
    pytest.importorskip(LIBRARIES.get(name.split(".")[-1], "json"))
    frame = flowers(40, seed=3)
    frame.loc[3, ["width", "colour"]] = None
    frame["kind"] = frame["kind"].where(frame.index != 5)
    frame.to_csv("t.csv", index=False)
    FORMATS[name](frame, name)
    if name == "workbook":
        os.rename("workbook.xlsx", "workbook")
    for command in ("predict", "evaluate"):
        out = succeed(command, flowers_model, name)
        assert out.replace(name, "t.csv") == succeed(command, flowers_model, "t.csv")


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("t.tsv", "workbook")])
def test_damaged_table_is_one_line_and_status_2(fail, flowers_model, name):
    pytest.importorskip(LIBRARIES.get(name.split(".")[-1], "json"))
    FORMATS[name](flowers(40), name)
    path = Path(name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f"{name} is not" in fail("predict", flowers_model, name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"y": 1, "y": 2}]', "names 'y' twice"),
        ("[1, 2]", "must be of objects"),
        ('{"y": 1}\n5\n', "must be of objects"),
        ("5", "is not an intact JSON file"),
        ("[]", "no rows"),
        ('[{"a": [1], "y": 1}, {"a": [2], "y": 0}]', "'a' must hold numbers, text or dates"),
        ('[{"a": 1, "y": "u"}]', "one class only"),
    ],
)
def test_json_that_is_no_table_is_one_line_and_status_2(fail, content, message):
    write("odd.json", content)
    assert message in fail("train", "odd.json", "--target", "y")


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("a.parquet", "pyarrow", "'pycnn[tables]'"),
        ("a.feather", "pyarrow", "'pycnn[tables]'"),
        ("a.xlsx", "openpyxl", "'pycnn[tables]'"),
        ("a.xls", "xlrd", "xlrd"),
        ("a.ods", "odf", "odfpy"),
    ],
)
def test_missing_library_of_a_format_is_named(fail, monkeypatch, name, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    write(name, "anything")
    message = fail("train", name, "--target", "y")
    assert message.endswith(f"need {module}: pip install {package}\n")


def test_names_twice_are_refused_in_a_workbook(fail):
    pytest.importorskip("openpyxl")
    pd.DataFrame([[1, 2], [3, 4]], columns=["y", "y"]).to_excel("twice.xlsx", index=False)
    assert "names a column twice: 'y'" in fail("train", "twice.xlsx", "--target", "y")


@pytest.mark.parametrize(
    ("encoding", "way"),
    [
        ("latin-1", "--encoding latin-1"),
        ("utf-16", "--encoding utf-16"),
        ("utf-16-le", "--encoding utf-16-le"),
        ("utf-16-be", "--encoding utf-16-be"),
    ],
)
def test_other_encodings_are_told_and_read(fail, succeed, encoding, way):
    text = "ort,y\n" + "Köln,1\nRom,2\n" * 40
    Path("orte.csv").write_bytes(text.encode(encoding))
    train = ("train", "orte.csv", "--target", "y", "--epochs", 1, "--no-plot")
    message = fail(*train)
    assert "not UTF-8 text" in message
    assert way in message
    succeed(*train, "--encoding", encoding)
    assert "ort: Köln, Rom" in succeed("info", "model.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--delimiter", "ab"), "--delimiter must be one character"),
        (("--encoding", "utf-99"), "no text encoding 'utf-99'"),
        (("--encoding", "hex"), "no text encoding 'hex'"),
        (("--encoding", "ascii"), "not ascii text"),
        (("--decimal", "12"), "decimal must be one character"),
        (("--thousands", "."), "must differ"),
        (("--text", "ortt"), "--text: there is no column 'ortt'; "),
        (("--date", "ortt"), "--date: there is no column 'ortt'; "),
        (("--date", "ort"), "'ort' must hold dates of one form, got 'Köln' in row 1"),
        (("--date", "ort=%Q"), "'%Q'"),
    ],
)
def test_wrong_reading_option_is_one_line_and_status_2(fail, options, message):
    write("orte.csv", "ort,y\n" + "Köln,1\nRom,2\n" * 40)
    assert message in fail("train", "orte.csv", "--target", "y", *options)


def test_digits_need_no_reading_option(fail):
    assert "--na needs a file" in fail("train", "--na", "x")


def test_models_of_version_0_1_predict_as_they_did(succeed):
    models = Path(__file__).parent / "models"
    for kind in ("classes", "number"):
        was = (models / f"cli_0_1_{kind}.csv").read_text()
        model, table = models / f"cli_0_1_{kind}.safetensors", models / "cli_0_1.csv"
        out = succeed("predict", model, table)
        old, new = (list(csv.reader(io.StringIO(text))) for text in (was, out))
        assert old[0] == new[0]
        assert len(old) == len(new)
        for before, now in zip(old[1:], new[1:], strict=True):
            if kind == "classes":
                assert before[0] == now[0]
                before, now = before[1:], now[1:]
            assert np.array(now, dtype=float) == pytest.approx(
                np.array(before, dtype=float), rel=1e-5
            )
        assert "score on" in succeed("evaluate", model, table)
        assert "48 rows of cli_0_1.csv" in succeed("info", model)


# ------------------------------------------------------------------ predict, evaluate, info


def test_predict_ignores_other_columns_and_their_order(succeed, flowers_model):
    frame = flowers(5, seed=3)
    frame.to_csv("all.csv", index=False)
    frame[["colour", "width", "length"]].assign(more=1).to_csv("less.csv", index=False)
    out = succeed("predict", flowers_model, "all.csv")
    assert out == succeed("predict", flowers_model, "less.csv")
    assert out.splitlines()[0].split(",")[:2] == ["kind", "probability of iris"]
    assert succeed("predict", flowers_model, "all.csv", "--out", "p.csv") == ""
    assert Path("p.csv").read_text() == out


def test_predictions_in_pieces_are_the_same(succeed, flowers_model, monkeypatch):
    flowers(50, seed=3).to_csv("new.csv", index=False)
    out = succeed("predict", flowers_model, "new.csv")
    monkeypatch.setattr(using, "VALUES_PER_PIECE", 21)
    assert succeed("predict", flowers_model, "new.csv") == out
    succeed("predict", flowers_model, "new.csv", "--out", "p.csv")
    assert Path("p.csv").read_text() == out


def test_unseen_category_is_none_of_them_with_one_warning(pycnn_command, flowers_model):
    write("new.csv", "length,width,colour\n1000,3,green\n1000,3,mauve\n1000,3,red\n")
    status, out, err = pycnn_command("predict", flowers_model, "new.csv")
    assert status == 0
    assert len(out.splitlines()) == 4
    assert err.startswith("Warning: column 'colour'")
    assert "'green', 'mauve'" in err
    assert err.count("\n") == 1


def test_evaluate_takes_a_target_of_another_name(succeed, flowers_model):
    flowers(40, seed=5).rename(columns={"kind": "truth"}).to_csv("new.csv", index=False)
    out = succeed("evaluate", flowers_model, "new.csv", "--target", "truth")
    assert "score on new.csv (40 rows)" in out
    assert figure("accuracy", out) > 0.9


def test_info_tells_architecture_training_and_columns(succeed, flowers_model):
    out = succeed("info", flowers_model)
    for text in (
        "(128, 5)",
        "30 epochs, seed 0, 96 rows of flowers.csv",
        "kind, classification",
        "3: iris, rose, tulip",
        "3: length, width, colour",
        "colour: blue, red, white",
    ):
        assert text in out


@pytest.fixture
def foreign_model():
    """A model that Python saved: with classes, without a table of columns."""
    network = pycnn.Network(2, [pycnn.Dense(4, "tanh"), pycnn.Dense(1, "sigmoid")], seed=0)
    X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], ["no", "yes", "yes", "no"]
    network.fit(X, y, epochs=2000, optimizer=pycnn.SGD(1.0), progress=False)
    network.save("python.safetensors")
    return "python.safetensors"


def test_model_from_python_takes_columns_as_they_stand(pycnn_command, foreign_model):
    write("xor.csv", "a,b\n0,0\n0,1\n")
    status, out, err = pycnn_command("predict", foreign_model, "xor.csv")
    assert status == 0
    assert [line.split(",")[0] for line in out.splitlines()] == ["prediction", "no", "yes"]
    assert "taken as they are: a, b" in err
    write("truth.csv", "a,b,c\n0,0,no\n0,1,yes\n")
    status, out, _ = pycnn_command("evaluate", foreign_model, "truth.csv", "--target", "c")
    assert status == 0
    assert "accuracy  1.0000" in out
    assert "keeps no table" in pycnn_command("info", foreign_model)[1]


def test_a_model_from_python_finds_the_columns_of_its_frame_by_name(succeed, fail):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [5.0, 1.0, 0.0, 2.0]})
    network = pycnn.Network(2, [pycnn.Dense(1)], seed=0)
    network.fit(frame, frame["a"] - 2 * frame["b"], epochs=5, progress=False)
    network.save("frame.safetensors")
    wanted = ["prediction", *map(str, network.predict(frame)[:, 0].tolist())]
    for names in ("ab", "ba", "bca"):
        frame.assign(c=7.0)[list(names)].to_csv("turned.csv", index=False)
        assert succeed("predict", "frame.safetensors", "turned.csv").splitlines() == wanted
    assert "features  2: a, b; the model keeps no table" in succeed("info", "frame.safetensors")
    frame.rename(columns={"b": "bb"}).to_csv("other.csv", index=False)
    lacking = "the table lacks 1 of the model's 2 columns: 'b'; did you mean 'bb'?"
    assert lacking in fail("predict", "frame.safetensors", "other.csv")


def test_model_from_python_refuses_columns_that_do_not_fit(fail, foreign_model):
    write("three.csv", "a,b,c\n1,2,3\n")
    assert "exactly its 2 inputs" in fail("predict", foreign_model, "three.csv")
    write("hole.csv", "a,b\n1,\n")
    assert "'b' has missing values" in fail("predict", foreign_model, "hole.csv")
    assert "--target is missing" in fail("evaluate", foreign_model, "three.csv")


# ------------------------------------------------------------------ other commands


def test_walkthrough_config_version_and_help(succeed):
    assert "0.911224" in succeed("walkthrough", "--backend", "numpy")
    assert "backend" in succeed("config")
    assert pycnn.__version__ in succeed("--version")
    assert "walkthrough" in succeed()
    assert "--learning-rate" in succeed("train", "--help")


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "'trian'"),
        (("train", "--hiden", "3"), "--hidden"),
        (("train", "--activation", "rulu"), "did you mean 'relu'"),
        (("train", "--backend", "nunpy"), "did you mean 'numpy'"),
        (("train", "--task", "regresion"), "did you mean 'regression'"),
        (("train", "--target", "digits"), "did you mean 'digit'"),
        (("train", "--drop", "pixel_64"), "no column 'pixel_64'"),
        (("train", "--hidden", "3,x"), "--hidden"),
        (("train", "--hidden", "0"), "--hidden"),
        (("train", "--hidden", "9" * 30), "units must be at most"),
        (("train", "--epochs", "0"), "--epochs"),
        (("train", "--batch-size", "x"), "--batch-size"),
        (("train", "--learning-rate", "nan"), "learning_rate"),
        (("train", "--learning-rate", "-1"), "learning_rate"),
        (("train", "--l2", "-1"), "--l2"),
        (("train", "--l2", "nan"), "l2"),
        (("train", "--dropout", "1"), "--dropout"),
        (("train", "--dropout", "nan"), "rate"),
        (("train", "--dropout", "0.1", "--hidden", "none"), "needs a hidden layer"),
        (("train", "--optimizer", "adma"), "--optimizer must be one of .*; did you mean 'adam'"),
        (("train", "--patience", "-1"), "--patience"),
        (("train", "--class-weight", "balance"), "--class-weight"),
        (("train", "--class-weight", "11=2"), "--class-weight must be one of 0, 1"),
        (("train", "--class-weight", "1=x"), "CLASS=WEIGHT, got '1=x'"),
        (("train", "--class-weight", "1=-1"), "at least 0"),
        (("train", "--class-weight", "balanced", "--class-weight", "1=2"), "balanced"),
        (("train", "--seed", "-1"), "--seed"),
        (("train", "--test-size", "1"), "--test-size"),
        (("train", "--test-size", "nan"), "--test-size"),
        (("train", "--test-size", "1e-9"), "--test-size"),
        (("train", "--out", "no/such/model"), "no folder"),
        (("train", "--out", "."), "it is a folder"),
        (("train", "--plot", "a.xyz"), "png"),
        (("train", "--plot", "model.safetensors"), "cannot both"),
        (("train", "absent.csv", "--target", "a"), "absent.csv: No such file"),
        (("predict", "absent", "absent.csv"), "absent: No such file"),
        (("predict",), "Missing argument"),
        (("info", "."), r"\."),
    ],
)
def test_wrong_option_is_one_line_and_status_2(fail, arguments, message):
    assert re.search(message, fail(*arguments))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,y\n", "no rows"),
        ("a,y\n1,2,3\n1,2,3\n", "more fields than the header"),
        ("a,y\n1,2\n1,2,3\n", "line 3"),
        ("a;y\n1;2\n", "--delimiter ';'"),
        ("a\ty\n1\t2\n", "--delimiter 'tab'"),
        ("a,y\n\udcff,2\n", "not UTF-8"),
        ("a,y\n1,inf\n2,0.5\n", "'y' must be finite"),
        ("a,y\n1,0\ninf,1\n", "'a' must be finite, but is infinite in row 2"),
        ("a,y\n1e308,0\n-1e308,1\n", "'a' holds numbers too large"),
        ("a,y\n1,\n2,\n", "'y' is empty"),
        ("a,y\n1,x\n2,x\n", "one class only"),
        ("y\n1\n2\n", "no column but the target"),
        ("a,y\n,1\n,0\n", "all columns but the target are empty"),
        ("a,z\n1,2\n", "there is no column 'y'"),
        ("a,y\n" + "".join(f"{i},name{i}\n" for i in range(60)), "these are no classes"),
        ("id,y\n" + "".join(f"name{i},{i % 2}\n" for i in range(60)), "--drop id"),
        (
            "a,y\n" + "".join(f"{i if i else 'abc'},{i % 2}\n" for i in range(60)),
            "'abc' in row 1: --na abc",
        ),
        ("a,a,y\n1,2,0\n3,4,1\n", "names a column twice: 'a', in columns 1 and 2"),
        ("y,a,y\n1,2,0\n3,4,1\n", "names a column twice: 'y', in columns 1 and 3"),
        ("a;y\n1,5;2\n", "--delimiter ';' --decimal ','"),
        ("a\0,y\n1,2\n", "bytes of zero"),
        ("day,y\n" + "".join(f"{i + 1}.5.2024,{i}\n" for i in range(30)), "--date day makes"),
    ],
)
def test_wrong_table_is_one_line_and_status_2(fail, content, message):
    Path("data.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert message in fail("train", "data.csv", "--target", "y", "--test-size", 0)


def test_missing_target_names_the_columns(fail):
    write("data.csv", "height,weight\n1,2\n")
    assert "the columns are height, weight" in fail("train", "data.csv")
    assert "did you mean 'weight'" in fail("train", "data.csv", "--target", "weigth")


def test_text_target_is_no_regression(fail):
    write("data.csv", "a,y\n1,x\n2,z\n")
    message = fail("train", "data.csv", "--target", "y", "--task", "regression")
    assert "'y' holds text such as 'x'" in message


def test_output_over_the_input_is_refused(fail):
    write("data.csv", "a,y\n1,x\n2,z\n")
    assert "it is what is read" in fail("train", "data.csv", "--target", "y", "--out", "data.csv")


def test_delimiter_and_byte_order_mark_are_understood(succeed):
    rows = "".join(f"{i % 2}\t{'ab'[i % 2]}\n" for i in range(60))
    Path("data.csv").write_bytes(b"\xef\xbb\xbf" + f"x\ty\n{rows}".encode())
    out = succeed("train", "data.csv", "--target", "y", "--delimiter", "tab", "--epochs", 100)
    assert "accuracy  1.0000" in out


def test_missing_and_wrong_feature_columns_are_named(fail, flowers_model):
    write("less.csv", "length,colours\n1,red\n")
    message = fail("predict", flowers_model, "less.csv")
    assert "lacks 2 of the model's 3 columns: 'width', 'colour'" in message
    write("text.csv", "length,width,colour\n1,2,red\nlong,2,red\n")
    assert "'length' must hold numbers, got 'long' in row 2" in fail(
        "predict", flowers_model, "text.csv"
    )
    write("inf.csv", "length,width,colour\n-inf,2,red\n")
    assert "'length' must be finite" in fail("predict", flowers_model, "inf.csv")


def test_labels_outside_the_classes_are_named(fail, flowers_model):
    flowers(5).assign(kind="rosa").to_csv("new.csv", index=False)
    message = fail("evaluate", flowers_model, "new.csv")
    assert "'rosa'" in message
    assert "did you mean 'rose'" in message


@pytest.mark.parametrize("command", [("predict", "flowers.csv"), ("evaluate", "flowers.csv"), ()])
@pytest.mark.parametrize("damage", ["truncated", "altered", "foreign"])
def test_damaged_model_is_one_line_and_status_2(fail, flowers_model, command, damage):
    content = bytearray(Path(flowers_model).read_bytes())
    if damage == "truncated":
        del content[300:]
    elif damage == "altered":
        content[-5] ^= 1
    else:
        content = b"not a model at all"
    Path("bad.st").write_bytes(content)
    name, *rest = command or ("info",)
    assert "bad.st" in fail(name, "bad.st", *rest)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("columns"),
        lambda data: data["columns"].pop(),
        lambda data: data["columns"][0].update(scale="wide"),
        lambda data: data["columns"][0].update(scale=0.0),
        lambda data: data["columns"][0].update(mean=10**400),
        lambda data: data["target"].update(task="dance"),
        lambda data: data["target"].update(task="regression"),
        lambda data: data.update(surprise=1),
    ],
)
def test_table_of_columns_that_does_not_fit_is_refused(fail, flowers_model, change):
    network = pycnn.load(flowers_model)
    change(network.metadata["table"])
    network.save("odd.st")
    assert "does not fit its" in fail("predict", "odd.st", "flowers.csv")


def test_divergence_names_epoch_and_batch_and_keeps_the_previous_model(fail, flowers_model):
    message = fail("train", "flowers.csv", "--target", "kind", "--learning-rate", 1e9)
    assert "epoch" in message
    assert "batch" in message
    assert "no file was written" in message


def test_interrupted_training_keeps_the_previous_model(pycnn_command, flowers_model, monkeypatch):
    before = Path(flowers_model).read_bytes()

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pycnn._training.loop.run", interrupt)
    status, _, err = pycnn_command("train", "flowers.csv", "--target", "kind", "--epochs", 9)
    assert status == 130
    assert err == "training was interrupted after 0 of 9 epochs; no file was written\n"
    assert Path(flowers_model).read_bytes() == before


def test_missing_library_names_the_extra(fail, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert "pip install 'pycnn[cli]'" in fail("train", "--no-plot")
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert "pip install 'pycnn[plot]'" in fail("train")


def test_missing_click_names_the_extra(monkeypatch, capsys):
    from pycnn.__main__ import main

    monkeypatch.setitem(sys.modules, "click", None)
    assert main() == 2
    _, err = capsys.readouterr()
    assert "pip install 'pycnn[cli]'" in err
    assert err.count("\n") == 1


def test_control_characters_of_a_table_do_not_reach_the_terminal(pycnn_command, monkeypatch):
    rows = "".join(f"{i % 2},{['a', 'b' + chr(27) + '[2J'][i % 2]}\n" for i in range(60))
    write("esc.csv", f"\x1b[31mx,y\n{rows}")
    train = ("train", "esc.csv", "--target", "y", "--epochs", 9, "--no-plot")
    texts = [*pycnn_command(*train)[1:], *pycnn_command("info", "model.safetensors")[1:]]
    texts += pycnn_command("evaluate", "model.safetensors", "esc.csv")[1:]
    texts += pycnn_command("train", "esc.csv", "--target", "z")[1:]
    assert not any("\x1b" in text for text in texts)
    assert r"2: a, b\x1b[2J" in texts[2]
    # A file gets the labels as they are, a terminal does not.
    assert "b\x1b[2J" in pycnn_command("predict", "model.safetensors", "esc.csv")[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "\x1b" not in pycnn_command("predict", "model.safetensors", "esc.csv")[1]


# ------------------------------------------------------------------ in a process of its own


def start(*arguments, **options):
    env = os.environ | {"PYTHONPATH": str(Path(pycnn.__file__).parents[1])}
    command = [sys.executable, "-m", "pycnn", *arguments]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, **options)


def test_process_ends_with_status_2_and_one_line():
    process = start("info", "absent.safetensors", stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == "Error: absent.safetensors: No such file or directory\n"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX pipes")
def test_reader_that_leaves_early_is_no_error():
    read, out = os.pipe()
    os.close(read)
    process = start("walkthrough", stdout=out)
    os.close(out)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_under_the_output_is_one_line():
    with open("/dev/full", "w") as full:
        process = start("walkthrough", stdout=full)
        err = process.communicate(timeout=60)[1]
    assert (process.returncode, err) == (2, "Error: No space left on device\n")


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("command", ["info absent", "walkthrough", "--help"])
def test_closed_output_is_one_line(command):
    shell = ["sh", "-c", f'"{sys.executable}" -m pycnn {command} >&-']
    env = os.environ | {"PYTHONPATH": str(Path(pycnn.__file__).parents[1])}
    done = subprocess.run(shell, env=env, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "Error: standard output is closed\n")


def test_interrupt_before_the_commands_are_there_is_one_line(monkeypatch, capsys):
    from pycnn.__main__ import main

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run", interrupt)
    assert main() == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_says_what_happened_and_writes_nothing():
    def heed():  # where the shell has it ignored, so would the process
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    endless = "--epochs", "1000000", "--patience", "0"
    process = start("train", *endless, stdout=subprocess.PIPE, preexec_fn=heed)
    assert any(line.startswith("training") for line in process.stdout)  # the last one before it
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert len(err.split("\n")) <= 3  # Click may end the terminal's ^C with an empty line
    assert os.listdir() == []


# ------------------------------------------------------------------ the report


def test_confusion_matrix_is_aligned_and_named():
    text = report.classification_report(
        np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 2]), ["cat", "elephant", "ox"]
    )
    assert "accuracy  0.8000  (4 of 5 right)" in text
    assert text.splitlines()[-4:] == [
        "          cat  elephant  ox",
        "cat         1         1   .",
        "elephant    .         2   .",
        "ox          .         .   1",
    ]


def test_wide_confusion_matrix_numbers_its_columns():
    labels = [f"a rather long name {i}" for i in range(20)]
    text = report.classification_report(np.arange(20), np.arange(20), labels)
    assert max(map(len, text.splitlines())) <= report.WIDTH
    assert "20 a rather long..." in text


def test_very_many_classes_show_what_is_confused_most():
    true, labels = np.arange(40), [f"c{i}" for i in range(40)]
    text = report.classification_report(true, np.maximum(true, 3), labels)
    assert "c0 taken for c3" in text
    assert "most confused of 40 classes" in text
    assert "no class is confused" in report.classification_report(true, true, labels)


def test_confusions_of_very_many_classes_need_no_matrix():
    true = np.arange(50_000)
    predicted = true.copy()
    predicted[:7] = [1, 1, 1, 4, 4, 9, 9]
    text = report.classification_report(true, predicted, true)
    assert "0.9999  (49995 of 50000 right)" in text
    assert [line for line in text.splitlines() if "taken for" in line] == [
        f"     1  {one} taken for {other}"
        for one, other in ((0, 1), (2, 1), (3, 4), (5, 9), (6, 9))
    ]


def test_regression_without_spread_has_no_r2():
    assert "not defined" in report.regression_report(np.full(3, 0.1), np.array([0.1, 0.1, 0.2]))
    text = report.regression_report(np.ones(3), np.array([1.0, 1.0, 2.0]))
    assert "not defined" in text
    assert figure("MAE", text) == pytest.approx(1 / 3, abs=1e-5)
