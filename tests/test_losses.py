"""Each loss: against PyTorch, the differences of itself, the other backend and its own formula."""

import math
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Dense, Network
from pycnn.backend.interface import Data
from pycnn.exceptions import (
    DataError,
    DataTypeError,
    LabelError,
    PairingError,
    UnknownNameError,
)
from pycnn.losses import LOSSES, BinaryCrossentropy, CategoricalCrossentropy, Huber, Quantile

RNG = np.random.default_rng(8)
ROWS, OUTPUTS = 12, 3
X = RNG.normal(size=(ROWS, 4))
NUMBERS = RNG.normal(size=(ROWS, OUTPUTS))
COUNTS = RNG.integers(6, size=(ROWS, OUTPUTS)).astype(float)
ZERO_ONE = RNG.integers(2, size=(ROWS, OUTPUTS)).astype(float)
SHARES = RNG.dirichlet(np.ones(OUTPUTS), size=ROWS)
ONE_HOT = np.eye(OUTPUTS)[np.arange(ROWS) % OUTPUTS]
WEIGHT = RNG.choice([0.0, 0.5, 1.0, 3.0], size=ROWS)

# loss, output activation, targets
CASES = [
    ("mse", "linear", NUMBERS),
    ("mae", "linear", NUMBERS),
    ("mae", "gelu", NUMBERS),
    ("huber", "linear", NUMBERS),
    (Huber(0.3), "silu", NUMBERS),
    ("quantile", "linear", NUMBERS),
    (Quantile(0.9), "linear", NUMBERS),
    ("poisson", "softplus", COUNTS),
    ("poisson", "sigmoid", COUNTS),
    ("poisson", "softmax", COUNTS),
    ("hinge", "linear", 2 * ZERO_ONE - 1),
    ("binary_crossentropy", "sigmoid", ZERO_ONE),
    (BinaryCrossentropy(0.1), "sigmoid", ZERO_ONE),
    ("categorical_crossentropy", "softmax", np.arange(ROWS) % OUTPUTS),
    (CategoricalCrossentropy(0.1), "softmax", np.arange(ROWS) % OUTPUTS),
    (CategoricalCrossentropy(0.2), "softmax", SHARES),
    ("kl_divergence", "softmax", SHARES),
    ("kl_divergence", "softmax", ONE_HOT),
]
IDS = [f"{loss}-{output}" for loss, output, _ in CASES]
each_case = pytest.mark.parametrize(("loss", "output", "y"), CASES, ids=IDS)
SUMS = [case for case in CASES if case[1] != "softmax" or case[0] == "poisson"]


def make_network(backend, loss, output, units=OUTPUTS, seed=3):
    return Network(4, [Dense(7, "tanh"), Dense(units, output)], loss, seed=seed, backend=backend)


def identity_network(backend, loss, output, units=OUTPUTS):
    """Return a network whose z is its input."""
    net = Network(units, [Dense(units, output)], loss, backend=backend)
    net.parameters = np.append(np.eye(units).ravel(), np.zeros(units))
    return net


def assert_agree(left, right, what, tolerance=1e-12):
    assert np.isfinite(left).all(), what
    distance = np.abs(np.asarray(left) - right).max()
    assert distance <= tolerance * np.abs(right).max(), f"{what}: {distance:.2e}"


def test_every_loss_is_tried():
    assert {pycnn.losses.name_of(loss) for loss, _, _ in CASES} == set(LOSSES)


@pytest.mark.usefixtures("core")
@each_case
def test_the_backends_agree(loss, output, y):
    c, numpy = (make_network(backend, loss, output) for backend in ("c", "numpy"))
    for weight in (None, WEIGHT):
        scores = [net.evaluate(X, y, weight) for net in (c, numpy)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-12)
        left, right = (net.gradients(X, y, weight) for net in (c, numpy))
        assert left[0] == pytest.approx(right[0], rel=1e-12)
        assert_agree(left[1], right[1], "gradient")
        assert_agree(c.trace(X, y).delta[2], numpy.trace(X, y).delta[2], "delta")
        for net in (c, numpy):
            net.fit(X, y, epochs=1, batch_size=ROWS, sample_weight=weight, optimizer=SGD(0.05))
        assert_agree(c.parameters, numpy.parameters, "one step")
    for batch_size in (1, 5):
        for net in (c, numpy):
            net.fit(X, y, epochs=15, batch_size=batch_size, optimizer=SGD(0.02))
        assert_agree(c.parameters, numpy.parameters, "training", 1e-9)
        assert c.history["loss"] == pytest.approx(numpy.history["loss"], rel=1e-9)


@pytest.mark.twin_when_thorough
@each_case
def test_gradients_meet_the_differences_of_the_loss(backend, loss, output, y):
    net = make_network(backend, loss, output)
    error = net.predict(X) - y if np.ndim(y) == 2 else np.ones(1)
    kinks = {"mae": (0,), "quantile": (0,), "huber": ()}.get(pycnn.losses.name_of(loss), ())
    assert all(np.abs(error - kink).min() > 1e-4 for kink in kinks)
    if loss == "hinge":
        assert np.abs(1 - y * net.predict(X)).min() > 1e-4
    for weight in (None, WEIGHT):
        limit = 1e-6 if kinks or net.loss in ("huber", "hinge") else 1e-7
        assert pycnn.gradient_check(net, X, y, sample_weight=weight) < limit
    assert np.abs(net.gradients(X, y)[1]).max() > 1e-2


def formula(loss, a, y):
    """Return the loss of each row, as the table in pycnn.losses has it."""
    y = np.eye(OUTPUTS)[y] if np.ndim(y) == 1 else y
    e = a - y
    if isinstance(loss, Huber) or loss == "huber":
        d = 1.0 if loss == "huber" else loss.delta
        return np.where(abs(e) <= d, e**2 / 2, d * (abs(e) - d / 2)).sum(axis=1)
    if isinstance(loss, Quantile) or loss == "quantile":
        q = 0.5 if loss == "quantile" else loss.q
        return np.maximum(-q * e, (1 - q) * e).sum(axis=1)
    return {
        "mse": lambda: (e**2 / 2).sum(axis=1),
        "mae": lambda: abs(e).sum(axis=1),
        "poisson": lambda: (a - y * np.log(a)).sum(axis=1),
        "hinge": lambda: np.maximum(0, 1 - y * a).sum(axis=1),
        "binary_crossentropy": lambda: -np.log(np.where(y == 1, a, 1 - a)).sum(axis=1),
        "categorical_crossentropy": lambda: -(y * np.log(a)).sum(axis=1),
        "kl_divergence": lambda: (y * np.log(np.where(y > 0, y, 1) / a)).sum(axis=1),
    }[loss]()


PLAIN = [c for c in CASES if not isinstance(c[0], (BinaryCrossentropy, CategoricalCrossentropy))]


@pytest.mark.parametrize(("loss", "output", "y"), PLAIN)
def test_the_loss_is_what_its_formula_says(backend, loss, output, y):
    net = make_network(backend, loss, output)
    expected = formula(loss, net.predict(X), y)
    assert net.gradients(X, y)[0] == pytest.approx(expected.mean(), rel=1e-12)
    weighted = (expected * WEIGHT).sum() / WEIGHT.sum()
    assert net.gradients(X, y, WEIGHT)[0] == pytest.approx(weighted, rel=1e-12)


# ------------------------------------------------------------------ the same bits

TRAIN = """
import hashlib
import numpy as np
from pycnn import SGD, Dense, Network, losses
rng = np.random.Generator(np.random.PCG64(9))
X, Y = rng.random((300, 40)) - 0.5, rng.random((300, 5))
LABELS = np.arange(300) % 5
for loss, output, y in [
    ("mse", "linear", Y), ("mae", "linear", Y), (losses.Huber(0.2), "linear", Y),
    (losses.Quantile(0.8), "linear", Y), ("poisson", "softplus", Y * 9),
    ("hinge", "linear", np.sign(Y - 0.5)), ("binary_crossentropy", "sigmoid", Y),
    (losses.BinaryCrossentropy(0.1), "sigmoid", Y), ("categorical_crossentropy", "softmax", LABELS),
    (losses.CategoricalCrossentropy(0.1), "softmax", LABELS),
    ("kl_divergence", "softmax", Y / Y.sum(axis=1, keepdims=True)),
]:
    net = Network(40, [Dense(96, "relu"), Dense(5, output)], loss, seed=1, backend="c")
    for batch_size in (256, 300, 3, 1):
        net.fit(X, y, epochs=1, batch_size=batch_size, optimizer=SGD(0.01))
    print(net.loss, hashlib.sha256(net.parameters.tobytes()).hexdigest(), net.history["loss"])
"""

# Any loss on top of any activation, whether they suit each other or not.
pytestmark = pytest.mark.filterwarnings("ignore::pycnn.exceptions.DataWarning")


@pytest.mark.usefixtures("core")
def test_neither_threads_nor_the_instruction_set_show_in_the_bits(run_python):
    expected = run_python(TRAIN, PYCNN_NUM_THREADS="1")
    assert len(expected.splitlines()) == 11
    assert run_python(TRAIN, PYCNN_NUM_THREADS="2") == expected
    if pycnn.config()["isa"] == "avx512":
        assert run_python(TRAIN, PYCNN_ISA="avx2") == expected


# ------------------------------------------------------------------ extremes


@pytest.mark.parametrize("z", [1e300, -1e300, 1e10, -800.0, 0.0, -0.0, 5e-324, -1e-310])
def test_losses_of_extreme_outputs(backend, z):
    y = 0.5
    e = abs(z - y)
    expected = {
        "mae": (e, np.sign(z - y)),
        Huber(2.0): (2 * (e - 1) if e > 2 else e * e / 2, np.clip(z - y, -2, 2)),
        Quantile(0.9): (0.9 * e if z < y else 0.1 * e, -0.9 if z < y else 0.1),
    }
    for loss, (value, slope) in expected.items():
        trace = identity_network(backend, loss, "linear", 1).trace([[z]], [y])
        assert trace.loss == pytest.approx(value, rel=1e-14)
        assert trace.delta[1].item() == pytest.approx(slope, rel=1e-14)
    for sign in (-1, 1):
        trace = identity_network(backend, "hinge", "linear", 1).trace([[z]], [sign])
        assert trace.loss == pytest.approx(max(0, 1 - sign * z), rel=1e-15)
        assert trace.delta[1].item() == (-sign if 1 - sign * z > 0 else 0)


@pytest.mark.parametrize("output", ["softplus", "sigmoid"])
def test_poisson_stays_finite_where_the_mean_underflows(backend, output):
    net = identity_network(backend, "poisson", output, 1)
    for z in (-700.0, -745.0, -800.0, -1e300):
        trace = net.trace([[z]], [3.0])
        exact = 3 * min(-z, 960 * math.log(2))
        assert trace.loss == pytest.approx(exact, rel=1e-12)
        assert np.isfinite(trace.delta[1]).all()
        assert net.trace([[z]], [0.0]).loss == pytest.approx(0, abs=1e-300)
    assert net.trace([[-600.0]], [3.0]).delta[1].item() == pytest.approx(-3, rel=1e-10)


@pytest.mark.parametrize("z", [(0, 0, 0), (1e3, -1e3, 0), (1e300, 0, -1e300), (-1e300,) * 3])
def test_kl_divergence_stays_finite(backend, z):
    net = identity_network(backend, "kl_divergence", "softmax")
    for y in ([1, 0, 0], [0, 0.25, 0.75], [1e-310, 1 - 1e-12, 1e-12]):
        trace = net.trace([z], [y])
        ties = sum(v == max(z) for v in z)
        minus_log_a = [max(z) - v + math.log(ties) for v in z]
        parts = (p * (math.log(p) + m) for p, m in zip(y, minus_log_a, strict=True) if p > 0)
        assert trace.loss == pytest.approx(math.fsum(parts), rel=1e-12, abs=1e-300)
        assert np.isfinite(trace.delta[1]).all()


def test_kl_divergence_is_0_where_outputs_are_the_targets(backend):
    net = identity_network(backend, "kl_divergence", "softmax")
    trace = net.trace(np.log(SHARES), SHARES)
    assert abs(trace.loss) < 1e-15
    assert np.abs(trace.delta[1]).max() < 1e-15


# ------------------------------------------------------------------ kinds of targets


def test_hinge_takes_labels_of_two_classes(backend):
    labels = np.where(X[:, 0] > 0, "yes", "no")
    signs = np.where(X[:, 0] > 0, 1.0, -1.0)
    nets = [make_network(backend, "hinge", "linear", 1) for _ in range(3)]
    for net, y in zip(nets, (labels, signs, signs[:, None]), strict=True):
        net.fit(X, y, epochs=60, batch_size=4, optimizer=SGD(0.1))
        assert net.parameters.tobytes() == nets[0].parameters.tobytes()
    assert nets[0].classes.tolist() == ["no", "yes"]
    assert nets[0].predict_classes(X).tolist() == labels.tolist()
    assert nets[0].evaluate(X, labels)["accuracy"] == 1
    assert nets[0].evaluate(X, np.where(labels == "no", "yes", "no"))["accuracy"] == 0
    assert nets[1].predict_classes(X).tolist() == signs.tolist()
    with pytest.raises(LabelError, match="must hold -1 and 1, or labels of two classes"):
        make_network(backend, "hinge", "linear", 1).fit(X, np.arange(ROWS) % 3)
    y = np.ones((ROWS, OUTPUTS))
    y[2, 1] = 0
    with pytest.raises(DataError, match="y must be -1 or 1 for hinge; row 2 is not"):
        make_network(backend, "hinge", "linear").fit(X, y)


def test_poisson_learns_counts(backend):
    rng = np.random.default_rng(1)
    features = rng.uniform(-1, 1, (400, 4))
    means = np.exp(features @ [1.0, -0.5, 0.2, 0.0])
    counts = rng.poisson(means)
    net = make_network(backend, "poisson", "softplus", 1)
    net.fit(features, counts, epochs=60, batch_size=20, optimizer=SGD(0.02))
    assert np.corrcoef(net.predict(features)[:, 0], means)[0, 1] > 0.95
    with pytest.raises(DataError, match="y must be >= 0 for poisson; row 1 is not"):
        net.fit(features[:3], [0, -1, 2])


def test_quantile_learns_the_quantile(backend):
    y = np.random.default_rng(2).exponential(size=500)
    net = Network(1, [Dense(1)], Quantile(0.8), seed=0, backend=backend)
    net.fit(np.zeros((500, 1)), y, epochs=60, batch_size=25, optimizer=SGD(0.05))
    assert (y < net.predict([[0.0]]).item()).mean() == pytest.approx(0.8, abs=0.04)


# ------------------------------------------------------------------ label smoothing


def test_smoothed_labels_are_what_the_formula_says(backend):
    e = 0.15
    labels = np.arange(ROWS) % OUTPUTS
    plain = make_network(backend, "categorical_crossentropy", "softmax")
    for y in (labels, ONE_HOT):
        net = make_network(backend, CategoricalCrossentropy(label_smoothing=e), "softmax")
        expected = plain.gradients(X, (1 - e) * ONE_HOT + e / OUTPUTS)
        assert net.gradients(X, y)[0] == pytest.approx(expected[0], rel=1e-14)
        assert_agree(net.gradients(X, y)[1], expected[1], "gradient", 1e-14)
        assert net.evaluate(X, y)["accuracy"] == plain.evaluate(X, y)["accuracy"]
    plain = make_network(backend, "binary_crossentropy", "sigmoid")
    net = make_network(backend, BinaryCrossentropy(label_smoothing=e), "sigmoid")
    expected = plain.gradients(X, (1 - e) * ZERO_ONE + e / 2)
    assert net.gradients(X, ZERO_ONE)[0] == pytest.approx(expected[0], rel=1e-14)
    assert_agree(net.gradients(X, ZERO_ONE)[1], expected[1], "gradient", 1e-14)
    assert net.evaluate(X, ZERO_ONE)["accuracy"] == plain.evaluate(X, ZERO_ONE)["accuracy"]


@pytest.mark.parametrize("loss", ["binary_crossentropy", "categorical_crossentropy"])
def test_no_smoothing_is_the_plain_loss(backend, loss):
    output = "sigmoid" if loss[0] == "b" else "softmax"
    smoothing = BinaryCrossentropy() if loss[0] == "b" else CategoricalCrossentropy()
    nets = [make_network(backend, each, output) for each in (loss, smoothing)]
    for net in nets:
        net.fit(X, ONE_HOT, epochs=2, batch_size=5)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


# ------------------------------------------------------------------ missing targets


@pytest.mark.parametrize(("loss", "output", "y"), SUMS)
def test_a_missing_target_has_no_term_and_no_gradient(backend, loss, output, y):
    net = make_network(backend, loss, output)
    masked = np.where(RNG.random(y.shape) < 0.4, np.nan, y)
    masked[3] = np.nan
    observed = ~np.isnan(masked)

    def score(targets, weight=None):
        grad = np.empty_like(net.parameters)
        data = Data(X, np.ascontiguousarray(targets), weight)
        totals = net.core.gradients(net.plan, net.parameters, data, grad)
        evaluated = net.core.evaluate(net.plan, net.parameters, data)
        assert evaluated == pytest.approx(totals, rel=1e-14)
        return totals, grad

    totals, grad = score(masked)
    # One target at a time: losses and gradients add up.
    loss_sum, grad_sum, shares = 0.0, np.zeros_like(grad), np.zeros(ROWS)
    for row, column in np.argwhere(observed):
        one = np.full_like(y, np.nan)
        one[row, column] = y[row, column]
        part, part_grad = score(one)
        assert part.weight == 1
        loss_sum += part.loss
        grad_sum += part_grad
        shares[row] += part.correct
    assert totals.weight == observed.any(axis=1).sum()
    assert totals.loss == pytest.approx(loss_sum, rel=1e-12)
    assert_agree(grad, grad_sum / totals.weight, "gradient")
    shares /= np.maximum(observed.sum(axis=1), 1)
    if loss == "mse":  # a row is right as a whole: the largest output is that of the largest target
        largest = net.predict(X).argmax(axis=1) == y.argmax(axis=1)
        shares = largest & observed.all(axis=1)
    assert totals.correct == pytest.approx(shares.sum(), rel=1e-12)
    # Weights apply to the rows that have something.
    totals, _ = score(masked, WEIGHT)
    assert totals.weight == WEIGHT[observed.any(axis=1)].sum()
    nothing, grad = score(np.full_like(y, np.nan))
    assert nothing == (0, 0, 0)
    assert not grad.any()


# ------------------------------------------------------------------ arguments, files


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Huber(0), DataError, "delta must be finite and above 0, got 0"),
        (lambda: Huber(-1.5), DataError, "delta must be finite and above 0, got -1.5"),
        (lambda: Huber(math.inf), DataError, "delta must be finite and above 0, got inf"),
        (lambda: Huber(math.nan), DataError, "delta must be finite and above 0, got nan"),
        (lambda: Huber(10**400), DataError, "delta must be finite and above 0"),
        (lambda: Huber("1"), DataTypeError, "delta must be a number, got '1'"),
        (lambda: Huber(True), DataTypeError, "delta must be a number, got True"),
        (lambda: Quantile(0), DataError, "q must be above 0 and below 1, got 0"),
        (lambda: Quantile(1), DataError, "q must be above 0 and below 1, got 1"),
        (lambda: Quantile(None), DataTypeError, "q must be a number, got None"),
        (lambda: BinaryCrossentropy(1), DataError, "label_smoothing must be at least 0 and below"),
        (lambda: CategoricalCrossentropy(-0.1), DataError, "label_smoothing must be .*got -0.1"),
        (lambda: CategoricalCrossentropy(math.nan), DataError, "label_smoothing must be .*got nan"),
        (lambda: BinaryCrossentropy([0.1]), DataTypeError, "label_smoothing must be a number"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert type(caught.value) is error


def test_a_wrong_loss_is_an_error_that_knows_better():
    layers = [Dense(2)]
    for wrong, right in (("huberr", "huber"), ("MAE", "mae"), ("quantil", "quantile")):
        with pytest.raises(UnknownNameError, match=f"did you mean '{right}'"):
            Network(3, layers, wrong)
    for wrong in (Huber, 3, ["mse"]):
        with pytest.raises(UnknownNameError, match="loss must be one of mse, "):
            Network(3, layers, wrong)


@pytest.mark.parametrize("output", pycnn.activations.ACTIVATIONS)
def test_losses_that_need_another_output_say_which(output):
    needs = {
        "binary_crossentropy": ("sigmoid",),
        BinaryCrossentropy(0.1): ("sigmoid",),
        "categorical_crossentropy": ("softmax",),
        CategoricalCrossentropy(0.1): ("softmax",),
        "kl_divergence": ("softmax",),
        "poisson": ("softplus", "sigmoid", "softmax"),
        "hinge": ("linear",),
    }
    for loss in (*LOSSES, *needs):
        needed = needs.get(loss, (output,))
        if output in needed:
            Network(3, [Dense(2, output)], loss)
            continue
        name = pycnn.losses.name_of(loss)
        with pytest.raises(PairingError, match=f"{name!r} needs a {' or '.join(needed)} output"):
            Network(3, [Dense(2, output)], loss)


@each_case
def test_a_network_with_it_survives_a_file_a_pickle_and_its_repr(
    backend, loss, output, y, tmp_path
):
    net = make_network(backend, loss, output)
    net.fit(X, y, epochs=1)
    net.save(tmp_path / "net.safetensors")
    loaded = pycnn.load(tmp_path / "net.safetensors", backend=backend)
    again = eval(repr(net), vars(pycnn) | vars(pycnn.losses))
    again.parameters = net.parameters
    for other in (loaded, pickle.loads(pickle.dumps(net)), again):
        assert (other.loss, other.loss_parameter) == (net.loss, net.loss_parameter)
        assert repr(other.architecture.loss) == repr(net.architecture.loss)
        assert other.evaluate(X, y) == net.evaluate(X, y)
    loaded.fit(X, y, epochs=2, shuffle=False)
    net.fit(X, y, epochs=2, shuffle=False)
    assert loaded.parameters.tobytes() == net.parameters.tobytes()


def test_settings_are_values():
    assert Huber() == Huber(1) != Huber(2)
    assert Quantile(0.5) != Huber(0.5)
    assert BinaryCrossentropy(0.1) != CategoricalCrossentropy(0.1)
    assert len({Huber(1), Huber(1.0), Quantile(0.5)}) == 2
    with pytest.raises(AttributeError, match="cannot be changed"):
        Huber(1).delta = 2
    assert make_network("auto", "huber", "linear").loss_parameter == 1
    assert make_network("auto", CategoricalCrossentropy(0.3), "softmax").loss_parameter == 0.3
    assert make_network("auto", "categorical_crossentropy", "softmax").loss_parameter is None


# ------------------------------------------------------------------ PyTorch

TORCH_CASES = {
    "mse": (None, "linear", NUMBERS, lambda f, z, y: 0.5 * f.mse_loss(z, y, reduction="sum")),
    "mae": ("mae", "linear", NUMBERS, lambda f, z, y: f.l1_loss(z, y, reduction="sum")),
    "huber": (
        Huber(0.7),
        "linear",
        NUMBERS,
        lambda f, z, y: f.huber_loss(z, y, reduction="sum", delta=0.7),
    ),
    "poisson": (
        "poisson",
        "softplus",
        COUNTS,
        lambda f, z, y: f.poisson_nll_loss(
            f.softplus(z, threshold=50), y, log_input=False, eps=0, reduction="sum"
        ),
    ),
    "hinge": ("hinge", "linear", 2 * ZERO_ONE - 1, lambda f, z, y: f.relu(1 - y * z).sum()),
    "kl_divergence": (
        "kl_divergence",
        "softmax",
        SHARES,
        lambda f, z, y: f.kl_div(f.log_softmax(z, dim=1), y, reduction="sum"),
    ),
    "binary smoothing": (
        BinaryCrossentropy(0.1),
        "sigmoid",
        ZERO_ONE,
        lambda f, z, y: f.binary_cross_entropy_with_logits(z, 0.9 * y + 0.05, reduction="sum"),
    ),
    "categorical smoothing": (
        CategoricalCrossentropy(0.1),
        "softmax",
        np.arange(ROWS) % OUTPUTS,
        lambda f, z, y: f.cross_entropy(z, y, label_smoothing=0.1, reduction="sum"),
    ),
    "categorical smoothing of shares": (
        CategoricalCrossentropy(0.3),
        "softmax",
        SHARES,
        lambda f, z, y: f.cross_entropy(z, y, label_smoothing=0.3, reduction="sum"),
    ),
}


@pytest.mark.parametrize("case", TORCH_CASES)
@pytest.mark.parametrize("scale", [0.1, 1, 10])
def test_pytorch_agrees(backend, case, scale):
    torch = pytest.importorskip("torch")
    loss, output, y, function = TORCH_CASES[case]
    z = np.random.default_rng(6).normal(size=(ROWS, OUTPUTS)) * scale
    net = identity_network(backend, loss, output)
    their_z = torch.tensor(z, requires_grad=True)
    theirs = function(torch.nn.functional, their_z, torch.tensor(y)) / ROWS
    theirs.backward()
    trace = net.trace(z, y)
    assert trace.loss == pytest.approx(theirs.item(), rel=1e-10)
    assert_agree(trace.delta[1].T / ROWS, their_z.grad.numpy(), "gradient", 1e-10)
