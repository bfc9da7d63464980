"""Long sequences window by window: truncated back-propagation through time."""

import io
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import (
    GRU,
    LSTM,
    SGD,
    Adam,
    Bidirectional,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    Residual,
    SimpleRNN,
    Tokens,
    TransformerBlock,
)
from pycnn._training import checkpointer, steps
from pycnn.backend.interface import Data
from pycnn.exceptions import DataError, DivergedError
from pycnn.schedules import CosineDecay

RNG = np.random.default_rng(3)
M, T, F, N = 7, 22, 3, 4
X = RNG.normal(size=(M, T, F))
Y = RNG.integers(0, N, (M, T))
LENGTHS = np.array([22, 1, 5, 10, 11, 16, 22])  # ends of windows of 5 among them
WEIGHTS = RNG.integers(1, 5, (M, T)) / 4


def layers(dropout=0.2):
    return [
        LSTM(5, return_sequences=True),
        Residual([SimpleRNN(5, return_sequences=True), Dropout(dropout)]),
        LayerNorm(),
        GRU(4, return_sequences=True),
        Dense(N, "softmax"),
    ]


def network(backend, length=T, seed=2):
    return Network((length, F), layers(), seed=seed, backend=backend)


def fit(net, x=X, **options):
    settings = {"epochs": 2, "batch_size": 3, "optimizer": Adam(0.02), "truncate": 5}
    return net.fit(x, Y, **(settings | options))


@pytest.fixture
def small_groups(monkeypatch):
    """Return to Python after every step, and keep the training there."""
    monkeypatch.setattr(steps, "PERIOD", 0.0)
    monkeypatch.setattr(checkpointer, "CHECKPOINT_PERIOD", -1.0)


def test_twenty_windows_are_those_of_pytorch(backend):
    torch = pytest.importorskip("torch")
    x, y = RNG.normal(size=(4, 58, F)), RNG.integers(0, N, (4, 58))
    stack = [LSTM(6, return_sequences=True), Dense(N, "softmax")]
    net = Network((58, F), stack, seed=0, backend=backend)
    own = net.layers[0], net.layers[1]
    lstm = torch.nn.LSTM(F, 6, batch_first=True, dtype=torch.float64)
    dense = torch.nn.Linear(6, N, dtype=torch.float64)
    pairs = [
        (lstm.weight_ih_l0, own[0].W),
        (lstm.weight_hh_l0, own[0].U),
        (lstm.bias_ih_l0, own[0].b),
        (dense.weight, own[1].W),
        (dense.bias, own[1].b),
    ]
    with torch.no_grad():
        lstm.bias_hh_l0.zero_()
        for theirs, mine in pairs:
            theirs.copy_(torch.from_numpy(mine.copy()))
    optimizer = torch.optim.SGD([theirs for theirs, _ in pairs], lr=0.3, momentum=0.9)
    state, losses = None, []
    for first in range(0, 58, 3):  # the last window has one position
        part = slice(first, first + 3)
        h, state = lstm(torch.from_numpy(x[:, part]), state)
        state = tuple(each.detach() for each in state)
        wanted = torch.from_numpy(y[:, part].copy()).reshape(-1)
        loss = torch.nn.functional.cross_entropy(dense(h).reshape(-1, N), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item()] * wanted.numel()
    optimizer = SGD(0.3, momentum=0.9)
    options = {"batch_size": None, "shuffle": False, "optimizer": optimizer, "truncate": 3}
    history = net.fit(x, y, epochs=1, **options)
    assert history["loss"][0] == pytest.approx(np.mean(losses), rel=1e-12)
    for theirs, mine in pairs:
        np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_two_windows_go_on_to_the_bits_of_one(backend):
    net = network(backend, 64)
    x = np.ascontiguousarray(RNG.normal(size=(5, 64, F)))
    y, grad = np.zeros((5, 64), np.intp), np.empty_like(net.parameters)

    def state_behind(x, state):
        plan = net.planned(x[0].size).plan
        data = Data(x.reshape(5, -1).copy(), y[:, : x.shape[1]].copy(), None, state=state)
        net.core.gradients(plan, net.theta, data, grad)
        again = np.zeros_like(state) if (state == 0).all() else None
        if again is not None:  # a measurement leaves the same
            net.core.evaluate(plan, net.theta, data._replace(state=again))
            assert backend == "numpy" or again.tobytes() == state.tobytes()
        return state

    zeros = np.zeros((5, net.core.state_count(net.plan)))
    assert zeros.shape[1] == 2 * 5 + 5 + 4
    whole = state_behind(x, zeros.copy())
    halves = state_behind(x[:, 32:], state_behind(x[:, :32], zeros.copy()))
    assert whole.any()
    assert halves.tobytes() == whole.tobytes()
    # And so are the outputs, of which a stepper takes parts.
    wanted = net.predict(x)
    parts = net.architecture.part_specs(32)
    run, _ = net.core.stepper(net.plan_of(parts), net.theta, 5, (32, N))
    got = [run(x[:, part].reshape(5, -1).copy()).copy() for part in (slice(32), slice(32, 64))]
    assert np.concatenate(got, axis=1).tobytes() == wanted.tobytes()


def test_both_backends_train_alike(core):
    nets = [network(backend) for backend in ("c", "numpy")]
    options = {"lengths": LENGTHS, "sample_weight": WEIGHTS, "epochs": 3}
    histories = [fit(net, **options) for net in nets]
    np.testing.assert_allclose(nets[0].theta, nets[1].theta, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-11)
    for batch_size in (1, None):
        alone = [network(backend) for backend in ("c", "numpy")]
        for net in alone:
            fit(net, batch_size=batch_size)
        np.testing.assert_allclose(alone[0].theta, alone[1].theta, rtol=1e-9, atol=1e-11)


def test_threads_change_no_bit(core):
    before, found = pycnn.get_num_threads(), []
    x, y = RNG.normal(size=(40, T, F)), RNG.integers(0, N, (40, T))
    try:
        for threads in (1, 2, 3, 7):
            pycnn.set_num_threads(threads)
            net = network("c")
            net.fit(x, y, epochs=2, batch_size=30, truncate=8)
            found.append(net.theta.tobytes())
    finally:
        pycnn.set_num_threads(before)
    assert len(set(found)) == 1


def test_a_window_as_long_as_the_sequences_is_the_whole(backend):
    whole, window = (Network((T, F), layers(0.0), seed=1, backend=backend) for _ in range(2))
    fit(whole, truncate=None)
    fit(window, truncate=T + 1)
    assert whole.theta.tobytes() == window.theta.tobytes()
    assert whole.history == window.history


def test_samples_may_have_any_length_and_lie_anywhere(backend, monkeypatch):
    fixed, free, lazy = network(backend), network(backend, None), network(backend)
    x = X.astype(np.float32)
    fit(fixed, x.astype(np.float64))
    fit(free, x.astype(np.float64))
    monkeypatch.setattr("pycnn._data.sources.WHOLE", 100)
    fit(lazy, x)
    assert fixed.theta.tobytes() == free.theta.tobytes() == lazy.theta.tobytes()


def test_what_stands_behind_a_length_does_not_matter(backend):
    there = np.arange(T) < LENGTHS[:, None]
    nets = [network(backend) for _ in range(2)]
    for net, rest in zip(nets, (np.nan, 7.0), strict=True):
        fit(net, np.where(there[..., None], X, rest), lengths=LENGTHS)
    assert nets[0].theta.tobytes() == nets[1].theta.tobytes()
    # A sequence alone is trained on as if it had ended there.
    stack = [GRU(3, return_sequences=True), Dense(N, "softmax")]
    for length in (5, 11):
        long, short = (Network((n, F), stack, seed=0, backend=backend) for n in (T, length))
        long.fit(X[:1], Y[:1], lengths=[length], epochs=1, truncate=5)
        short.fit(X[:1, :length], Y[:1, :length], epochs=1, truncate=5)
        np.testing.assert_allclose(long.theta, short.theta, rtol=1e-13)


def test_steps_are_counted_by_windows(backend, small_groups):
    seen = []
    rates = CosineDecay(0.1)

    def look(network, epoch, logs):
        seen.append((epoch, logs["batch"], logs["batches"]))

    net = network(backend)
    fit(
        net,
        optimizer=SGD(rates, clip_norm=1.0),
        epochs=2,
        callbacks=[pycnn.callbacks.LambdaCallback(on_batch_group_end=look)],
    )
    assert seen == [(epoch, step, 15) for epoch in (1, 2) for step in range(1, 16)]
    assert net.training_record.last.updates == 30
    assert len(net.history["gradient_norm"]) == 2


def file_of(net, path):
    net.save(path, training_state=True)
    return path.read_bytes()


@pytest.mark.twin_when_thorough
def test_a_training_goes_on_from_any_window(backend, small_groups, tmp_path):
    options = {"lengths": LENGTHS, "epochs": 2}
    whole = network(backend)
    fit(whole, **options, callbacks=[pycnn.callbacks.LambdaCallback()])
    wanted = file_of(whole, tmp_path / "whole.safetensors")
    ways = ("memory", "file", "pickle")
    for stop_at, way in zip((1, 5, 7, 15, 29), ways * 2, strict=False):

        def stop(network, epoch, logs, stop_at=stop_at):
            if 15 * (epoch - 1) + logs["batch"] == stop_at:
                raise ZeroDivisionError

        net = network(backend)
        hook = pycnn.callbacks.LambdaCallback(on_batch_group_end=stop)
        with pytest.raises(ZeroDivisionError):
            fit(net, **options, callbacks=[hook])
        last = net.training_record.last
        assert (last.carried is None) == (last.start == 0)
        if way == "file":
            net.save(tmp_path / "part.safetensors", training_state=True)
            net = pycnn.load(tmp_path / "part.safetensors", backend)
        elif way == "pickle":
            net = pickle.load(io.BytesIO(pickle.dumps(net)))
        fit(net, **options, callbacks=[pycnn.callbacks.LambdaCallback()], resume=True)
        assert file_of(net, tmp_path / "net.safetensors") == wanted


def test_ctrl_c_within_a_step_takes_nothing_of_it(backend, monkeypatch, tmp_path):
    net, whole = network(backend), network(backend)
    fit(whole)
    train, calls = net.core.train, []

    def interrupted(plan, theta, data, state, most):
        calls.append(1)
        done = train(plan, theta, data, state, most)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(net.core, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(net)
    monkeypatch.undo()
    fit(net, resume=True)
    assert net.theta.tobytes() == whole.theta.tobytes()
    assert net.history == whole.history


def test_a_state_that_does_not_fit_is_refused(backend, small_groups):
    def stop(network, epoch, logs):
        if logs["batch"] == 2:
            network.stop_training = True

    net = network(backend)
    hook = [pycnn.callbacks.LambdaCallback(on_batch_group_end=stop)]
    fit(net, callbacks=hook)
    last = net.training_record.last
    assert (last.start, last.carried.shape) == (10, (3, 19))
    for change in (
        {"start": 9},
        {"start": 25},
        {"start": 0},
        {"carried": None},
        {"carried": last.carried[:2]},
        {"carried": last.carried[:, :3]},
    ):
        net.training_record.last = last._replace(**change)
        with pytest.raises(DataError, match="does not fit its own settings"):
            fit(net, resume=True)
    net.training_record.last = last
    for other, message in (
        ({"truncate": 6}, "truncate was 5 and is now 6"),
        ({"truncate": None}, "truncate was 5 and is now None"),
    ):
        with pytest.raises(DataError, match=message):
            fit(net, resume=True, **other)
    free = network(backend, None)
    fit(free, callbacks=hook)
    with pytest.raises(DataError, match="positions was 22 and is now 21"):
        free.fit(
            X[:, :21],
            Y[:, :21],
            epochs=2,
            batch_size=3,
            optimizer=Adam(0.02),
            truncate=5,
            resume=True,
        )


def test_a_divergence_is_told_by_its_window(backend):
    x = X.copy()
    x[:, 12] = 1e200
    net = Network((T, F), [Dense(N)], seed=0, backend=backend)
    with (
        pytest.raises(DivergedError, match="at epoch 1, batch 3"),
        pytest.warns(pycnn.exceptions.DataWarning),
    ):
        net.fit(x, np.zeros((M, T, N)), epochs=1, batch_size=None, truncate=5, shuffle=False)
    assert np.isfinite(net.theta).all()


def test_what_is_further_back_than_a_window_is_learned():
    # The token of the first position comes again at the end of each window of 4.
    rng = np.random.default_rng(0)
    first = rng.integers(1, 4, (60, 1))
    tokens = np.tile(np.hstack([np.zeros((60, 3), int), np.ones((60, 1), int)]), (1, 4))
    tokens[:, :1] = first
    wanted = np.where(tokens == 1, first, 0)
    wanted[:, 0] = first[:, 0]
    stack = [Embedding(4), LSTM(12, return_sequences=True), Dense(4, "softmax")]
    net = Network(Tokens(4), stack, seed=0)
    net.fit(tokens, wanted, epochs=20, batch_size=20, optimizer=Adam(0.05), truncate=4)
    assert net.evaluate(tokens, wanted)["accuracy"] > 0.99


class Batches:
    """The samples in mini-batches of 3, all in the same memory; it may be wrong about how many."""

    def __init__(self, said=None, rows=6):
        self.said, self.rows, self.calls = said, rows, 0

    def __len__(self):
        return -(-self.rows // 3) if self.said is None else self.said

    def __iter__(self):
        self.calls += 1
        for first in range(0, self.rows, 3):
            part = slice(first, min(first + 3, self.rows))
            x, y = X[part].copy(), Y[part].copy()
            yield x, y, WEIGHTS[part], LENGTHS[part]
            x[:], y[:] = 9.0, 0


def fit_batches(net, batches, **options):
    settings = {"epochs": 2, "optimizer": Adam(0.02), "truncate": 5}
    return net.fit(batches, **(settings | options))


def test_mini_batches_of_ones_own_are_trained_on_window_by_window(backend):
    whole, own = network(backend), network(backend)
    options = {"optimizer": Adam(CosineDecay(0.02), clip_norm=1.0), "epochs": 3}
    data = {"lengths": LENGTHS[:6], "sample_weight": WEIGHTS[:6], "shuffle": False}
    whole.fit(X[:6], Y[:6], batch_size=3, truncate=5, **data, **options)
    batches = Batches()
    fit_batches(own, batches, **options)
    assert own.theta.tobytes() == whole.theta.tobytes()
    assert own.history == whole.history
    assert batches.calls <= 4  # once an epoch, and once to look at the first


def test_a_wrong_number_of_mini_batches_is_held_to_by_windows(backend):
    net, asked = network(backend), []

    class Watched(CosineDecay):
        def rates(self, steps, steps_per_epoch, total_steps):
            asked.append((steps[0], steps_per_epoch, total_steps))
            return super().rates(steps, steps_per_epoch, total_steps)

    optimizer = SGD(Watched(0.1))
    with pytest.warns(pycnn.exceptions.DataWarning, match="a length of 5, but has yielded 3"):
        fit_batches(net, Batches(said=5, rows=7), optimizer=optimizer)
    # The second epoch's go by what there was.
    assert asked[0] == (0, 25, 50)
    assert asked[-1][1:] == (15, 30)
    assert (15, 15, 30) in asked


@pytest.mark.twin_when_thorough
def test_a_training_on_mini_batches_goes_on_from_any_window(backend, small_groups, tmp_path):
    whole = network(backend)
    fit_batches(whole, Batches(rows=7), callbacks=[pycnn.callbacks.LambdaCallback()])
    wanted = file_of(whole, tmp_path / "whole.safetensors")
    for stop_at in (1, 5, 12, 28):

        def stop(network, epoch, logs, stop_at=stop_at):
            if 15 * (epoch - 1) + logs["batch"] == stop_at:
                raise ZeroDivisionError

        net = network(backend)
        hook = pycnn.callbacks.LambdaCallback(on_batch_group_end=stop)
        with pytest.raises(ZeroDivisionError):
            fit_batches(net, Batches(rows=7), callbacks=[hook])
        net.save(tmp_path / "part.safetensors", training_state=True)
        net = pycnn.load(tmp_path / "part.safetensors", backend)
        again = {"callbacks": [pycnn.callbacks.LambdaCallback()], "resume": True}
        if stop_at == 1:  # amid the first mini-batch, which is another one now
            with pytest.raises(DataError, match="mini-batch 0 of X has 2 samples, but 3 where"):
                fit_batches(net, [(x[:2], y[:2]) for x, y, *_ in Batches(rows=9)], **again)
            net = pycnn.load(tmp_path / "part.safetensors", backend)
        fit_batches(net, Batches(rows=7), **again)
        assert file_of(net, tmp_path / "net.safetensors") == wanted


def test_mini_batches_of_other_lengths_are_refused_in_windows():
    net = network("numpy", None)
    short = X[:2, :12], Y[:2, :12]
    with pytest.raises(pycnn.exceptions.ShapeError, match=r"number 1 of X has 12 positions.* 22"):
        fit_batches(net, [(X, Y), short])


def test_calls_of_partial_fit_go_window_by_window(backend):
    whole, calls = network(backend), network(backend)
    fit(whole, lengths=LENGTHS, epochs=3)
    for _ in range(3):
        options = {"batch_size": 3, "optimizer": Adam(0.02), "lengths": LENGTHS}
        calls.partial_fit(X, Y, truncate=5, **options)
    assert calls.theta.tobytes() == whole.theta.tobytes()
    assert calls.history == whole.history


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Bidirectional(LSTM(2, return_sequences=True)), Dense(1)], "Bidirectional|LSTM"),
        ([GRU(2, return_sequences=True, reverse=True), Dense(1)], "GRU.*begins with the last"),
        ([MultiHeadAttention(1), Dense(1)], "MultiHeadAttention.* behind a position"),
        ([MultiHeadAttention(1, causal=True), Dense(1)], "MultiHeadAttention.* layer 1 is"),
        ([Dense(4), Residual([TransformerBlock(1, causal=True)]), Dense(1)], "Residual.*layer 2"),
        ([PositionEmbedding("sinusoidal"), GRU(1, return_sequences=True)], "PositionEmbedding"),
        ([Conv1D(2, 3, padding="same"), Dense(1)], "Conv1D"),
        ([GRU(2), Dense(1)], "GRU.*layer 1 is, makes one row .*return_sequences=True"),
    ],
)
def test_layers_without_a_state_that_goes_on_are_refused_by_name(layers, message):
    net = Network((T, F), layers, seed=0, backend="numpy")
    y = np.zeros((M, *net.output_shape))
    with pytest.raises(DataError, match=message):
        net.fit(X, y, truncate=5)


def test_other_arguments_that_make_no_sense_are_refused():
    net = network("numpy")
    with pytest.raises(DataError, match="truncate must be at least 1"):
        fit(net, truncate=0)
    with pytest.raises(DataError, match="truncate wants an optimizer of steps"):
        fit(net, optimizer=pycnn.LBFGS(), batch_size=None)
    with pytest.raises(DataError, match="truncate wants an optimizer of steps"):
        net.fit([(X, Y)], optimizer=pycnn.LBFGS(), truncate=5)
    with pytest.raises(DataError, match="truncate must be at least 1"):
        net.partial_fit(X, Y, truncate=0)
    with pytest.raises(DataError, match="samples are no sequences"):
        Network(3, [Dense(1)], backend="numpy").partial_fit(
            np.zeros((4, 3)), np.zeros(4), truncate=2
        )
    with pytest.raises(DataError, match="samples are no sequences"):
        Network(3, [Dense(1)], backend="numpy").fit(np.zeros((4, 3)), np.zeros(4), truncate=2)
