"""Text that a network writes: how a token is drawn, and from what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycnn import _random, backend

PROBABILITIES = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.125, 0.25, 5e-324, 1e-300])),
    min_size=1,
    max_size=12,
).filter(any)
SETTINGS = st.tuples(
    st.one_of(st.sampled_from([0.0, 1.0, 1e-300, 1e300]), st.floats(0.01, 5)),
    st.integers(0, 13),
    st.one_of(st.sampled_from([1.0, 1e-300]), st.floats(0.01, 1)),
)
DRAWS = st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([1 - 2**-53, 0.25, 0.5]))


@given(PROBABILITIES, SETTINGS, DRAWS)
@pytest.mark.usefixtures("core")
def test_both_backends_draw_the_same(probabilities, settings, draw):
    """To the bit: a draw that lies where one token ends and the next begins may show a last bit."""
    drawn = {
        backend.load(name).sampler(*settings)(np.array(probabilities), draw)
        for name in ("c", "numpy")
    }
    assert len(drawn) == 1
    assert probabilities[drawn.pop()] > 0


@pytest.mark.usefixtures("core")
@given(st.lists(st.floats(1e-3, 1), min_size=2, max_size=5), st.floats(0.3, 3))
def test_both_backends_draw_the_same_at_the_very_border(probabilities, temperature):
    p = np.array(probabilities)
    c, numpy = (backend.load(name).sampler(temperature, 0, 1.0) for name in ("c", "numpy"))
    weights = (p / p.max()) ** (1 / temperature)
    border = weights[0] / weights.sum()
    near = border + np.arange(-6, 7) * np.spacing(border)
    assert [c(p.copy(), u) for u in near] == [numpy(p.copy(), u) for u in near]
    assert numpy(p, border * (1 - 1e-14)) == 0
    assert numpy(p, border * (1 + 1e-14)) == 1


def test_tokens_are_drawn_as_often_as_they_are_probable(backend):
    from pycnn.backend import load

    p = np.array([0.1, 0.4, 0.0, 0.2, 0.2, 0.1])
    draws = _random.uniform(_random.generator(0, _random.GENERATING), 1500)

    def frequencies(*settings):
        sample = load(backend).sampler(*settings)
        tokens = [sample(p.copy(), u) for u in draws]
        return np.bincount(tokens, minlength=6) / len(tokens)

    def near(expected):
        return pytest.approx(np.array(expected) / np.sum(expected), abs=0.04)

    assert frequencies(1.0, 0, 1.0) == near(p)
    assert frequencies(0.5, 0, 1.0) == near(p**2)
    assert frequencies(2.0, 0, 1.0) == near(p**0.5)
    assert frequencies(1.0, 2, 1.0) == near([0, 4, 0, 2, 2, 0])  # what equals the last, too
    assert frequencies(1.0, 0, 0.45) == near([0, 4, 0, 2, 2, 0])
    assert frequencies(0.5, 3, 0.5) == near([0, 1, 0, 0, 0, 0])
    assert frequencies(0.0, 0, 1.0) == near([0, 1, 0, 0, 0, 0])


def test_what_are_no_probabilities_draws_nothing(backend):
    from pycnn.backend import load

    for temperature in (0.0, 0.5, 1.0):
        sample = load(backend).sampler(temperature, 0, 1.0)
        for wrong in ([np.nan, 1.0], [-0.1, 1.0], [0.0, 0.0], [np.inf, 1.0], [1.7e308, 1.7e308]):
            assert sample(np.array(wrong), 0.5) == -1


@pytest.mark.parametrize("seed", [0, 7, 2**32, 2**64 - 1])
@pytest.mark.usefixtures("core")
def test_the_streams_of_draws_are_pythons(seed):
    from pycnn._native import lib

    expected = _random.uniform(_random.generator(seed, _random.GENERATING), 50)
    assert [lib.pycnn_draw(seed, i) for i in range(50)] == expected.tolist()
