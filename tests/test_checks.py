"""Checks of one argument: what passes is within its bounds, all else is refused by name."""

import math
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as extra

from pycnn import _checks
from pycnn.exceptions import DataError, DataTypeError, PycnnError, UnknownNameError

NUMBERS = st.one_of(
    st.integers(),
    st.integers(-3, 3),
    st.floats(),
    st.floats(-3, 3),
    *(st.integers(0, 100).map(dtype) for dtype in (np.int8, np.uint64, np.float16, np.float64)),
)
OTHERS = st.one_of(
    st.none(),
    st.booleans(),
    st.text(),
    st.complex_numbers(),
    st.decimals(),
    st.fractions(),
    st.lists(st.floats(), max_size=2),
    extra.arrays(np.float64, (1,)),
    st.just(object()),
)


def outcome(check, value, *arguments, **bounds):
    """Return what a check returns, or the type of what it raises, which names the argument."""
    try:
        return check(value, "rate", *arguments, **bounds)
    except PycnnError as error:
        return type(error) if str(error).startswith("rate must be ") else error


@pytest.mark.parametrize("bounds", [{}, {"above": 0}, {"at_least": 0, "at_most": 1}])
@given(value=NUMBERS)
@example(value=10**400)
@example(value=math.nan)
@example(value=-0.0)
@example(value=5e-324)
@example(value=np.longdouble(0.5))
def test_a_real_number_passes_where_it_is_finite_and_within_its_bounds(value, bounds):
    found = outcome(_checks.check_real, value, **bounds)
    number = float(value) if isinstance(value, (float, np.floating)) else int(value)
    if (
        abs(number) <= sys.float_info.max
        and number > bounds.get("above", -math.inf)
        and bounds.get("at_least", -math.inf) <= number <= bounds.get("at_most", math.inf)
    ):
        assert type(found) is float
        assert found == float(value)
    else:
        assert found is DataError


@pytest.mark.parametrize("at_least", [0, 1, 7])
@given(value=st.integers() | st.integers(-1, 9) | st.integers(0, 100).map(np.int8))
@example(value=2**63)
def test_a_size_passes_where_it_is_an_integer_that_can_be_an_index(value, at_least):
    found = outcome(_checks.check_size, value, at_least)
    if at_least <= value <= _checks.LARGEST:
        assert type(found) is int
        assert found == value
    else:
        assert found is DataError


@given(value=OTHERS)
@example(value=Decimal("0.5"))
@example(value=Fraction(1, 2))
@example(value="1")
@example(value=np.bool_(True))
def test_what_is_no_number_is_none(value):
    assert outcome(_checks.check_real, value) is DataTypeError
    assert outcome(_checks.check_size, value) is DataTypeError


@given(value=NUMBERS | OTHERS)
def test_only_true_and_false_are_true_and_false(value):
    found = outcome(_checks.check_bool, value)
    assert found is value if isinstance(value, bool) else found is DataTypeError


@given(name=st.text() | OTHERS)
@example(name="relus")
@example(name="r" * 10**6)
def test_a_name_that_is_none_is_answered_with_those_there_are(name):
    with pytest.raises(UnknownNameError, match=r"rate must be one of relu, tanh; got"):
        _checks.check_choice(name, ("relu", "tanh"), "rate")
    assert _checks.check_choice("relu", ("relu", "tanh"), "rate") == "relu"


@pytest.mark.parametrize("check", [_checks.check_real, _checks.check_size])
def test_an_integer_that_python_refuses_to_write_out_is_refused_all_the_same(check):
    with pytest.raises(DataError, match=r"rate must be .* got an integer of 16610 bits"):
        check(10**5000, "rate")
