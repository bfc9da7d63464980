import pickle
import sys

import pytest

import pycnn

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from pycnn._plot import learning_curves

CLASSES = {
    "loss": [1.0, 0.5, 0.25],
    "accuracy": [0.5, 0.7, 0.9],
    "val_loss": [1.1, 0.6, 0.4],
    "val_accuracy": [0.4, 0.6, 0.8],
}


def labels(axes):
    return [line.get_label() for line in axes.lines]


def test_classes_get_a_panel_for_loss_and_one_for_accuracy():
    loss, accuracy = learning_curves(CLASSES).axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    assert labels(loss) == labels(accuracy) == ["training", "validation"]
    assert loss.get_xlabel() == "epoch"
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3]
    assert list(accuracy.lines[1].get_ydata()) == CLASSES["val_accuracy"]


def test_a_notebook_shows_the_picture_that_a_history_draws():
    history = pycnn.History()
    history.append({"loss": 1.0})
    history.append({"loss": 0.5})
    figure = history.plot()
    assert isinstance(figure, Figure)
    picture = figure._repr_png_()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5000
    assert len(pickle.loads(pickle.dumps(figure))._repr_png_()) > 5000


def test_metrics_that_were_asked_for_get_a_panel_each():
    history = CLASSES | {"val_f1": [0.1, 0.2, 0.3], "val_cost": [300, 200, 100]}
    panels = learning_curves(history).axes
    assert [axes.get_ylabel() for axes in panels] == ["loss", "accuracy", "f1", "cost"]
    assert labels(panels[2]) == ["validation"]
    assert panels[3].get_ylim()[1] > 300


def test_regression_gets_a_panel_for_r2():
    _, r2 = learning_curves({"loss": [1, 0.5], "val_loss": [2, 1], "val_r2": [-90, 0.5]}).axes
    assert r2.get_ylabel() == "R²"
    assert labels(r2) == ["validation"]
    assert r2.get_ylim()[0] == -0.5  # what is far below would squeeze the rest


def test_loss_alone_gets_one_panel():
    (loss,) = learning_curves({"loss": [1.0, 0.5]}).axes
    assert labels(loss) == ["training"]


def test_held_out_data_go_by_the_name_given():
    loss, _ = learning_curves(CLASSES, held_out="test part").axes
    assert labels(loss) == ["training", "test part"]


@pytest.mark.parametrize(
    ("values", "scale"), [([1, 0.5], "linear"), ([1, 1e-4], "log"), ([1, 0], "linear")]
)
def test_loss_that_falls_far_is_logarithmic(values, scale):
    assert learning_curves({"loss": values}).axes[0].get_yscale() == scale


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("bare", b"\x89PNG"), ("a.svg", b"<?xml")]
)
def test_ending_tells_the_format(tmp_path, name, start):
    learning_curves(CLASSES, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_history_of_a_network_draws_itself(tmp_path):
    network = pycnn.Network(2, [pycnn.Dense(1, "sigmoid")], seed=0)
    history = network.fit([[0, 1], [1, 0]], [0, 1], epochs=1)
    history.plot(str(tmp_path / "curve.png"))
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_drawing_touches_no_global_state(run_python):
    code = "import sys; from pycnn._plot import learning_curves as draw; draw({'loss': [1.0]}); "
    assert run_python(code + "print('matplotlib.pyplot' in sys.modules)") == "False\n"


def test_unknown_format_and_empty_history_are_refused(tmp_path):
    with pytest.raises(pycnn.exceptions.DataError, match=r"png.*got .*a\.xyz"):
        learning_curves(CLASSES, tmp_path / "a.xyz")
    with pytest.raises(pycnn.exceptions.DataError, match="no finished epoch"):
        learning_curves({}, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ImportError, match=r"pip install 'pycnn\[plot\]'"):
        learning_curves(CLASSES)
