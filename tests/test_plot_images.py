"""Pictures of what networks of images see: what is in them, and what cannot be drawn."""

import sys

import numpy as np
import pytest

from pycnn import Conv1D, Conv2D, Dense, Flatten, Network, Rescale
from pycnn.exceptions import DataError, LabelError, PycnnError, ShapeError

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

import pycnn.plot
from pycnn.plot import feature_maps, filters, occlusion, saliency

RNG = np.random.default_rng(3)
IMAGES = RNG.uniform(size=(9, 8, 6, 1))


def network(shape=(8, 6, 1), *, last=None, seed=0):
    layers = [Rescale(2.0), Conv2D(4, 3, "relu"), Conv2D(5, (2, 3), "tanh"), Flatten()]
    return Network(shape, [*layers, last or Dense(3, "softmax")], seed=seed)


def flat(inputs=48, *, last=None):
    return Network(inputs, [Dense(7, "tanh"), last or Dense(3, "softmax")], seed=0)


def pixels(axes):
    return np.ma.filled(axes.images[-1].get_array(), np.nan)


def title(axes):
    return axes.get_title(loc="left") or axes.get_title()


def titles(figure):
    return [title(axes) for axes in figure.axes if title(axes)]


def test_filters_of_grey_images_share_one_scale_around_0():
    net = network()
    figure = filters(net)
    assert isinstance(figure, Figure)
    (axes, _scale) = figure.axes
    assert title(axes) == "layer 2: 4 filters of 3 × 3 over 1 channel"
    low, high = axes.images[0].get_clim()
    assert high == -low == np.abs(net.layers[1].W).max()
    shown = pixels(axes)
    assert np.isfinite(shown).sum() == net.layers[1].W.size
    assert (shown[:3, :3] == net.layers[1].W[0, :, :, 0]).all()


def test_filters_over_three_channels_are_colours_and_over_others_a_column_each():
    net = Network((8, 6, 3), [Conv2D(4, 3), Conv2D(2, 3), Flatten(), Dense(1)], seed=0)
    (axes,) = filters(net).axes
    W = net.layers[0].W
    expected = 0.5 + 0.5 * W[0] / np.abs(W).max()
    assert pixels(axes)[:3, :3] == pytest.approx(expected)
    axes = filters(net, 2).axes[0]
    assert axes.get_xlabel() == "filters"
    assert axes.get_ylabel() == "4 channels of the input"
    assert (pixels(axes)[4:7, :3] == net.layers[1].W[0, :, :, 1]).all()


def test_filters_of_sequences_have_a_row_for_each_channel():
    net = Network((12, 2), [Conv1D(6, 5), Flatten(), Dense(1)], seed=0)
    axes = filters(net).axes[0]
    assert title(axes) == "layer 1: 6 filters of 5 over 2 channels"
    assert (pixels(axes)[:2, :5] == net.layers[0].W[0].T).all()


def test_many_filters_are_cut_off_and_the_title_says_so():
    net = Network((4, 4, 1), [Conv2D(100, 3), Flatten(), Dense(1)], seed=0)
    assert titles(filters(net)) == ["layer 1: 64 of 100 filters of 3 × 3 over 1 channel"]


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_feature_maps_are_what_each_layer_leaves_of_a_sample(backend, pure):
    if pure and backend == "c":
        pytest.skip("PYCNN_NO_EXTENSION: the package has no compiled core")
    net = Network.from_state(network().__getstate__() | {"backend": backend})
    figure = feature_maps(net, IMAGES[0])
    assert titles(figure) == [
        "input 8 × 6 × 1",
        "layer 1: rescale, 8 × 6 × 1",
        "layer 2: conv2d relu, 6 × 4 × 4",
        "layer 3: conv2d tanh, 5 × 2 × 5",
    ]
    A = net.trace(IMAGES[:1], [0]).A
    panels = [axes for axes in figure.axes if title(axes)]
    assert (pixels(panels[2])[:6, :4] == A[2][:, 0].reshape(6, 4, 4)[..., 0]).all()
    assert panels[2].images[0].get_clim()[0] == 0  # relu
    low, high = panels[3].images[0].get_clim()
    assert low == -high == -np.abs(A[3]).max()
    assert titles(feature_maps(net, IMAGES[:1], 3)) == ["layer 3: conv2d tanh, 5 × 2 × 5"]


def test_feature_maps_of_a_sequence_have_time_to_the_right():
    net = Network((12, 2), [Conv1D(6, 5), Flatten(), Dense(1)], seed=0)
    sample = RNG.normal(size=(12, 2))
    figure = feature_maps(net, sample)
    assert titles(figure) == ["input 12 × 2", "layer 1: conv1d, 8 × 6"]
    assert (pixels(figure.axes[0]) == sample.T).all()


def test_feature_maps_need_no_target_whatever_the_loss():
    def loss(output, target):
        raise AssertionError("nobody asks for a loss")

    net = Network((8, 6, 1), [Conv2D(2, 3), Flatten(), Dense(1)], loss=loss, seed=0)
    assert len(titles(feature_maps(net, IMAGES[0]))) == 2


def test_saliency_lies_over_the_images_by_its_size():
    net = network((8, 6, 3))
    images = RNG.uniform(size=(3, 8, 6, 3))
    figure = saliency(net, images, [2, 0, 1])
    assert titles(figure) == ["2", "0", "1"]
    above, below = figure.axes[:3], figure.axes[3:]
    assert pixels(above[0]) == pytest.approx(images[0] / images[0].max())
    sizes = np.abs(net.input_gradient(images, [2, 0, 1])).sum(axis=-1)
    for axes, values in zip(below, sizes, strict=True):
        assert pixels(axes)[..., 3] == pytest.approx(values / values.max())


def test_saliency_is_of_the_predicted_class_where_none_is_given():
    net = network()
    net.fit(IMAGES, list("abcabcabc"), epochs=1)
    first = net.predict_classes(IMAGES[:1])[0]
    assert titles(saliency(net, IMAGES[0])) == [f"predicted {first}"]
    assert len(titles(saliency(net, IMAGES))) == 9
    assert titles(saliency(net, IMAGES[0], "b")) == ["b"]


def test_flat_samples_are_images_of_the_shape_that_is_said(backend):
    rows = IMAGES.reshape(9, 48)
    assert len(saliency(flat(), rows[:2], shape=(8, 6)).axes) == 4
    assert pixels(occlusion(flat(), rows[0], shape=(8, 6)).axes[1]).shape == (8, 6)


def test_occlusion_is_the_drop_of_the_probability_where_a_patch_lies():
    net = network()
    image = IMAGES[0]
    figure = occlusion(net, image, 1, size=2, step=2)
    before = net.predict_proba(image[None])[0, 1]
    assert title(figure.axes[0]) == f"1: probability {before:.3g}"
    # From row and column -1 on, each pixel lies under one patch.
    covered = image.copy()
    covered[1:3, 3:5] = image.mean()
    drop = pixels(figure.axes[1])
    expected = before - net.predict_proba(covered[None])[0, 1]
    assert drop[1:3, 3:5] == pytest.approx(np.full((2, 2), expected), rel=1e-9)
    assert np.isfinite(drop).all()


def test_what_no_patch_has_covered_has_no_colour_and_leaves_the_scale_alone():
    axes = occlusion(network(), IMAGES[0], size=1, step=3).axes[1]
    drop = pixels(axes)
    assert np.isnan(drop).sum() == 48 - 3 * 2
    assert axes.images[-1].get_clim()[1] == np.nanmax(np.abs(drop))


def test_occlusion_is_of_the_most_probable_class_where_none_is_given():
    net = network(last=Dense(1, "sigmoid"))
    net.fit(IMAGES, ["no", "yes", "no"] * 3, epochs=1)
    best = net.predict_classes(IMAGES[:1])[0]
    assert titles(occlusion(net, IMAGES[0]))[0].startswith(f"{best}: probability 0.")
    assert titles(occlusion(net, IMAGES[0], "yes"))[0].startswith("yes: ")


@pytest.mark.parametrize(
    ("draw", "error", "text"),
    [
        (lambda: filters(flat()), DataError, "no layer of the network has filters"),
        (lambda: filters(network(), 1), DataError, "layer 1 has no filters.*: 2, 3"),
        (lambda: filters(network(), 9), DataError, "at most 5, the output layer, got 9"),
        (lambda: filters(network(), 0), DataError, "layer must be at least 1"),
        (lambda: feature_maps(flat(), np.zeros(48)), DataError, "samples with a shape"),
        (lambda: feature_maps(network(), IMAGES[0], 5), DataError, "layer 5 leaves a row of 3"),
        (lambda: feature_maps(network(), IMAGES), ShapeError, "x must be one sample, got 9"),
        (lambda: feature_maps(network(), IMAGES[0, 1:]), ShapeError, r"x must have shape"),
        (lambda: saliency(flat(), np.zeros(48)), ShapeError, r"shape=\(rows, columns\)"),
        (lambda: saliency(flat(), np.zeros(48), shape=(5, 5)), ShapeError, "of 48 numbers"),
        (lambda: saliency(network(), np.zeros((17, 8, 6))), ShapeError, "at most 16 samples"),
        (lambda: saliency(network(last=Dense(1)), IMAGES), LabelError, "has no classes"),
        (lambda: occlusion(network(last=Dense(1)), IMAGES[0]), LabelError, "probabilities"),
        (lambda: occlusion(network(), IMAGES[0], size=7), DataError, "size must be at most 6"),
        (lambda: occlusion(network(), IMAGES[0], 7), LabelError, "7"),
        (lambda: filters(network(), path="a.xyz"), DataError, "ending"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(draw, error, text):
    with pytest.raises(error, match=text) as found:
        draw()
    assert isinstance(found.value, PycnnError)


def test_pictures_are_written_and_shown(tmp_path):
    path = tmp_path / "filters.png"
    figure = filters(network(), path=path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ImportError, match=r"pictures need Matplotlib: pip install 'pycnn\[plot\]'"):
        pycnn.plot.filters(network())
