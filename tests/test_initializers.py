"""Initial weights: their distributions, and the transforms that they are drawn with."""

import math
import statistics

import mpmath
import numpy as np
import pytest

from pycnn import SGD, Dense, Network, _exact, _random, activations, datasets, initializers
from pycnn.exceptions import DataError, DataTypeError, PycnnError, UnknownNameError

FAN_IN, FAN_OUT = 300, 200
SIZE = FAN_IN * FAN_OUT

# name -> the bound of a uniform distribution, or the deviation of a normal one
UNIFORM = {
    "glorot_uniform": math.sqrt(6 / (FAN_IN + FAN_OUT)),
    "he_uniform": math.sqrt(6 / FAN_IN),
    "fan_in_uniform": 1 / math.sqrt(FAN_IN),
    "uniform": 0.05,
}
NORMAL = {
    "glorot_normal": math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "he_normal": math.sqrt(2 / FAN_IN),
    "normal": 0.05,
}


def draw(initializer, seed=0):
    bits = _random.generator(seed, _random.INITIAL_PARAMETERS)
    return initializers.get(initializer, "weight_initializer").draw(bits, FAN_OUT, FAN_IN)


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_weights_fill_their_range_evenly(name):
    bound, weights = UNIFORM[name], draw(name)
    assert weights.shape == (FAN_OUT, FAN_IN)
    assert -bound <= weights.min() < -0.999 * bound
    assert 0.999 * bound < weights.max() < bound
    # A mean of n draws strays by deviation / sqrt(n); five of these are allowed.
    assert abs(weights.mean()) < 5 * bound / math.sqrt(3 * SIZE)
    assert weights.var() == pytest.approx(bound**2 / 3, rel=0.02)
    counts = np.histogram(weights, bins=10, range=(-bound, bound))[0]
    assert np.abs(counts - SIZE / 10).max() < 5 * math.sqrt(SIZE * 0.09)


@pytest.mark.parametrize("name", NORMAL)
def test_normal_weights_have_their_deviation(name):
    deviation, weights = NORMAL[name], draw(name)
    assert weights.shape == (FAN_OUT, FAN_IN)
    assert abs(weights.mean()) < 5 * deviation / math.sqrt(SIZE)
    assert weights.std() == pytest.approx(deviation, rel=0.02)
    scores = np.sort((weights / deviation).ravel())
    normal = statistics.NormalDist()
    for share in (0.001, 0.023, 0.159, 0.5, 0.841, 0.977, 0.999):
        assert scores[int(share * SIZE)] == pytest.approx(normal.inv_cdf(share), abs=0.15)
    assert 3.5 < np.abs(scores).max() < 6


def test_zeros_are_zeros():
    assert not draw("zeros").any()


def test_settings_move_the_distributions():
    weights = draw(initializers.Uniform(2.0, 3.0))
    assert 2 <= weights.min() < 2.01
    assert 2.99 < weights.max() < 3
    weights = draw(initializers.Normal(-4.0, 0.5))
    assert weights.mean() == pytest.approx(-4, abs=0.02)
    assert weights.std() == pytest.approx(0.5, rel=0.02)
    assert (draw(initializers.Normal(1.5, 0.0)) == 1.5).all()
    assert (draw(initializers.Uniform(1.5, 1.5)) == 1.5).all()


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_xavier_is_another_name_of_glorot(kind):
    np.testing.assert_array_equal(draw(f"xavier_{kind}"), draw(f"glorot_{kind}"))


@pytest.mark.parametrize("activation", activations.ACTIVATIONS)
def test_the_default_suits_the_activation(activation):
    layer = Dense(3, activation)
    like_relu = activation in ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu")
    assert layer.weight_initializer.name == ("he_normal" if like_relu else "glorot_uniform")
    bends = activation not in ("linear", "softmax")
    assert layer.bias_initializer.name == ("fan_in_uniform" if bends else "zeros")
    assert repr(layer) == f"Dense(3, {activation!r})"


def test_layers_draw_from_one_stream_and_differ():
    net = Network(50, [Dense(50), Dense(50)], seed=0)
    first, second = (layer.W for layer in net.layers)
    assert not (first == second).any()
    assert np.unique(first).size == first.size


def test_biases_are_drawn_where_asked():
    net = Network(4, [Dense(3, bias_initializer=initializers.Uniform(1, 2))], seed=0)
    assert ((net.layers[0].b >= 1) & (net.layers[0].b < 2)).all()


@pytest.mark.parametrize("name", [*UNIFORM, *NORMAL])
def test_biases_follow_the_inputs_and_units_of_their_layer(name):
    drawn = [
        Network(FAN_IN, [Dense(FAN_OUT, "relu", bias_initializer=name)], seed=seed).layers[0].b
        for seed in range(12)
    ]
    biases = np.concatenate(drawn)
    deviation = NORMAL[name] if name in NORMAL else UNIFORM[name] / math.sqrt(3)
    assert abs(biases.mean()) < 5 * deviation / math.sqrt(biases.size)
    assert biases.std() == pytest.approx(deviation, rel=0.07)


def test_an_initializer_of_weights_alone_draws_biases_as_well():
    class Counting(initializers.Initializer):
        name = "counting"

        def draw(self, bits, fan_out, fan_in):
            return np.arange(float(fan_out * fan_in)).reshape(fan_out, fan_in)

    net = Network(4, [Dense(3, bias_initializer=Counting())], seed=0)
    assert net.layers[0].b.tolist() == [0, 1, 2]


def test_a_few_inputs_bend_their_units_at_different_places():
    """With biases of zero every unit of the one input bends at 0, and sin(8x) is not learned."""
    x = np.linspace(-1, 1, 200)[:, None]
    y = np.sin(8 * x)

    def error(**biases):
        squares = []
        for seed in range(2):
            layers = [Dense(50, "relu", **biases), Dense(1)]
            net = Network(1, layers, seed=seed)
            net.fit(x, y, epochs=300, batch_size=32, optimizer=SGD(0.1), progress=False)
            squares.append(np.mean((net.predict(x) - y) ** 2))
        return math.sqrt(np.mean(squares))

    assert error() < 0.3 < 0.45 < error(bias_initializer="zeros")


@pytest.mark.thorough
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "tanh"])
def test_twenty_layers_of_the_default_learn(activation):
    X, y = datasets.load_digits()
    X = (X - X.mean()) / X.std()
    layers = [*[Dense(64, activation)] * 19, Dense(10, "softmax")]
    net = Network(64, layers, seed=0)
    net.fit(X, y, epochs=10, batch_size=32, optimizer=SGD(0.01), progress=False)
    assert net.evaluate(X, y)["accuracy"] > 0.7


@pytest.mark.parametrize(
    "initializer",
    [
        initializers.GlorotNormal(),
        initializers.HeUniform(),
        initializers.FanInUniform(),
        initializers.Uniform(-1, 3),
        initializers.Normal(0.5, 2),
        initializers.Orthogonal(1.5),
        initializers.Zeros(),
    ],
    ids=repr,
)
def test_an_initializer_is_rebuilt_from_its_config_and_its_repr(initializer):
    for again in (
        initializers.get(initializer.config(), "weight_initializer"),
        eval(repr(initializer), vars(initializers)),
    ):
        assert again == initializer
        assert hash(again) == hash(initializer)
        np.testing.assert_array_equal(draw(again), draw(initializer))
    assert initializer != initializers.Normal(9, 9)
    assert eval(
        repr(Dense(2, weight_initializer=initializer)), {"Dense": Dense, **vars(initializers)}
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Dense(2, weight_initializer="he_nromal"), UnknownNameError, "'he_normal'"),
        (lambda: Dense(2, bias_initializer="zero"), UnknownNameError, "bias_init.*'zeros'"),
        (lambda: Dense(2, weight_initializer=3), UnknownNameError, "weight_initializer"),
        (lambda: initializers.Uniform(2, 1), DataError, "low"),
        (lambda: initializers.Uniform(math.nan, 1), DataError, "low"),
        (lambda: initializers.Uniform(0, math.inf), DataError, "high"),
        (lambda: initializers.Uniform("0", 1), DataTypeError, "low"),
        (lambda: initializers.Normal(0, -1), DataError, "std"),
        (lambda: initializers.Normal(0, 1j), DataTypeError, "std"),
        (lambda: initializers.Normal(True, 1), DataTypeError, "mean"),
        (lambda: initializers.Normal(10**400, 1), DataError, "mean"),
    ],
)
def test_a_wrong_initializer_is_refused(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, (PycnnError, ValueError))


# ------------------------------------------------------------------ the transforms

# The relative error of AS 241 is 1e-16; its polynomials and the logarithm add some roundings.
PROBABILITIES = np.concatenate(
    [
        np.linspace(0.001, 0.999, 1999),
        10.0 ** -np.arange(3, 300),
        1 - 2.0 ** -np.arange(3, 53),
        [2.0**-54, 0.075, 0.925, np.nextafter(0.5, 0), 0.5 + 2.0**-30],
    ]
)


def test_normal_quantiles_are_those_of_the_standard_library():
    exact = np.array([statistics.NormalDist().inv_cdf(p) for p in PROBABILITIES.tolist()])
    np.testing.assert_allclose(_exact.normal_quantile(PROBABILITIES), exact, rtol=1e-14, atol=1e-17)


def test_normal_quantiles_match_fifty_digit_arithmetic():
    with mpmath.workdps(50):
        for p in (1e-250, 1e-17, 1e-5, 0.0746, 0.0751, 0.3, 0.499, 0.9, 0.99999):
            exact = mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(p) - 1) if p > 1e-9 else None
            got = float(_exact.normal_quantile(np.array([p]))[0])
            if exact is None:  # erfinv loses its digits there: check the inverse instead
                back = mpmath.erfc(-mpmath.mpf(got) / mpmath.sqrt(2)) / 2
                slope = abs(got) * mpmath.npdf(got) / back  # relative change of p per that of x
                assert abs(back / p - 1) < 1e-14 * slope
            else:
                assert abs(got / exact - 1) < 1e-14


def test_normal_quantiles_are_odd_and_rise():
    p = np.linspace(2.0**-10, 0.5, 500)
    quantiles = _exact.normal_quantile(p)
    assert (np.diff(quantiles) > 0).all()
    assert quantiles[-1] == 0
    np.testing.assert_allclose(_exact.normal_quantile(1 - p), -quantiles, rtol=1e-12, atol=1e-15)


def test_the_logarithm_is_that_of_the_c_library():
    x = np.concatenate(
        [
            np.linspace(0.5, 2, 3001),
            2.0 ** np.arange(-1000.0, 1000, 7),
            10.0 ** np.arange(-300.0, 300, 3),
            [1.0, np.nextafter(1, 0), np.nextafter(1, 2), 0.75, 1.5, np.finfo(float).tiny],
        ]
    )
    exact = np.array([math.log(v) for v in x.tolist()])
    np.testing.assert_allclose(_exact.log(x), exact, rtol=6e-16, atol=0)


def test_uniform_numbers_are_the_upper_bits_of_the_raw_stream():
    raw = _random.generator(1, 0).random_raw(1000)
    uniform = _random.uniform(_random.generator(1, 0), 1000)
    assert uniform.tolist() == [(int(r) >> 11) / 2**53 for r in raw]
    assert ((uniform >= 0) & (uniform < 1)).all()
