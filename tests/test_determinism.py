"""Same seed, same bits: twice in a process, in another process, after a pause, row by row."""

import copy
import hashlib
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Dense, Network, _random

TRAIN = """
import hashlib
import numpy as np
from pycnn import SGD, Dense, Network

def train(backend, seed):
    rng = np.random.Generator(np.random.PCG64(9))
    X = rng.random((70, 9))
    y = (X.sum(axis=1) * 10).astype(int) % 3
    net = Network(9, [Dense(13, "relu"), Dense(3, "softmax")], seed=seed, backend=backend)
    net.fit(X, y, epochs=7, batch_size=16, optimizer=SGD(0.2), validation_split=0.1)
    return hashlib.sha256(net.parameters.tobytes() + net.predict(X).tobytes()).hexdigest()
"""
namespace: dict = {}
exec(TRAIN, namespace)
train = namespace["train"]


def test_training_twice_gives_the_same_bits(backend):
    assert train(backend, 3) == train(backend, 3)
    assert train(backend, 3) != train(backend, 4)


def test_training_in_another_process_with_any_threads_gives_the_same_bits(backend, run_python):
    code, here = f"{TRAIN}\nprint(train({backend!r}, 3))", train(backend, 3)
    for threads in ("1", "3"):
        assert run_python(code, PYCNN_NUM_THREADS=threads).strip() == here


def test_every_instruction_set_with_fused_multiply_add_gives_the_same_bits(core, run_python):
    if pycnn.config()["isa"] != "avx512":
        pytest.skip("needs AVX-512, which is not what runs here")
    code = f"{TRAIN}\nprint(train('c', 3))"
    assert run_python(code, PYCNN_ISA="avx2") == run_python(code, PYCNN_ISA="avx512")


def test_a_seed_that_was_drawn_is_kept_and_repeats_the_network():
    net, other = (Network(4, [Dense(3)]) for _ in range(2))
    assert net.seed != other.seed
    again = Network(4, [Dense(3)], seed=net.seed)
    assert again.parameters.tobytes() == net.parameters.tobytes()


def test_initial_weights_do_not_depend_on_the_backend(core):
    layers = [Dense(31, "relu"), Dense(17, "tanh"), Dense(3)]
    c, numpy = (Network(20, layers, seed=11, backend=b) for b in ("c", "numpy"))
    assert c.parameters.tobytes() == numpy.parameters.tobytes()


def test_repr_rebuilds_the_network(backend):
    net = Network(2, [Dense(3, "relu"), Dense(1, "sigmoid")], backend=backend)
    again = eval(repr(net))
    assert again.parameters.tobytes() == net.parameters.tobytes()
    assert repr(again) == repr(net)


# ------------------------------------------------------------------ pinned bits
# These change only with a new major version: models could no longer be trained again to the bit.

GOLDEN_WEIGHTS = {
    "relu": [
        "0x1.43731a13d6db0p-2",
        "0x1.f03ba11db6b81p-5",
        "-0x1.93b7a838d201ap-1",
        "0x1.66990c32373dbp-2",
        "-0x1.e3cff229e8dbbp-2",
        "-0x1.0ede7a956c1d7p+0",
    ],
    "tanh": [
        "0x1.51cc6e7838f10p-2",
        "0x1.095be063316f0p-4",
        "-0x1.756f93b2c7fc1p-1",
        "0x1.746b28f5ec688p-2",
        "-0x1.ea66af43df214p-2",
        "-0x1.c37d47d04fbaap-1",
    ],
}
GOLDEN_BIASES = ["-0x1.4378917140b76p-3", "0x1.df9dc8fec3650p-4"]
GOLDEN_PERMUTATIONS = [[2, 5, 7, 4, 3, 0, 1, 6], [3, 2, 0, 1, 5, 6, 4, 7]]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_initial_weights_are_the_pinned_ones(activation):
    net = Network(3, [Dense(2, activation)], seed=2024)
    assert [v.hex() for v in net.layers[0].W.ravel().tolist()] == GOLDEN_WEIGHTS[activation]
    assert [v.hex() for v in net.layers[0].b.tolist()] == GOLDEN_BIASES


def test_the_order_of_the_samples_is_the_pinned_one():
    assert _random.permutations(2024, 8)(3, 2).tolist() == GOLDEN_PERMUTATIONS


def test_a_permutation_does_not_depend_on_those_drawn_with_it():
    whole = _random.permutations(5, 33)(0, 10)
    for first, count in ((0, 1), (3, 4), (9, 1)):
        part = _random.permutations(5, 33)(first, count)
        np.testing.assert_array_equal(part, whole[first : first + count])


# ------------------------------------------------------------------ keeping and going on

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6))
LABELS = np.array(["ant", "bee", "cat"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)]


def through_a_file(net, path):
    net.save(path / "net.safetensors")
    return pycnn.load(path / "net.safetensors", backend=net.backend)


WAYS = {
    "file": through_a_file,
    "pickle": lambda net, path: pickle.loads(pickle.dumps(net)),
    "copy": lambda net, path: copy.copy(net),
    "deepcopy": lambda net, path: copy.deepcopy(net),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_kept_network_predicts_and_goes_on_with_the_same_bits(backend, tmp_path, way):
    net = Network(6, [Dense(8, "tanh"), Dense(3, "softmax")], seed=1, backend=backend)
    net.metadata["note"] = "kept"
    net.fit(X, LABELS, epochs=3)
    kept = WAYS[way](net, tmp_path)
    assert kept.parameters.tobytes() == net.parameters.tobytes()
    assert not np.shares_memory(kept.parameters, net.parameters)
    assert kept.predict(X).tobytes() == net.predict(X).tobytes()
    assert (kept.predict_classes(X) == net.predict_classes(X)).all()
    assert kept.backend == backend
    assert (kept.seed, kept.epochs_trained, kept.metadata) == (1, 3, {"note": "kept"})
    before = kept.parameters.tobytes()
    net.fit(X, LABELS, epochs=4)
    assert kept.parameters.tobytes() == before
    kept.fit(X, LABELS, epochs=4)
    assert kept.parameters.tobytes() == net.parameters.tobytes()
    assert np.shares_memory(kept.layers[1].W, kept.parameters)


# ------------------------------------------------------------------ row by row

NETWORKS = [
    (1, [Dense(1)]),
    (3, [Dense(2, "relu"), Dense(2, "relu"), Dense(1, "sigmoid")]),
    (16, [Dense(17, "tanh"), Dense(16, "sigmoid"), Dense(5, "softmax")]),
    (67, [Dense(67, "softmax"), Dense(67, "relu"), Dense(1)]),
    (17, [Dense(300, "relu"), Dense(10, "softmax")]),
    (300, [Dense(33, "tanh"), Dense(300, "softmax")]),
]


@pytest.mark.parametrize(("inputs", "layers"), NETWORKS)
def test_a_prediction_does_not_depend_on_the_rows_beside_it(backend, inputs, layers):
    net = Network(inputs, layers, seed=0, backend=backend)
    net.parameters = net.parameters + 0.01
    data = np.random.default_rng(1).normal(size=(600, inputs))  # more than two pieces of 256
    whole = net.predict(data)
    alone = np.concatenate([net.predict(data[i : i + 1]) for i in range(600)])
    assert whole.tobytes() == alone.tobytes()
    for start, stop in ((0, 15), (0, 16), (1, 18), (3, 259), (255, 257), (100, 600)):
        assert net.predict(data[start:stop]).tobytes() == whole[start:stop].tobytes()
    order = np.random.default_rng(2).permutation(600)
    assert net.predict(data[order]).tobytes() == whole[order].tobytes()


def test_gradients_and_evaluate_repeat_to_the_bit(backend):
    net = Network(6, [Dense(40, "tanh"), Dense(3, "softmax")], seed=1, backend=backend)
    y = np.arange(50) % 3
    digests = {
        hashlib.sha256(
            net.gradients(X, y)[1].tobytes() + repr(net.evaluate(X, y)).encode()
        ).digest()
        for _ in range(3)
    }
    assert len(digests) == 1


def test_the_layout_of_the_data_does_not_show_in_the_bits(backend):
    y, options = np.arange(50) % 3, {"epochs": 2, "optimizer": SGD(0.3)}
    results = set()
    for data in (X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X.tolist()):
        net = Network(6, [Dense(7, "tanh"), Dense(3, "softmax")], seed=1, backend=backend)
        net.fit(data, y, **options)
        results.add(net.parameters.tobytes() + net.predict(data).tobytes())
    assert len(results) == 1
