"""What training has measured: as lists, as a data frame, in a notebook."""

import copy
import math
import pickle
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from pycnn import Dense, History, Network

X = np.random.default_rng(3).normal(size=(40, 3))


def trained(backend, epochs=4, **options):
    net = Network(3, [Dense(2, "tanh"), Dense(1)], seed=0, backend=backend)
    return net.fit(X, X[:, 0], epochs=epochs, validation_split=0.25, **options)


def history_of(*logs):
    history = History()
    for entry in logs:
        history.append(entry)
    return history


def test_all_lists_are_as_long_as_there_are_epochs():
    history = history_of({"loss": 3.0}, {"loss": 2.0, "val_loss": 4.0}, {"loss": 1.0})
    history.add({"norm": 7.0})
    assert history["loss"] == [3.0, 2.0, 1.0]
    np.testing.assert_array_equal(history["val_loss"], [math.nan, 4.0, math.nan])
    np.testing.assert_array_equal(history["norm"], [math.nan, math.nan, 7.0])


def test_a_history_is_truncated_to_its_first_epochs():
    history = history_of({"loss": 3.0}, {"loss": 2.0}, {"loss": 1.0, "late": 5.0})
    first = History.truncated(history, 2)
    assert (first["loss"], list(first), first.epochs) == ([3.0, 2.0], ["loss", "late"], 2)
    first.append({"loss": 0.5, "late": 4.0})  # it is another one
    assert history.last() == {"loss": 1.0, "late": 5.0}
    assert first.last() == {"loss": 0.5, "late": 4.0}
    assert (History.truncated(history, 9).epochs, History().last()) == (3, {})


def test_a_copy_has_the_finished_epochs_alone():
    history = history_of({"loss": 3.0}, {"loss": 2.0})
    history.write({"loss": [1.0], "late": [5.0]}, 1)  # as a training does, before they count
    for other in (pickle.loads(pickle.dumps(history)), copy.deepcopy(history)):
        other.epochs += 1
        assert len(other["loss"]) == 3
        assert math.isnan(other["loss"][2])
        assert list(other) == ["loss", "late"]
        assert np.isnan(other["late"]).all()


def test_a_series_that_joins_does_not_disturb_who_goes_over_them():
    history = history_of({"loss": 3.0})
    names = iter(history)
    history.add({"late": 5.0})
    assert list(names) == ["loss"]


def test_a_history_as_a_frame(backend):
    pytest.importorskip("pandas")
    history = trained(backend)
    frame = history.to_frame()
    assert list(frame.columns) == list(history) == ["loss", "val_loss", "val_r2"]
    assert frame.index.name == "epoch"
    assert list(frame.index) == [1, 2, 3, 4]
    assert frame["val_loss"].tolist() == history["val_loss"]
    frame.loc[1, "loss"] = -1.0
    assert history["loss"][0] != -1.0
    assert (frame.dtypes == "float64").all()


def test_a_history_without_epochs_is_an_empty_frame():
    pytest.importorskip("pandas")
    frame = History().to_frame()
    assert frame.empty
    assert frame.index.name == "epoch"


def test_without_pandas_a_frame_is_an_import_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas"):
        History().to_frame()


def cells(shown):
    """Return the texts of a table, row by row."""
    rows = ElementTree.fromstring(shown).iter("tr")
    return [["".join(cell.itertext()) for cell in row] for row in rows]


def test_a_notebook_shows_first_last_lowest_and_highest_values(backend):
    history = trained(backend, epochs=6)
    head, *rows = cells(history._repr_html_())
    assert head == ["quantity", "first", "last", "lowest", "in epoch", "highest", "in epoch"]
    for (name, first, last, low, at, high, top), values in zip(rows, history.values(), strict=True):
        assert (first, last) == (f"{values[0]:.4g}", f"{values[-1]:.4g}")
        assert (low, int(at)) == (f"{min(values):.4g}", values.index(min(values)) + 1)
        assert (high, int(top)) == (f"{max(values):.4g}", values.index(max(values)) + 1)
        assert name in history


def test_the_first_of_equal_values_is_named_and_nan_is_none_of_them():
    history = history_of({"a": math.nan}, {"a": 2.0}, {"a": 2.0}, {"b": math.inf})
    assert cells(history._repr_html_())[1:] == [
        ["a", "2", "2", "2", "2", "2", "2"],
        ["b", "inf", "inf", "inf", "4", "inf", "4"],
    ]
    shown = cells(history_of({"a": math.nan})._repr_html_())
    assert shown[1] == ["a", "", "", "", "", "", ""]


def test_names_are_shown_as_text_and_not_run():
    shown = history_of({"val_<script>alert('&')</script>": 1.0})._repr_html_()
    assert "<script" not in shown
    assert cells(shown)[1][0] == "val_<script>alert('&')</script>"


def test_an_empty_history_is_a_table_without_rows():
    assert "History of 0 epochs" in History()._repr_html_()
    assert len(cells(History()._repr_html_())) == 1
