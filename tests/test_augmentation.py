"""Augmenters: exact results on small images, their statistics, and what they may not do."""

import copy
import hashlib
import math
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import _exact, _random, augmentation
from pycnn.augmentation import (
    Compose,
    GaussianNoise,
    ImageBrightness,
    ImageContrast,
    ImageCrop,
    ImageCutout,
    ImageFlip,
    ImageRotation,
    ImageShift,
    Mixup,
)
from pycnn.exceptions import DataError, DataTypeError, PycnnError, ShapeError

SHAPE = (3, 4, 2)
SIZE = math.prod(SHAPE)

EVERY_KIND = [
    GaussianNoise(0.1),
    Mixup(),
    Mixup(alpha=1),
    ImageShift(SHAPE),
    ImageShift((4, 6), pixels=2, fill=-1),
    ImageFlip(SHAPE),
    ImageFlip((6, 4), horizontal=False, vertical=True, probability=0.3),
    ImageRotation(SHAPE, degrees=30),
    ImageRotation((4, 6), fill=0.5),
    ImageCrop(SHAPE),
    ImageCrop((6, 4), smallest=0.3),
    ImageCutout(SHAPE, size=2),
    ImageCutout((4, 6), size=4, fill=2),
    ImageBrightness(),
    ImageBrightness(0.5, limits=(0, 1)),
    ImageContrast(),
    ImageContrast(1, limits=(-0.5, 0.5)),
    Compose(ImageShift(SHAPE), ImageFlip(SHAPE, vertical=True), Mixup(0.4), GaussianNoise(1)),
]
every_kind = pytest.mark.parametrize("augmenter", EVERY_KIND, ids=repr)


def batch(rows=16, columns=SIZE, outputs=3):
    rng = np.random.default_rng(7)
    return rng.normal(size=(rows, columns)), np.eye(outputs)[rng.integers(0, outputs, rows)]


def apply(augmenter, x, y=None, seed=0):
    y = np.ones((len(x), 1)) if y is None else y
    return augmenter(x, y, np.random.default_rng(seed))


# ------------------------------------------------------------------ what holds for all


@every_kind
@pytest.mark.parametrize("rows", [1, 2, 16])
def test_the_batch_itself_stays_as_it_was(augmenter, rows):
    x, y = batch(rows)
    before = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    new_x, new_y = apply(augmenter, x, y)
    assert (x == before[0]).all()
    assert (y == before[1]).all()
    assert new_x.shape == x.shape
    assert new_y.shape == y.shape
    assert new_x.dtype == new_y.dtype == np.float64
    assert not np.shares_memory(new_x, x)


@every_kind
def test_the_same_generator_gives_the_same_bits(augmenter):
    x, y = batch()
    first, again, other = (apply(augmenter, x, y, seed) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first[0] != other[0]).any()
    # Rows that are not contiguous are the same rows.
    strided = apply(augmenter, np.asfortranarray(x), y, 1)
    np.testing.assert_array_equal(strided[0], first[0])


@every_kind
def test_each_call_goes_on_in_the_stream(augmenter):
    x, y = batch()
    rng = np.random.default_rng(0)
    assert (augmenter(x, y, rng)[0] != augmenter(x, y, rng)[0]).any()


@every_kind
def test_an_augmenter_is_rebuilt_from_its_repr_and_cannot_be_changed(augmenter):
    again = eval(repr(augmenter), vars(augmentation))
    assert again == augmenter == pickle.loads(pickle.dumps(augmenter)) == copy.deepcopy(augmenter)
    assert hash(again) == hash(augmenter)
    assert sum(other == augmenter for other in EVERY_KIND) == 1
    with pytest.raises(AttributeError, match="cannot be changed"):
        setattr(augmenter, next(iter(vars(augmenter))), 0)


@every_kind
def test_no_global_generator_is_touched(augmenter):
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    apply(augmenter, *batch())
    after = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    np.testing.assert_array_equal(after, before)


def test_importing_augmentation_leaves_numpys_random_numbers_for_later(run_python):
    code = """
        import sys, numpy
        before = "numpy.random" in sys.modules
        import pycnn.augmentation, pycnn.metrics, pycnn.schedules
        print(before or "numpy.random" not in sys.modules)
    """
    assert run_python("\n".join(line.strip() for line in code.splitlines())).strip() == "True"


# ------------------------------------------------------------------ noise


def test_noise_is_normal_with_its_scale():
    x = np.full((200, 300), 5.0)
    new, y = apply(GaussianNoise(0.5), x)
    noise = new - x
    # The mean of n draws strays by scale / sqrt(n); five of these are allowed.
    assert abs(noise.mean()) < 5 * 0.5 / math.sqrt(x.size)
    assert noise.std() == pytest.approx(0.5, rel=0.02)
    assert np.mean(np.abs(noise) < 0.5) == pytest.approx(0.6827, abs=0.01)
    assert len(np.unique(noise)) > 0.99 * noise.size
    assert (y == 1).all()


def test_noise_comes_from_the_raw_stream():
    x, _ = batch(3)
    expected = x + 2 * _random.normal(np.random.PCG64(4), x.size).reshape(x.shape)
    np.testing.assert_array_equal(apply(GaussianNoise(2), x, seed=4)[0], expected)


def test_noise_of_scale_zero_is_none():
    x, _ = batch()
    np.testing.assert_array_equal(apply(GaussianNoise(0), x)[0], x)


# ------------------------------------------------------------------ mixing rows


def test_rows_are_mixed_with_others_and_targets_with_them():
    rows = 50
    # Row i is the i-th unit vector: the shares stand in the mixed rows themselves.
    x, y = apply(Mixup(1.0), np.eye(rows), np.eye(rows))
    np.testing.assert_array_equal(x, y)
    np.testing.assert_allclose(x.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_array_equal((x > 0).sum(axis=1) <= 2, True)
    partner = [next((j for j in np.flatnonzero(row) if j != i), i) for i, row in enumerate(x)]
    assert sorted(partner) == list(range(rows))  # a permutation: each is a partner once
    own = np.diag(x)
    assert len(np.unique(own)) > rows - 5  # a share of its own for each row


def test_a_single_row_is_mixed_with_itself():
    x, y = batch(1)
    new_x, new_y = apply(Mixup(), x, y)
    np.testing.assert_allclose(new_x, x, rtol=1e-15)
    np.testing.assert_allclose(new_y, y, rtol=1e-15)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 2.0, 30.0])
def test_the_shares_are_of_the_beta_distribution(alpha):
    size = 20000
    shares = augmentation._symmetric_beta(np.random.PCG64(3), alpha, size)
    assert ((shares >= 0) & (shares <= 1)).all()
    # Beta(a, a) has mean 1/2, variance 1 / (4 (2a + 1)), and is symmetric.
    deviation = 0.5 / math.sqrt(2 * alpha + 1)
    assert shares.mean() == pytest.approx(0.5, abs=5 * deviation / math.sqrt(size))
    assert shares.std() == pytest.approx(deviation, rel=0.02)
    stats = pytest.importorskip("scipy.stats")
    at = np.linspace(0.001, 0.999, 999)  # nearer to 1, floats lie too far apart for small alpha
    below = np.searchsorted(np.sort(shares), at) / size
    distance = np.abs(below - stats.beta(alpha, alpha).cdf(at)).max()
    assert distance < 1.95 / math.sqrt(size)  # Kolmogorov and Smirnov, at 0.1 %


@pytest.mark.parametrize("alpha", [1e-320, 1e-9, 1e9, 1e300])
def test_extreme_shapes_give_the_limits(alpha):
    shares = augmentation._symmetric_beta(np.random.PCG64(3), alpha, 1000)
    if alpha < 1:
        assert set(shares.tolist()) == {0.0, 1.0}
    else:
        np.testing.assert_allclose(shares, 0.5, atol=1e-3)


# ------------------------------------------------------------------ moving images

IMAGE = np.arange(1.0, 7.0).reshape(2, 3)  # 1 2 3 / 4 5 6
MOVED = {
    (-1, -1): [[5, 6, 0], [0, 0, 0]],
    (-1, 0): [[4, 5, 6], [0, 0, 0]],
    (-1, 1): [[0, 4, 5], [0, 0, 0]],
    (0, -1): [[2, 3, 0], [5, 6, 0]],
    (0, 0): [[1, 2, 3], [4, 5, 6]],
    (0, 1): [[0, 1, 2], [0, 4, 5]],
    (1, -1): [[0, 0, 0], [2, 3, 0]],
    (1, 0): [[0, 0, 0], [1, 2, 3]],
    (1, 1): [[0, 0, 0], [0, 1, 2]],
}


def test_images_are_moved_by_each_shift_equally_often():
    count = 9000
    x, _ = apply(ImageShift((2, 3)), np.tile(IMAGE.ravel(), (count, 1)))
    wanted = {tuple(np.ravel(image).astype(float).tolist()) for image in MOVED.values()}
    seen, counts = np.unique(x, axis=0, return_counts=True)
    assert {tuple(row) for row in seen.tolist()} == wanted
    # Each count is binomial; five deviations are allowed.
    assert np.abs(counts - count / 9).max() < 5 * math.sqrt(count * 8 / 81)


def test_a_shift_is_the_one_drawn():
    # The first draws move down, the others right, each by floor(3 u) - 1.
    u = _random.uniform(np.random.PCG64(0), 10).reshape(2, 5)
    x, _ = apply(ImageShift((2, 3)), np.tile(IMAGE.ravel(), (5, 1)))
    for row, (down, right) in zip(x, (np.floor(3 * u) - 1).T.tolist(), strict=True):
        assert row.reshape(2, 3).tolist() == MOVED[down, right]


def test_channels_move_together_and_fill_comes_in():
    images = np.stack([IMAGE, 10 * IMAGE], axis=-1).reshape(1, -1).repeat(40, axis=0)
    x, _ = apply(ImageShift((2, 3, 2), fill=-1), images)
    first, second = x.reshape(-1, 2, 3, 2).transpose(3, 0, 1, 2)
    inside = first != -1
    np.testing.assert_array_equal(second[inside], 10 * first[inside])
    assert (second[~inside] == -1).all()
    assert (~inside).any()


def test_wider_shifts_reach_their_bound():
    image = np.zeros((7, 7))
    image[3, 3] = 1
    x, _ = apply(ImageShift((7, 7), pixels=3), np.tile(image.ravel(), (2000, 1)))
    assert (x.sum(axis=1) == 1).all()
    assert (x.sum(axis=0) > 0).all()


# ------------------------------------------------------------------ mirroring images


@pytest.mark.parametrize(
    ("horizontal", "vertical", "expected"),
    [
        (True, False, [[3, 2, 1], [6, 5, 4]]),
        (False, True, [[4, 5, 6], [1, 2, 3]]),
        (True, True, [[6, 5, 4], [3, 2, 1]]),
    ],
)
def test_images_are_mirrored(horizontal, vertical, expected):
    flip = ImageFlip((2, 3), horizontal, vertical, probability=1)
    assert apply(flip, IMAGE.reshape(1, -1))[0].reshape(2, 3).tolist() == expected
    coloured = np.stack([IMAGE, -IMAGE], axis=-1).reshape(1, -1)
    flip = ImageFlip((2, 3, 2), horizontal, vertical, probability=1)
    got = apply(flip, coloured)[0].reshape(2, 3, 2)
    assert got[..., 0].tolist() == expected
    assert (got[..., 1] == -got[..., 0]).all()


def test_images_are_mirrored_as_often_as_asked_and_apart():
    flip = ImageFlip((2, 3), vertical=True, probability=0.3)
    x, _ = apply(flip, np.tile(IMAGE.ravel(), (10000, 1)))
    for corner, share in zip((1, 3, 4, 6), (0.49, 0.21, 0.21, 0.09), strict=True):
        assert np.mean(x[:, 0] == corner) == pytest.approx(share, abs=0.025)
    never = ImageFlip((2, 3), probability=0)
    assert (apply(never, IMAGE.reshape(1, -1).repeat(99, axis=0))[0] == IMAGE.ravel()).all()


# ------------------------------------------------------------------ turning and enlarging images


def test_sine_and_cosine_are_right_and_exact_where_they_are_whole():
    x = np.linspace(-1, 1, 4001)
    sine, cosine = _exact.sine_and_cosine(x)
    np.testing.assert_allclose(sine, np.sin(np.pi * x), rtol=0, atol=6e-16)
    np.testing.assert_allclose(cosine, np.cos(np.pi * x), rtol=0, atol=6e-16)
    small = np.array([1e-300, 1e-9, -1e-3])
    np.testing.assert_allclose(_exact.sine_and_cosine(small)[0], np.sin(np.pi * small), rtol=4e-16)
    for at, there in ((-1, (0, -1)), (-0.5, (-1, 0)), (0, (0, 1)), (0.5, (1, 0)), (1, (0, -1))):
        assert tuple(map(float, _exact.sine_and_cosine(np.array(at)))) == there


def between(image, row, column, fill):
    """Return the value of an image between its pixels, as the formula has it."""

    def pixel(at, beside):
        inside = 0 <= at < image.shape[0] and 0 <= beside < image.shape[1]
        return image[at, beside] if inside else fill

    at, beside = math.floor(row), math.floor(column)
    down, right = row - at, column - beside
    return (
        (1 - down) * (1 - right) * pixel(at, beside)
        + (1 - down) * right * pixel(at, beside + 1)
        + down * (1 - right) * pixel(at + 1, beside)
        + down * right * pixel(at + 1, beside + 1)
    )


@pytest.mark.parametrize(("shape", "degrees"), [((5, 4), 30), ((2, 3), 180), ((6, 6), 10)])
def test_an_image_is_turned_about_its_middle_by_the_angle_drawn(shape, degrees):
    count = 6
    images = np.random.default_rng(1).normal(size=(count, *shape))
    turned, _ = apply(ImageRotation(degrees=degrees, fill=7), images, seed=2)
    draws = _random.uniform(np.random.PCG64(2), count)
    middle = (np.array(shape) - 1) / 2
    for image, result, u in zip(images, turned, draws, strict=True):
        angle = math.radians(degrees * (2 * u - 1))
        for at in np.ndindex(shape):
            down, right = at - middle
            row = middle[0] + math.cos(angle) * down + math.sin(angle) * right
            column = middle[1] - math.sin(angle) * down + math.cos(angle) * right
            assert result[at] == pytest.approx(between(image, row, column, 7), abs=1e-12)


def draw(monkeypatch, *values):
    """Have the next draws from [0, 1) be these."""
    monkeypatch.setattr(_random, "uniform", lambda bits, size: np.resize(values, size))


def test_a_turn_of_nothing_or_of_quarters_moves_whole_pixels(monkeypatch):
    images = np.random.default_rng(0).normal(size=(1, 5, 5, 2))
    for u, quarters in ((0.5, 0), (0.75, 1), (0.25, -1), (0.0, 2)):
        draw(monkeypatch, u)
        turned, _ = apply(ImageRotation(degrees=180), images)
        np.testing.assert_array_equal(turned, np.rot90(images, quarters, axes=(1, 2)))


def test_turning_fills_the_corners_and_keeps_the_middle():
    turned, _ = apply(ImageRotation(degrees=45, fill=-1), np.ones((200, 9, 9)))
    assert (turned >= -1).all()
    assert (turned <= 1 + 1e-15).all()
    np.testing.assert_allclose(turned[:, 2:7, 2:7], 1, rtol=1e-15)
    assert (turned[:, 0, 0] < 0).mean() > 0.5


def test_a_part_of_an_image_is_enlarged_as_drawn():
    count, shape = 8, (5, 7)
    images = np.random.default_rng(1).normal(size=(count, *shape))
    crops, _ = apply(ImageCrop(smallest=0.4), images, seed=5)
    draws = _random.uniform(np.random.PCG64(5), 3 * count).reshape(3, count).T
    for image, result, (share, top, left) in zip(images, crops, draws, strict=True):
        side = 1 - 0.6 * share
        for row, column in np.ndindex(shape):
            at = (1 - side) * top * 4 + side * row, (1 - side) * left * 6 + side * column
            assert result[row, column] == pytest.approx(between(image, *at, math.nan))


def test_the_largest_part_is_the_whole_image_and_parts_end_at_its_border(monkeypatch):
    images = np.random.default_rng(0).normal(size=(1, 4, 5, 3))
    draw(monkeypatch, 0.0, 0.9, 0.3)
    np.testing.assert_array_equal(apply(ImageCrop(smallest=0.5), images)[0], images)
    draw(monkeypatch, 1 - 2.0**-53, 1 - 2.0**-53, 0.0)  # the smallest, below and at the left
    part = apply(ImageCrop(smallest=1 / 3), images[:, :, :4])[0]
    np.testing.assert_allclose(part[0, 3, 0], images[0, 3, 0])
    np.testing.assert_allclose(part[0, 0, 3], images[0, 2, 1])


# ------------------------------------------------------------------ covering images


def test_a_square_is_covered_and_what_is_outside_of_the_image_is_lost():
    count, size = 20000, 3
    covered = apply(ImageCutout(size=size, fill=9), np.zeros((count, 5, 6)))[0] == 9
    for axis in (1, 2):  # one run of pixels, of which some may lie outside
        lines = covered.any(axis=axis).astype(int)
        assert set(np.unique(lines.sum(axis=1))) == {2, 3}
        assert (np.abs(np.diff(lines, axis=1)).sum(axis=1) <= 2).all()
    assert (covered.sum(axis=(1, 2)) >= 4).all()
    # A pixel is covered where the middle is within one of it: at the border fewer middles are.
    near_rows, near_columns = np.array([2, 3, 3, 3, 2]) / 5, np.array([2, 3, 3, 3, 3, 2]) / 6
    np.testing.assert_allclose(covered.mean(axis=0), np.outer(near_rows, near_columns), atol=0.02)


def test_all_channels_are_covered_and_the_rest_stays():
    images = np.random.default_rng(0).normal(size=(30, 6, 6, 3))
    result, _ = apply(ImageCutout(size=4, fill=5), images)
    changed = result != images
    assert (result[changed] == 5).all()
    assert (changed.any(axis=3) == changed.all(axis=3)).all()


def test_a_square_as_large_as_the_image_may_cover_all_of_it():
    result, _ = apply(ImageCutout(size=2, fill=1), np.zeros((50, 2, 2)))
    assert set(result.sum(axis=(1, 2))) == {1, 2, 4}


# ------------------------------------------------------------------ light


def test_all_of_an_image_becomes_lighter_or_darker_by_what_is_drawn():
    images = np.random.default_rng(0).normal(size=(500, 3, 2, 2))
    result, _ = apply(ImageBrightness(0.3), images, seed=4)
    added = 0.3 * (2 * _random.uniform(np.random.PCG64(4), 500) - 1)
    np.testing.assert_array_equal(result, images + added.reshape(-1, 1, 1, 1))
    assert added.min() < -0.29 < 0.29 < added.max()
    limited, _ = apply(ImageBrightness(0.3, limits=(-1, 0.5)), images, seed=4)
    np.testing.assert_array_equal(limited, np.clip(result, -1, 0.5))


def test_values_move_away_from_their_mean_or_to_it():
    images = np.random.default_rng(0).normal(3, 1, size=(500, 3, 2, 2))
    result, _ = apply(ImageContrast(0.5), images, seed=4)
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    factor = 1 + 0.5 * (2 * _random.uniform(np.random.PCG64(4), 500) - 1)
    expected = mean + factor.reshape(-1, 1, 1, 1) * (images - mean)
    np.testing.assert_allclose(result, expected, rtol=1e-13)
    np.testing.assert_allclose(result.mean(axis=(1, 2, 3)), mean.ravel(), rtol=1e-13)
    limited, _ = apply(ImageContrast(0.5, limits=(2, 4)), images, seed=4)
    np.testing.assert_array_equal(limited, np.clip(result, 2, 4))


# ------------------------------------------------------------------ images by their shape

BY_SHAPE = [
    lambda shape: ImageShift(shape, pixels=2, fill=1),
    lambda shape: ImageFlip(shape, vertical=True),
    lambda shape: ImageRotation(shape, degrees=20),
    lambda shape: ImageCrop(shape, smallest=0.5),
    lambda shape: ImageCutout(shape, size=2),
    lambda shape: ImageBrightness(),
    lambda shape: ImageContrast(),
]


@pytest.mark.parametrize("make", BY_SHAPE)
def test_images_as_images_as_rows_and_of_one_channel_are_the_same_images(make):
    images = np.random.default_rng(0).normal(size=(12, 5, 4))
    expected, _ = apply(make((5, 4)), images.reshape(12, -1))
    for shape, x in ((None, images), (None, images[..., None]), ((5, 4, 1), images)):
        result, _ = apply(make(shape), x)
        assert result.shape == x.shape
        np.testing.assert_array_equal(result.reshape(12, -1), expected)


@pytest.mark.parametrize("make", BY_SHAPE)
def test_channels_are_changed_alike(make):
    grey = np.random.default_rng(0).normal(size=(12, 5, 4))
    coloured, _ = apply(make(None), np.repeat(grey[..., None], 3, axis=3))
    for channel in np.moveaxis(coloured, 3, 0):
        np.testing.assert_allclose(channel, apply(make(None), grey)[0], rtol=1e-14, atol=1e-14)


# Not NumPy's sine, nor a sum whose order is its own: these are the bits of every machine.
def test_images_are_changed_to_the_same_bits_everywhere():
    images = (np.arange(8 * 9 * 7 * 3) * 37 % 101 / 64).reshape(8, 9, 7, 3)
    changed = [apply(make(None), images, seed=1)[0] for make in BY_SHAPE]
    hashes = [hashlib.sha256(np.ascontiguousarray(x, "<f8")).hexdigest()[:8] for x in changed]
    assert hashes == [
        "c247247e",
        "b80ff236",
        "837bd19f",
        "17eff8db",
        "ac844950",
        "642d9af2",
        "4f57cace",
    ]


@pytest.mark.parametrize("rows", [False, True])
def test_a_training_is_the_same_to_the_bit_on_both_backends_and_resumed(core, rows):
    X, y = pycnn.datasets.load_digits()
    X, y = X[:60].reshape(60, 8, 8) / 16, y[:60]
    shape = (8, 8) if rows else None
    augment = Compose(*(make(shape) for make in BY_SHAPE))
    drawn = []

    def record(x, y, rng):
        drawn.append(x)
        return x, y

    def train(backend, *, stop=False):
        layers = [pycnn.Dense(10, "softmax")]
        if not rows:
            layers = [pycnn.Flatten(), *layers]
        net = pycnn.Network(64 if rows else (8, 8, 1), layers, seed=3, backend=backend)
        drawn.clear()
        settings = {"epochs": 4, "batch_size": 16, "augment": [augment, record], "progress": False}
        data = (X.reshape(60, -1) if rows else X), y
        if stop:
            net.fit(*data, **settings | {"epochs": 2})
            settings["resume"] = True
        net.fit(*data, **settings)
        return np.concatenate([x.reshape(len(x), -1) for x in drawn]), net.parameters.copy()

    seen, parameters = train("c")
    for backend, stop in (("c", True), ("numpy", False), ("numpy", True)):
        images, others = train(backend, stop=stop)
        np.testing.assert_array_equal(images, seen)
        if backend == "c":
            np.testing.assert_array_equal(others, parameters)
        else:
            np.testing.assert_allclose(others, parameters, rtol=1e-9)


# ------------------------------------------------------------------ several


def test_several_are_applied_in_order_from_one_stream():
    x, y = batch()
    flip, noise, mixup = ImageFlip(SHAPE), GaussianNoise(0.1), Mixup()
    rng = np.random.default_rng(3)
    expected = mixup(*noise(*flip(x, y, rng), rng), rng)
    got = apply(Compose(flip, noise, mixup), x, y, seed=3)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    nested = apply(Compose(Compose(flip, noise), mixup), x, y, seed=3)
    np.testing.assert_array_equal(nested[0], got[0])


def test_functions_of_ones_own_join():
    def double(x, y, rng):
        return 2 * x, y + 1

    x, y = batch()
    new_x, new_y = apply(Compose(double, GaussianNoise(0)), x, y)
    np.testing.assert_array_equal(new_x, 2 * x)
    np.testing.assert_array_equal(new_y, y + 1)


# ------------------------------------------------------------------ what is refused

X, Y = batch()
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: GaussianNoise(-1), DataError, "scale must be finite and at least 0, got -1"),
        (lambda: GaussianNoise(math.inf), DataError, "scale"),
        (lambda: GaussianNoise("1"), DataTypeError, "scale must be a number"),
        (lambda: Mixup(0), DataError, "alpha must be finite and above 0, got 0"),
        (lambda: Mixup(math.nan), DataError, "alpha"),
        (lambda: Mixup(True), DataTypeError, "alpha"),
        (lambda: Mixup()(X, np.zeros(16, dtype=np.intp), RNG), DataTypeError, "one-hot.*int64"),
        (lambda: Mixup()(X, np.zeros(16), RNG), DataTypeError, r"rows of floats.*\(16,\)"),
        (lambda: ImageShift(64), DataTypeError, r"shape must be a tuple such as \(28, 28\)"),
        (lambda: ImageShift((64,)), ShapeError, "height, width, channels"),
        (lambda: ImageShift((8, 0)), DataError, "each size in shape must be at least 1"),
        (lambda: ImageShift((8, 8.0)), DataTypeError, "each size in shape must be an integer"),
        (lambda: ImageShift((8, 8), pixels=0), DataError, "pixels must be at least 1"),
        (lambda: ImageShift((8, 8), pixels=1.5), DataTypeError, "pixels"),
        (lambda: ImageShift((8, 3), pixels=3), DataError, r"pixels must be below.*\(8, 3\), got 3"),
        (lambda: ImageShift((8, 8), fill=math.nan), DataError, "fill"),
        (
            lambda: ImageShift((8, 8))(X, Y, RNG),
            ShapeError,
            r"ImageShift of images \(8, 8\) needs x of shape \(m, 64\) or .*, got \(16, 24\)",
        ),
        (lambda: ImageShift(SHAPE)(X[0], Y, RNG), ShapeError, r"got \(24,\)"),
        (lambda: ImageFlip((3, 8, 2))(X, Y, RNG), ShapeError, "ImageFlip of images.*48"),
        (lambda: ImageFlip((8, 8), horizontal=False), DataError, "horizontal or vertical"),
        (lambda: ImageFlip((8, 8), horizontal=1), DataTypeError, "horizontal must be True or"),
        (lambda: ImageFlip((8, 8), probability=1.5), DataError, "probability.*at most 1, got 1.5"),
        (lambda: ImageFlip("88"), DataTypeError, "shape"),
        (lambda: ImageShift(pixels=3)(X.reshape(16, 8, 3), Y, RNG), DataError, "pixels must be be"),
        (
            lambda: ImageFlip()(X, Y, RNG),
            ShapeError,
            r"as in ImageFlip\(\(28, 28\)\).*got \(16, 24\)",
        ),
        (lambda: ImageRotation(degrees=0), DataError, "degrees must be finite and above 0"),
        (lambda: ImageRotation(degrees=181), DataError, "degrees.*at most 180, got 181"),
        (lambda: ImageRotation(fill=math.inf), DataError, "fill"),
        (lambda: ImageRotation()(X, Y, RNG), ShapeError, "ImageRotation needs x of shape"),
        (lambda: ImageCrop(smallest=0), DataError, "smallest must be finite and above 0"),
        (lambda: ImageCrop(smallest=1.1), DataError, "smallest.*at most 1"),
        (lambda: ImageCrop(shape=8), DataTypeError, "shape must be a tuple"),
        (lambda: ImageCutout(size=0), DataError, "size must be at least 1"),
        (lambda: ImageCutout((8, 3), size=4), DataError, r"size must be at most.*\(8, 3\), got 4"),
        (
            lambda: ImageCutout(size=4)(X.reshape(16, 8, 3), Y, RNG),
            DataError,
            "size must be at most",
        ),
        (lambda: ImageBrightness(0), DataError, "amount must be finite and above 0"),
        (lambda: ImageBrightness(limits=1), DataTypeError, r"limits must be two numbers such as"),
        (lambda: ImageBrightness(limits=(1, 0)), DataError, r"\(least, greatest\), got \(1, 0\)"),
        (lambda: ImageContrast(1.5), DataError, "amount.*at most 1"),
        (lambda: ImageContrast(limits=(0, math.nan)), DataError, "each of limits"),
        (lambda: Compose(), DataError, "augmenters"),
        (lambda: Compose(Mixup(), 3), DataTypeError, "augmenters must be callables.*got 3"),
        (lambda: Compose(Mixup), DataTypeError, "augmenters"),
    ],
)
def test_a_wrong_augmenter_or_batch_is_refused(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, (PycnnError, ValueError))
