"""A training loop of one's own, made of `Network.gradients` and `Optimizer.apply`."""

import copy
import pickle
import threading

import numpy as np
import pytest

import pycnn
from pycnn import (
    LBFGS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    BatchNorm,
    Dense,
    Dropout,
    LayerNorm,
    Network,
    Residual,
    RMSprop,
    Rprop,
)
from pycnn.exceptions import (
    BusyError,
    DataError,
    DataTypeError,
    DataWarning,
    DivergedError,
    ShapeError,
    UnknownNameError,
)
from pycnn.schedules import CosineDecay, ExponentialDecay

rng = np.random.default_rng(0)
X = rng.normal(size=(23, 5))
Y = np.column_stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]])

OPTIMIZERS = [
    SGD(0.05),
    SGD(0.05, clip_value=0.2),
    SGD(0.02, momentum=0.9),
    SGD(0.02, momentum=0.9, nesterov=True, clip_norm=0.3),
    Adam(0.01),
    AdamW(0.01, weight_decay=0.1, clip_value=0.1, clip_norm=0.2),
    RMSprop(0.01),
    RMSprop(0.01, momentum=0.5, centered=True),
    Adagrad(0.1),
    Rprop(0.01),
]


def network(backend, **settings):
    layers = [
        Dense(7, "tanh", max_norm=0.9, l2=0.01),
        BatchNorm("relu"),
        Dropout(0.3),
        Residual([Dense(5), BatchNorm("relu"), Dropout(0.2)], shortcut=Dense(5, l2=0.01)),
        Dense(6),
        LayerNorm("gelu"),
        Dense(2),
    ]
    return Network(5, layers, seed=4, backend=backend, **settings)


def own_loop(net, optimizer, epochs, batch_size, *, weights=None, rates=None, state=None):
    """Do what `fit` does with ``shuffle=False``."""
    step = 0
    for _ in range(epochs):
        for first in range(0, len(X), batch_size):
            part = slice(first, first + batch_size)
            w = None if weights is None else weights[part]
            _, gradient, weight = net.gradients(
                X[part], Y[part], w, training=True, reduction="sum", first_row=first
            )
            rate = None if rates is None else rates[step]
            state = optimizer.apply(net, gradient, state, weight=weight, learning_rate=rate)
            step += 1
        net.epochs_trained += 1
    return state


def same_bits(one, other):
    return one.theta.tobytes() == other.theta.tobytes()


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_loop_of_gradients_and_apply_ends_in_the_bits_of_fit(backend, optimizer):
    net, fitted = network(backend, l1=0.001), network(backend, l1=0.001)
    start = net.theta.copy()
    fitted.fit(X, Y, epochs=3, batch_size=8, optimizer=optimizer, shuffle=False)
    own_loop(net, optimizer, 3, 8)
    assert same_bits(net, fitted)
    assert (net.theta != start).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS[2:], ids=repr)
def test_so_does_a_loop_over_single_samples(backend, optimizer):
    layers = [Dense(6, "tanh", l2=0.01), Dropout(0.3), LayerNorm(), Dense(2, max_norm=0.5)]
    net, fitted = (Network(5, layers, seed=2, backend=backend) for _ in range(2))
    fitted.fit(X, Y, epochs=2, batch_size=1, optimizer=optimizer, shuffle=False)
    own_loop(net, optimizer, 2, 1)
    assert same_bits(net, fitted)


@pytest.mark.parametrize("rows", [1, 2, 7, 22, 23])
@pytest.mark.parametrize("layers", [[Dense(2)], [Dense(40, "relu"), Dense(2)]], ids=len)
def test_plain_gradient_descent_does_so_but_for_single_samples(backend, layers, rows):
    net, fitted = (Network(5, layers, seed=1, backend=backend) for _ in range(2))
    fitted.fit(X, Y, epochs=2, batch_size=rows, optimizer=SGD(0.01), shuffle=False)
    own_loop(net, SGD(0.01), 2, rows)
    single = 1 in (rows, len(X) % rows)
    assert same_bits(net, fitted) or (backend == "c" and single)
    np.testing.assert_allclose(net.parameters, fitted.parameters, rtol=1e-11, atol=1e-14)


def test_weights_and_a_batch_that_weighs_nothing_are_as_in_fit(backend):
    weights = rng.uniform(0.5, 2, len(X))
    weights[8:16] = 0
    net, fitted = network(backend), network(backend)
    schedule = Adam(ExponentialDecay(0.01, rate=0.5))
    fitted.fit(
        X, Y, epochs=2, batch_size=8, optimizer=schedule, shuffle=False, sample_weight=weights
    )
    rates = schedule.learning_rate.rates(np.arange(6), 3, 6)
    state = own_loop(net, schedule, 2, 8, weights=weights, rates=rates)
    assert same_bits(net, fitted)
    assert (state.steps, state.updates) == (6, 4)


def test_a_schedule_by_mini_batches_is_handed_in_step_by_step(backend):
    net, fitted = network(backend), network(backend)
    schedule = CosineDecay(0.1)
    fitted.fit(X, Y, epochs=2, batch_size=8, optimizer=SGD(schedule), shuffle=False)
    own_loop(net, SGD(schedule), 2, 8, rates=schedule.rates(np.arange(6), 3, 6))
    assert same_bits(net, fitted)


def test_without_a_rate_each_step_counts_as_an_epoch_of_the_schedule(backend):
    net, fitted = network(backend), network(backend)
    optimizer = SGD(ExponentialDecay(0.1, rate=0.5))
    state = None
    for _ in range(3):
        fitted.train_on_batch(X, Y, optimizer=optimizer)
        _, gradient, weight = net.gradients(X, Y, training=True, reduction="sum")
        state = optimizer.apply(net, gradient, state, weight=weight)
        net.epochs_trained += 1
    assert same_bits(net, fitted)


def test_sums_of_pieces_add_up_to_those_of_the_whole(backend):
    layers = [Dense(6, "tanh"), Dropout(0.5), LayerNorm(), Dense(2)]
    net = Network(5, layers, seed=2, backend=backend, l2=0.1)
    weights = rng.uniform(0, 2, len(X))
    whole = net.gradients(X, Y, weights, training=True, reduction="sum", first_row=100)
    pieces = [
        net.gradients(X[p], Y[p], weights[p], training=True, reduction="sum", first_row=100 + first)
        for first, p in [(0, slice(0, 9)), (9, slice(9, 10)), (10, slice(10, None))]
    ]
    loss, gradient, weight = (sum(parts) for parts in zip(*pieces, strict=True))
    assert loss == pytest.approx(whole[0], rel=1e-12)
    assert weight == pytest.approx(weights.sum(), rel=1e-12)
    np.testing.assert_allclose(gradient, whole[1], rtol=1e-12, atol=1e-12 * abs(gradient).max())


def test_several_machines_that_add_their_sums_train_as_one(backend):
    layers = [Dense(6, "tanh", l2=0.01), Dropout(0.5), Dense(2)]
    alone = Network(5, layers, seed=2, backend=backend)
    machines = [copy.deepcopy(alone) for _ in range(3)]
    states, optimizer = [None] * 3, Adam(0.01)
    alone.fit(X, Y, epochs=5, optimizer=optimizer, shuffle=False)
    for _ in range(5):
        sums = []
        for machine, first in zip(machines, (0, 8, 16), strict=True):
            part = slice(first, first + 8)
            sums.append(
                machine.gradients(X[part], Y[part], training=True, reduction="sum", first_row=first)
            )
        _, gradient, weight = (sum(parts) for parts in zip(*sums, strict=True))
        for number, machine in enumerate(machines):
            states[number] = optimizer.apply(machine, gradient, states[number], weight=weight)
            machine.epochs_trained += 1
    assert len({machine.theta.tobytes() for machine in machines}) == 1
    np.testing.assert_allclose(machines[0].parameters, alone.parameters, rtol=1e-9, atol=1e-12)


def test_sums_over_weight_are_the_mean_but_for_the_penalty(backend):
    weights = rng.uniform(0, 2, len(X))
    net = Network(5, [Dense(4, "tanh"), Dense(2)], seed=0, backend=backend)
    loss, gradient = net.gradients(X, Y, weights)
    sums = net.gradients(X, Y, weights, reduction="sum")
    assert sums[0] / sums[2] == pytest.approx(loss, rel=1e-14)
    np.testing.assert_allclose(sums[1] / sums[2], gradient, rtol=1e-13, atol=1e-15)
    penalized = Network(5, [Dense(4, "tanh"), Dense(2)], seed=0, backend=backend, l1=1, l2=2)
    assert penalized.gradients(X, Y, weights, reduction="sum")[0] == sums[0]
    assert penalized.gradients(X, Y, weights)[0] > loss + 1


def test_only_sums_in_training_change_the_statistics(backend):
    net = network(backend)
    before = net.statistics.copy()
    net.gradients(X, Y, training=True)
    net.gradients(X, Y, reduction="sum")
    net.gradients(X, Y, np.zeros(len(X)), training=True, reduction="sum")
    assert np.array_equal(net.statistics, before)
    parameters = net.parameters.copy()
    net.gradients(X, Y, training=True, reduction="sum")
    assert not np.array_equal(net.statistics, before)
    assert np.array_equal(net.parameters, parameters)


def test_a_state_that_has_been_pickled_goes_on_to_the_same_bits(backend):
    whole, parts = network(backend), network(backend)
    optimizer = RMSprop(0.01, momentum=0.5)
    own_loop(whole, optimizer, 4, 8)
    state = own_loop(parts, optimizer, 2, 8)
    net, state = pickle.loads(pickle.dumps((parts, state)))
    assert own_loop(net, optimizer, 2, 8, state=state) is state
    assert same_bits(net, whole)
    assert repr(state) == f"<state of rmsprop after 12 steps: 2 x {net.parameters.size} numbers>"


def test_apply_leaves_the_gradient_alone_and_takes_what_numpy_can_make_of_it(backend):
    nets = [network(backend) for _ in range(3)]
    _, gradient, weight = nets[0].gradients(X, Y, reduction="sum")
    before = gradient.copy()
    gradients = gradient, gradient.tolist(), np.repeat(gradient, 2)[::2]
    for net, given in zip(nets, gradients, strict=True):
        SGD(0.1, clip_norm=0.1).apply(net, given, weight=weight)
    assert np.array_equal(gradient, before)
    assert same_bits(nets[0], nets[1])
    assert same_bits(nets[0], nets[2])


def test_wrong_arguments_change_nothing(backend):
    net, other = network(backend), Network(5, [Dense(2)], seed=0, backend=backend)
    before = net.theta.copy()
    _, gradient, weight = net.gradients(X, Y, reduction="sum")
    adam = Adam().apply(copy.deepcopy(net), gradient, weight=weight)
    of_other = SGD(momentum=0.5).apply(other, np.zeros(other.parameters.size), weight=1)
    nan, text = gradient.copy(), gradient.astype(str)
    nan[3] = np.nan

    def refused(error, match, optimizer=None, g=gradient, state=None, weight=weight, rate=None):
        optimizer = optimizer or SGD()
        with pytest.raises(error, match=match):
            optimizer.apply(net, g, state, weight=weight, learning_rate=rate)

    refused(ShapeError, r"gradient must have shape \(\d+,\), got \(3,\)", g=[1, 2, 3])
    refused(DataError, r"gradient must be finite, but is NaN.*3", g=nan)
    refused(DataTypeError, "gradient must hold real numbers", g=text)
    refused(DataError, r"state must be that of SGD\(0.1\), got <state of adam", state=adam)
    refused(DataError, "state must be that of Adam", Adam(), state=of_other)
    momentum = SGD(momentum=0.5)
    refused(DataError, r"state must be that of a network of \d+", momentum, state=of_other)
    refused(DataError, "state must be that of SGD", SGD(), state=of_other)
    refused(DataTypeError, "state must be what apply has returned, or None", state={})
    refused(DataError, "weight must be finite and at least 0", weight=-1)
    refused(DataError, "weight must be", weight=np.inf)
    refused(DataError, "learning_rate must be finite and at least 0", rate=-0.1)
    refused(DataError, "learning_rate must be given: CosineDecay", SGD(CosineDecay(0.1)))
    refused(DataError, "LBFGS takes the whole data", LBFGS())
    with pytest.raises(DataTypeError, match="net must be a Network, got 'net'"):
        SGD().apply("net", gradient, weight=1)
    assert np.array_equal(net.theta, before)
    assert adam.steps == of_other.steps == 1


def test_gradients_refuses_what_has_no_meaning(backend):
    net = network(backend)
    with pytest.raises(UnknownNameError, match=r"reduction.*'summ'.*did you mean 'sum'"):
        net.gradients(X, Y, reduction="summ")
    with pytest.raises(DataError, match=r'first_row needs reduction="sum"'):
        net.gradients(X, Y, first_row=3)
    with pytest.raises(DataError, match="first_row must be at least 0"):
        net.gradients(X, Y, reduction="sum", first_row=-1)


def test_a_network_that_is_being_trained_takes_no_step(backend):
    net = network(backend)
    before, gradient = net.theta.copy(), np.ones(net.parameters.size)
    refused = []

    class Meddler(pycnn.Callback):
        def on_train_begin(self, network):
            def meddle():
                with pytest.raises(BusyError):
                    SGD().apply(net, gradient, weight=1)
                with pytest.raises(BusyError):
                    net.gradients(X, Y, training=True, reduction="sum")
                net.gradients(X, Y, reduction="sum")
                refused.append(True)

            thread = threading.Thread(target=meddle)
            thread.start()
            thread.join()
            assert np.array_equal(net.theta, before)

    net.fit(X, Y, epochs=1, callbacks=[Meddler()])
    assert refused == [True]
    SGD().apply(net, gradient, weight=1)


def test_what_would_not_be_finite_is_not_kept(backend):
    X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 1))
    net = Network(3, [Dense(4), BatchNorm("relu"), Dense(1)], seed=0, backend=backend)
    before = net.theta.copy()
    with pytest.raises(DataError, match="X is too large for BatchNorm"):
        net.gradients(1e200 * X, y, reduction="sum", training=True)
    assert np.array_equal(net.theta, before)
    optimizer = SGD(0.1, momentum=0.5)
    _, gradient, weight = net.gradients(X, y, reduction="sum")
    state = optimizer.apply(net, gradient, weight=weight)
    twin, its_state = copy.deepcopy((net, state))
    with pytest.raises(DivergedError, match="a parameter would be NaN or infinite"):
        optimizer.apply(net, 1e9 * gradient, state, weight=weight, learning_rate=1e308)
    assert state.steps == 1
    optimizer.apply(net, gradient, state, weight=weight)
    optimizer.apply(twin, gradient, its_state, weight=weight)
    assert np.array_equal(net.theta, twin.theta)
    with pytest.raises(DataError, match="weight must be 0, or 1e-250 to 1e\\+250, got 1e-310"):
        optimizer.apply(net, gradient, state, weight=1e-310)


def test_one_sample_alone_says_that_batch_norm_learns_nothing_from_it(backend):
    net = Network(3, [Dense(4), BatchNorm("relu"), Dense(1)], seed=0, backend=backend)
    with pytest.warns(DataWarning, match="X has one sample, which has no variance"):
        net.gradients([[1, 2, 3]], [1], reduction="sum", training=True)


def test_a_loss_that_is_not_finite_leaves_the_statistics_alone(backend):
    net = Network(3, [Dense(4), BatchNorm("relu"), Dense(1)], seed=0, backend=backend)
    before = net.theta.copy()
    X, y = rng.normal(size=(8, 3)), np.full(8, 1e200)
    loss, _, weight = net.gradients(X, y, reduction="sum", training=True)
    assert (loss, weight) == (np.inf, 8)
    assert np.array_equal(net.theta, before)


def test_a_state_is_pickled_without_what_undoes_its_last_step(backend):
    net = Network(3, [Dense(400), Dense(1)], seed=0, backend=backend)
    _, gradient, weight = net.gradients(np.ones((2, 3)), [0, 1], reduction="sum")
    state = SGD().apply(net, gradient, weight=weight)
    assert len(pickle.dumps(state)) < net.theta.nbytes
