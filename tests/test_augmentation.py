"""Augmenters: exact results on small images, their statistics, and what they may not do."""

import copy
import math
import pickle

import numpy as np
import pytest

from pycnn import _random, augmentation
from pycnn.augmentation import Compose, GaussianNoise, ImageFlip, ImageShift, Mixup
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
        (lambda: Compose(), DataError, "augmenters"),
        (lambda: Compose(Mixup(), 3), DataTypeError, "augmenters must be callables.*got 3"),
        (lambda: Compose(Mixup), DataTypeError, "augmenters"),
    ],
)
def test_a_wrong_augmenter_or_batch_is_refused(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, (PycnnError, ValueError))
