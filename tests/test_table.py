import datetime
import decimal
import json
from pathlib import Path

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

import pycnn.table  # noqa: E402
from pycnn import Table  # noqa: E402
from pycnn._table.columns import mean_and_deviation  # noqa: E402
from pycnn.exceptions import (  # noqa: E402
    DataError,
    DataTypeError,
    DataWarning,
    LabelError,
    ModelFileError,
    UnknownNameError,
)

FRAME = {
    "size": [1.0, 2.0, 3.0, None],
    "colour": ["red", "blue", None, "red"],
    "new": [True, False, True, True],
    "kind": ["plum", "plum", "rose", "rose"],
}


def quietly(table, frame, target=None, **options):
    """Fit a table of which notes are expected."""
    with pytest.warns(DataWarning):
        return table.fit(frame, target, **options)


# ------------------------------------------------------------------ columns become inputs


def test_columns_become_inputs_with_names():
    table = Table().fit(FRAME, "kind")
    names = ["size", "size missing", "colour=blue", "colour=red", "colour missing", "new"]
    assert table.names == names
    X = pd.DataFrame(table.transform(FRAME), columns=names)
    assert X["size"].round(6).tolist() == [-1.224745, 0, 1.224745, 0]
    assert X["size missing"].tolist() == [0, 0, 0, 1]
    assert X["colour=red"].tolist() == [1, 0, 0, 1]
    assert X["colour missing"].tolist() == [0, 0, 1, 0]
    assert X["new"].std(ddof=0) == pytest.approx(1)
    assert table.targets(FRAME).tolist() == FRAME["kind"]


def test_frames_mappings_and_records_are_the_same():
    expected = Table().fit(FRAME, "kind").transform(FRAME)
    frame = pd.DataFrame(FRAME)
    for other in (frame, frame.to_dict("records"), frame.set_index(pd.Index(list("wxyz")))):
        assert (Table().fit(other, "kind").transform(other) == expected).all()


def test_tables_of_pyarrow_are_frames():
    pyarrow = pytest.importorskip("pyarrow")
    frame = pyarrow.table(FRAME)
    assert (
        Table().fit(frame, "kind").transform(frame) == Table().fit(FRAME, "kind").transform(FRAME)
    ).all()


@pytest.mark.parametrize(
    "values",
    [
        pd.array([1, 2, None, 4], dtype="Int64"),
        pd.array([1, 2, None, 4], dtype="Float32"),
        [decimal.Decimal(1), decimal.Decimal("2.0"), None, decimal.Decimal(4)],
        [1, "2", pd.NA, 4.0],
        ["1", " 2 ", "", "4"],
        pd.Categorical(["1", "2", None, "4"]),
    ],
)
def test_numbers_of_any_type_are_numbers(values):
    table = Table().fit({"x": values, "more": [1, 2, 3, 4]})
    (column, _) = table.columns
    assert column.missing
    assert column.mean == pytest.approx(7 / 3)
    assert table.transform({"x": values, "more": [1, 2, 3, 4]})[2].tolist()[:2] == [0, 1]


def test_columns_may_come_in_another_order_and_with_others():
    table = Table().fit(FRAME, "kind")
    frame = pd.DataFrame(FRAME)[["new", "colour", "size"]].assign(more="x")
    assert (table.transform(frame) == table.transform(FRAME)).all()


def test_rows_decide_the_figures_and_all_rows_the_kinds():
    frame = {"x": ["1", "3", "odd", "5"], "c": ["a", "b", "c", "a"]}
    with pytest.raises(DataTypeError, match="'odd' in row 3"):
        Table().fit(frame, rows=[0, 1])
    frame["x"][2] = "100"
    table = Table().fit(frame, rows=[0, 1])
    assert table.columns[0].mean == 2
    assert table.columns[1].categories == ["a", "b"]
    assert table.training_rows == 2
    assert (Table().fit(frame, rows=[True, True, False, False]).names) == table.names


def test_unseen_category_is_none_with_a_warning():
    table = Table().fit(FRAME, "kind")
    with pytest.warns(DataWarning, match="'colour' has values that training did not see.*'green'"):
        X = table.transform({"size": [1], "colour": ["green"], "new": [True]})
    assert X[0, 2:5].tolist() == [0, 0, 0]


def test_common_scale_is_shared_by_all_numbers():
    frame = {"a": [0.0, 2.0], "b": [0.0, 20.0]}
    X = Table(common_scale=True).fit(frame).transform(frame)
    assert X[1, 1] == pytest.approx(10 * X[1, 0])


# ------------------------------------------------------------------ gaps


def test_words_for_missing_are_gaps_in_numbers_and_text_in_text():
    frame = {"x": ["1", "NA", "NaN", "null", "None", "2", "3", "4", "5", "?"]}
    frame["c"] = ["NA", "None", "null", "", "a", "NA", "a", "a", "a", "a"]
    table = Table()
    quietly(table, frame)
    assert table.columns[0].missing
    assert table.columns[1].categories == ["NA", "None", "a", "null"]
    assert table.columns[1].missing  # the empty cell
    assert table.notes[0] == "taken as missing: 'NA' in 1 cell of x"
    assert "taken as missing: '?' in 1 cell of x" in table.notes
    X = table.transform(frame)
    assert X[:, 1].tolist() == [0, 1, 1, 1, 1, 0, 0, 0, 0, 1]


def test_none_is_a_class_and_told():
    frame = {"x": np.sqrt(np.arange(300)), "y": ["None", "Mild", "Severe"] * 100}
    table = Table()
    quietly(table, frame, "y")
    assert len(table.targets(frame)) == 300
    assert np.unique(table.targets(frame)).tolist() == ["Mild", "None", "Severe"]
    assert any(
        "'None' is a class of the target 'y', in 100 rows; na=['None']" in n for n in table.notes
    )


def test_na_adds_what_is_missing_in_text_and_numbers():
    frame = {"x": [1, 2, -999, 3], "c": ["a", "b", "none", "a"], "y": ["u", "v", "u", "none"]}
    table = Table(na=["-999", "none"])
    quietly(table, frame, "y")
    assert [column.missing for column in table.columns] == [True, True]
    assert table.columns[0].mean == 2
    assert "taken as missing: '-999' in 1 cell of x" in table.notes
    with pytest.raises(DataError, match="'y' is missing in row 4"):
        table.targets(frame)
    assert table.transform({"x": ["-999"], "c": ["none"]})[0, 1] == 1


def test_truth_words_beside_na_are_truth_values():
    frame = {
        "x": [1.0, 2.0, 4.0],
        "member": ["TRUE", "NA", "FALSE"],
        "y": ["TRUE", "FALSE", "TRUE"],
    }
    table = Table()
    quietly(table, frame, "y")
    assert table.names == ["x", "member", "member missing"]
    assert table.targets(frame).tolist() == [True, False, True]


def test_signs_alone_are_text():
    frame = {"x": [1.0, 2.0, 4.0, 5.0], "y": ["+", "-", "+", "-"]}
    table = Table().fit(frame, "y")
    assert table.targets(frame).tolist() == ["+", "-", "+", "-"]


def test_empty_columns_are_left_out_and_told():
    table = Table()
    quietly(table, {"x": [1, 2], "nothing": [None, None], "words": ["NA", ""]})
    assert table.names == ["x"]
    assert table.notes[-1] == "left out, as empty: nothing, words"


# ------------------------------------------------------------------ mostly numbers


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "2", "abt 3"], r"must hold numbers, got 'abt 3' in row 3: na=\['abt 3'\] takes it"),
        (["1,234", "2", "3", "5"], r"got '1,234' in row 1: thousands=',' or decimal=','"),
        (["1,5", "2,25"], r"got '1,5' in row 1 and 1 more cell: decimal=',' reads"),
        (["1,234.5", "2"], "thousands=',' reads numbers"),
        (["1.234,5", "2,25"], r"decimal=',' thousands='\.' reads"),
        (["1 234", "2"], "thousands=' ' reads"),
        (["1'234", "2"], 'thousands="\'" reads'),
        (["1", "2", "3+"], r"text=\['x'\] makes categories"),
        (["1", "2", "1_000"], "'1_000' in row 3"),
        (["1", "2", "inf"], "must be finite, but is infinite in row 3"),
    ],
)
def test_odd_cell_of_a_number_column_is_named_with_its_remedy(cells, message):
    with pytest.raises((DataTypeError, DataError), match=message):
        Table().fit({"x": cells})


@pytest.mark.parametrize(
    ("cells", "options", "numbers"),
    [
        (["1,234", "2", "1,234,567"], {"thousands": ","}, [1234, 2, 1234567]),
        (["1,5", "-2,25e1"], {"decimal": ","}, [1.5, -22.5]),
        (["1.234,5", "2"], {"decimal": ",", "thousands": "."}, [1234.5, 2]),
        (["1 234", "1\u00a0234,5"], {"decimal": ",", "thousands": " "}, [1234, 1234.5]),
    ],
)
def test_marks_in_numbers_are_read_as_told(cells, options, numbers):
    table = Table(**options).fit({"x": cells})
    assert table.columns[0].mean == pytest.approx(np.mean(numbers), rel=1e-15)


def test_thousands_stand_in_groups_of_three():
    with pytest.raises(DataTypeError, match="'12,34' in row 1"):
        Table(thousands=",").fit({"x": ["12,34", "5", "6"]})


def test_half_numbers_are_text():
    table = Table().fit({"code": ["A", "1", "B", "2"]})
    assert table.columns[0].categories == ["1", "2", "A", "B"]


def test_text_keeps_numbers_as_categories():
    frame = {"zip": ["007", "7", "007"], "class": [1, 2, 1]}
    table = Table(text=["zip", "class"]).fit(frame, "class")
    assert table.names == ["zip=007", "zip=7"]
    assert table.targets(frame).tolist() == ["1", "2", "1"]


# ------------------------------------------------------------------ standardisation


@pytest.mark.parametrize(
    "values",
    [
        1.0 + 1e-12 * np.arange(100.0),
        1.7e12 + np.arange(100.0) / 10,
        (2**62 + np.arange(100) * 4096).astype(np.int64),
        np.uint64(2**63) + np.arange(100, dtype=np.uint64) * np.uint64(4096),
    ],
)
def test_small_spread_beside_a_large_mean_is_scaled(values):
    frame = {"x": values, "more": np.sqrt(np.arange(100))}
    X = Table().fit(frame).transform(frame)[:, 0]
    assert X.std() == pytest.approx(1, rel=1e-3)
    assert abs(X.mean()) < 1e-3


def test_constant_column_keeps_scale_one():
    assert mean_and_deviation(np.full(5, 0.1), "x") == (0.1, 1.0)
    assert mean_and_deviation(np.array([0.1 + 0.2, 0.3] * 9), "x")[1] == 1.0  # rounding
    assert mean_and_deviation(np.full(3, 2.0**62), "x") == (2.0**62, 1.0)


# ------------------------------------------------------------------ notes


def notes_of(**columns):
    table = Table()
    frame = pd.DataFrame({"other": np.sqrt(np.arange(100))} | columns)
    table.fit_frame(frame, None)
    return table.notes


def test_sequential_id_is_told():
    assert "'id' counts the rows, 1 to 100" in notes_of(id=np.arange(1, 101))[0]
    shuffled = np.random.default_rng(0).permutation(100) + 5000
    assert "'id' counts the rows, 5000 to 5099" in notes_of(id=shuffled)[0]
    assert notes_of(twice=np.arange(100) // 2) == []


def test_sentinel_is_told_with_its_remedy():
    ages = np.sqrt(np.arange(100)) * 10
    ages[::10] = -999
    assert "-999 in 10 rows lies far from the others, 10 to 99" in notes_of(age=ages)[0]
    assert "na=['-999']" in notes_of(age=ages)[0]
    assert notes_of(depth=np.sqrt(np.arange(100)) * -120 + 201) == []  # down to -993, not apart
    assert notes_of(level=np.where(np.arange(100) % 2, -9.0, 9.0)) == []


def test_outlier_that_hides_the_others_is_told():
    values = np.sin(np.arange(100.0))
    values[7] = 1e12
    assert "1e+12 in row 8 is so far from the others" in notes_of(x=values)[0]
    assert notes_of(rare=np.eye(100)[3]) == []


def test_many_notes_of_a_kind_are_counted():
    notes = notes_of(**{f"id{i}": np.arange(100) + i for i in range(9)})
    assert len(notes) == 4
    assert notes[-1] == "... and so for 6 more columns"


def test_skewed_target_is_told():
    frame = {"x": np.sqrt(np.arange(200)), "y": np.exp(np.linspace(0, 12, 200) ** 1.2)}
    quietly(table := Table(), frame, "y")
    assert "target column 'y' is skewed" in table.notes[-1]
    Table().fit({"x": np.sqrt(np.arange(200)), "y": np.log(frame["y"])}, "y")


def test_dates_taken_as_categories_are_told():
    notes = notes_of(day=["2024-01-05", "2024-02-06"] * 50)
    assert "'day' holds dates, such as '2024-01-05'" in notes[0]
    assert "date=['day']" in notes[0]


# ------------------------------------------------------------------ dates


def test_dates_become_days_and_cycles():
    days = pd.date_range("2024-01-01", periods=731)
    table = Table(date=["day"]).fit({"day": days.strftime("%Y-%m-%d")})
    names = ["day days", "day sin of year", "day cos of year", "day sin of week", "day cos of week"]
    assert table.names == names
    X = table.transform({"day": days.strftime("%Y-%m-%d")})
    assert X[:, 0].std() == pytest.approx(1)
    assert np.diff(X[:, 0]) == pytest.approx(np.full(730, X[1, 0] - X[0, 0]))
    assert X[0, 1:] == pytest.approx([0, 1, 0, 1])  # a Monday, the first of January
    assert X[7, 3:] == pytest.approx([0, 1], abs=1e-12)
    assert X[182, 2] == pytest.approx(-1)  # the first of July


def test_time_of_day_is_a_cycle_where_there_is_any():
    frame = {"at": ["2024-01-05T06:00Z", "2024-01-06 18:00:00+02:00", "2024-01-07 00:00Z", ""]}
    table = Table(date=["at"]).fit(frame)
    X = dict(zip(table.names, table.transform(frame).T, strict=True))
    assert X["at sin of day"] == pytest.approx([1, -np.sin(np.pi / 3), 0, 0], abs=1e-10)
    assert X["at missing"].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    "days",
    [
        pd.to_datetime(["2024-01-05", "2024-03-15", None]),
        pd.to_datetime(["2024-01-05", "2024-03-15", None]).tz_localize("UTC"),
        [datetime.date(2024, 1, 5), datetime.date(2024, 3, 15), None],
        ["05/01/2024", "15/03/2024", "NA"],
        ["1/5/2024", "3/15/2024", ""],
        ["05.01.24", "15.03.24", None],
        ["5 Jan 2024", "15 Mar 2024", None],
        [20240105.0, 20240315.0, None],
    ],
)
def test_dates_of_many_forms_are_the_same(days):
    frame = {"day": days, "x": [1, 2, 4]}
    table = Table(date=["day"]).fit(frame)
    assert table.columns[0].mean == (19727 + 19797) / 2
    assert table.transform(frame)[:, 0].tolist() == [-1, 1, 0]
    plain = Table.from_metadata(json.loads(json.dumps(table.to_metadata())))
    assert (plain.transform(frame) == table.transform(frame)).all()


def test_dates_of_two_meanings_ask_for_the_form():
    frame = {"day": ["05/01/2024", "06/02/2024"]}
    with pytest.raises(DataError, match=r"date=\['day=%d/%m/%Y'\] or date=\['day=%m/%d/%Y'\]"):
        Table(date=["day"]).fit(frame)
    assert Table(date=["day=%m/%d/%Y"]).fit(frame).columns[0].mean == (19844 + 19876) / 2


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"day": pd.to_datetime(["2024-01-05", "2024-01-06"])}, r"holds dates: date=\['day'\]"),
        ({"day": [datetime.date(2024, 1, 5)] * 2}, r"holds dates: date=\['day'\]"),
        (
            {"day": pd.date_range("2024-01-01", periods=50).strftime("%d.%m.%Y")},
            r"such as '01.01.2024': date=\['day'\]",
        ),
    ],
)
def test_dates_that_nobody_asked_for_are_refused_with_the_remedy(column, message):
    with pytest.raises(DataTypeError, match=message):
        Table().fit(column)


def test_what_is_no_date_is_named():
    with pytest.raises(DataTypeError, match="got 'soon' in row 2"):
        Table(date=["day"]).fit({"day": ["2024-01-05", "soon"]})
    table = Table(date=["day"]).fit({"day": ["2024-01-05", "2024-01-06"]})
    with pytest.raises(DataTypeError, match="dates of the form ISO8601, got '7/8/2024' in row 1"):
        table.transform({"day": ["7/8/2024"]})


# ------------------------------------------------------------------ the target


@pytest.mark.parametrize(
    ("values", "task", "dtype"),
    [
        (["a", "b"] * 10, "classification", "U"),
        ([True, False] * 10, "classification", "b"),
        ([3, 5] * 10, "classification", "i"),
        ([3.0, 5.0] * 10, "classification", "i"),
        (["007", "008"] * 10, "classification", "U"),
        (["7", "8"] * 10, "classification", "i"),
        ([0.5, 1.5] * 10, "regression", "f"),
        (list(range(20)), "regression", "f"),
        (list(range(50)) * 4, "regression", "f"),
        ([f"{i:03d}" for i in range(50)] * 4, "regression", "f"),
    ],
)
def test_target_decides_the_task_and_keeps_its_type(values, task, dtype):
    frame = {"x": np.sqrt(np.arange(len(values))), "y": values}
    table = Table().fit(frame, "y")
    assert table.target.task == task
    labels = table.targets(frame)
    assert labels.dtype.kind == dtype
    assert labels.tolist() == (
        values
        if task == "classification" and dtype == "U"
        else [type(labels[0].item())(v) for v in values]
    )


def test_task_can_be_chosen():
    frame = {"x": [1.0, 2.0, 4.0, 5.0], "y": [0.5, 1.5, 0.5, 1.5]}
    labels = Table(task="classification").fit(frame, "y").targets(frame)
    assert labels.tolist() == frame["y"]
    frame["y"] = ["1", "2", "3", "2"]
    assert Table(task="regression").fit(frame, "y").targets(frame).tolist() == [1, 2, 3, 2]


def test_floats_beyond_64_bits_are_no_whole_labels():
    frame = {"x": [1.0, 2.0, 4.0, 5.0], "y": [1e300, 2.0, 1e300, 2.0]}
    assert Table().fit(frame, "y").targets(frame).tolist() == frame["y"]


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Table(task="clasification"), UnknownNameError, "did you mean 'classification'"),
        (lambda: Table(text="zip"), DataTypeError, "text must be a sequence"),
        (lambda: Table(decimal="12"), DataError, "decimal must be one character"),
        (lambda: Table(decimal=",", thousands=","), DataError, "must differ"),
        (lambda: Table().transform(FRAME), DataError, "call fit first"),
        (lambda: Table().fit(FRAME, "kindd"), UnknownNameError, "did you mean 'kind'"),
        (lambda: Table(text=["sise"]).fit(FRAME), UnknownNameError, "did you mean 'size'"),
        (lambda: Table(date=["sise"]).fit(FRAME), UnknownNameError, "did you mean 'size'"),
        (lambda: Table().fit(5), DataError, "must be a data frame or make one"),
        (lambda: Table().fit({"a": []}), DataError, "at least one row"),
        (lambda: Table().fit({"y": [1, 2]}, "y"), DataError, "no column but the target 'y'"),
        (lambda: Table().fit({"a": [None]}), DataError, "are empty"),
        (lambda: Table().fit({"a": [[1], [2]]}), DataTypeError, "lists or the like"),
        (lambda: Table().fit({"a": [1j, 2]}), DataTypeError, "real numbers"),
        (lambda: Table().fit({"a": [1, 2], "y": ["u", "u"]}, "y"), LabelError, "one class only"),
        (
            lambda: Table(task="classification").fit(
                {"a": range(0, 90, 3), "y": range(0, 60, 2)}, "y"
            ),
            LabelError,
            "no classes; for a quantity give task='regression'",
        ),
        (
            lambda: Table(task="regression").fit({"a": [1, 2], "y": ["u", "v"]}, "y"),
            DataTypeError,
            "holds text such as 'u'",
        ),
        (
            lambda: Table().fit({"a": [1, 2], "y": pd.to_datetime(["2024", "2025"])}, "y"),
            DataTypeError,
            "'y' holds dates",
        ),
        (lambda: Table().fit(FRAME).targets(FRAME), DataError, "without a target"),
        (
            lambda: Table().fit(FRAME).transform({"size": [1]}),
            DataError,
            "lacks 3 of the model's 4",
        ),
        (
            lambda: Table().fit({"a": [1, 2]}).transform({"a": ["many"]}),
            DataTypeError,
            "'a' must hold numbers, got 'many' in row 1",
        ),
    ],
)
def test_errors_name_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_name_twice_is_refused():
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])
    with pytest.raises(DataError, match="names a column twice: 'a'"):
        Table().fit(frame)


def test_fit_that_fails_changes_nothing():
    table = Table().fit(FRAME, "kind")
    before = table.to_metadata()
    with pytest.raises(DataTypeError):
        table.fit({"a": ["1", "2", "odd"]})
    assert table.to_metadata() == before


# ------------------------------------------------------------------ plain data


def test_table_comes_back_from_a_model_file(tmp_path):
    table = Table(na=["none"]).fit(FRAME, "kind")
    net = pycnn.Network(len(table.names), [pycnn.Dense(1, "sigmoid")], seed=0)
    net.fit(table.transform(FRAME), table.targets(FRAME), epochs=2, progress=False)
    net.metadata["table"] = table.to_metadata()
    net.save(tmp_path / "kinds.safetensors")
    loaded = Table.from_metadata(pycnn.load(tmp_path / "kinds.safetensors").metadata["table"], 6)
    assert repr(loaded) == "Table(3 columns as 6 inputs, target 'kind')"
    assert (loaded.transform(FRAME) == table.transform(FRAME)).all()
    assert loaded.targets(FRAME).tolist() == FRAME["kind"]
    assert loaded.reading.na == ["none"]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("columns"),
        lambda data: data["columns"].clear(),
        lambda data: data["columns"].append(data["columns"][0]),
        lambda data: data["columns"][0].update(scale=10**400),
        lambda data: data["columns"][0].update(mean=float("nan")),
        lambda data: data["columns"][0].update(mean=True),
        lambda data: data["columns"][0].update(name=5),
        lambda data: data["columns"][0].update(missing=1),
        lambda data: data["columns"][1].update(categories="ab"),
        lambda data: data["columns"][1].update(categories=["a", "a"]),
        lambda data: data["columns"].__setitem__(0, "categories"),
        lambda data: data["target"].update(scale=-1.0),
        lambda data: data["target"].update(task=["regression"]),
        lambda data: data.update(test_size="many"),
        lambda data: data.update(test_size=1.0),
        lambda data: data.update(seed=-1),
        lambda data: data.update(training_rows=1.5),
        lambda data: data.update(reading={"na": "?"}),
        lambda data: data.update(reading={"decimal": ",", "thousands": ","}),
        lambda data: data.update(surprise=1),
    ],
)
def test_altered_metadata_is_refused(change):
    data = Table().fit(FRAME, "kind").to_metadata()
    Table.from_metadata(data, 6)
    change(data)
    with pytest.raises(ModelFileError, match="does not fit its network"):
        Table.from_metadata(data, 6)


@pytest.mark.parametrize("data", [None, 5, [], "table", {}])
def test_metadata_that_is_no_table_is_refused(data):
    with pytest.raises(ModelFileError):
        Table.from_metadata(data)


def test_table_of_version_0_1_takes_words_for_missing_in_text():
    model = pycnn.load(Path(__file__).parent / "models" / "cli_0_1_classes.safetensors")
    table = Table.from_metadata(model.metadata["table"], model.inputs)
    colour = table.names.index("colour missing")
    frame = {"age": [40], "colour": ["NA"], "member": [True], "price": [1000]}
    assert table.transform(frame)[0, colour] == 1


def test_importing_pycnn_brings_neither_pandas_nor_the_table(run_python):
    code = "import sys, pycnn; print({'pandas', 'pycnn.table'} & set(sys.modules))"
    assert run_python(code) == "set()\n"
    assert run_python("from pycnn import *; print(Table())") == "Table()\n"


@pytest.mark.parametrize("dtype", ["int64", "uint64", "Int64"])
def test_whole_numbers_of_many_digits_are_classes_as_they_are(dtype):
    codes = [2**60 + 1, 2**60 + 2] if dtype != "uint64" else [2**63 + 1, 2**63 + 2]
    frame = pd.DataFrame({"x": [0.5, 1.5] * 15, "id": pd.array(codes * 15, dtype=dtype)})
    table = pycnn.Table().fit(frame, "id")
    assert table.targets(frame).tolist() == codes * 15
    assert np.unique(table.targets(frame)).tolist() == codes
