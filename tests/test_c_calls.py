"""Calls of the core that Python itself does not need, held to what Python has."""

import pytest

from pycnn import BatchNorm, Dense, Dropout, LayerNorm, Network, Residual

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture
def native():
    from pycnn import _native

    return _native.ffi, _native.lib


def block(units):
    inner = [Dense(4), BatchNorm("relu"), Dropout(0.25), Dense(units)]
    return Residual(inner, shortcut=Residual([Dense(units, "tanh")], shortcut=Dense(units)))


LAYERS = [
    Dense(6, "relu"),
    BatchNorm(),
    block(5),
    LayerNorm("silu"),
    Residual([block(5), Dense(5)]),
]


def test_tensors_have_the_names_and_places_that_python_gives_them(native):
    ffi, lib = native
    net = Network(3, [*LAYERS, Dense(2, "softmax")], seed=0, backend="c")
    plan = net.plan.network
    roles = ["weight", "bias", "scale", "statistic"]
    found = []
    for number in range(lib.pycnn_network_tensor_count(plan)):
        tensor, name = ffi.new("pycnn_tensor *"), ffi.new("char[]", 100)
        assert lib.pycnn_network_tensor(plan, number, tensor) == lib.PYCNN_OK
        assert lib.pycnn_network_tensor_name(plan, number, name, 100) < 100
        shape = tuple(tensor.shape[0 : tensor.dims])
        found.append((ffi.string(name).decode(), shape, roles[tensor.role], tensor.offset))
    table = net.architecture.tensors
    assert found == [(t.full_name, t.shape, t.role, t.offset) for t in table]
    assert lib.pycnn_network_theta_size(plan) == net.theta.size
    assert lib.pycnn_network_inputs(plan) == 3
    assert lib.pycnn_network_outputs(plan) == 2
