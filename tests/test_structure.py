"""The structure of the package, and that what counts its faults is not easily fooled."""

import ast
import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "structure.py"

pytestmark = pytest.mark.skipif(
    not (SCRIPT.exists() and (SCRIPT.parents[1] / "csrc").exists()),
    reason="no scripts beside the tests",
)


@pytest.fixture(scope="module")
def structure():
    spec = importlib.util.spec_from_file_location("structure", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inside(line, header=""):
    """Return a function's tree, of one line."""
    return ast.parse(f"{header}\ndef f(network: Network, layer, layers):\n    {line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "network._theta",
        "net = network; net._theta",
        "network.layers[0]._theta",
        "getattr(network, '_theta')",
        "setattr(network, '_theta', 1)",
        "getattr(layer, '_theta', None)",
        "vars(network)['_theta']",
        "network.__dict__['_theta']",
        "from pycnn.network import _theta",
    ],
)
def test_a_private_name_of_another_module_is_found(structure, line):
    assert list(structure.reach_ins("other", inside(line), {"_theta"}))


@pytest.mark.parametrize("line", ["network._theta", "net = network; net._theta"])
def test_a_private_name_of_another_module_is_found_beside_one_of_its_own(structure, line):
    own = "class Other:\n    def __init__(self):\n        self._theta = 1\n"
    assert list(structure.reach_ins("other", inside(line, own), {"_theta"}))
    kept = f"{own}    def g(self, net: Network):\n        self.net = net\n        self.net._theta\n"
    assert list(structure.reach_ins("other", ast.parse(kept), {"_theta"}))


def test_a_private_name_of_ones_own_is_none_of_anothers(structure):
    own = "class Network:\n    def __init__(self):\n        self._theta = 1\n"
    assert not list(structure.reach_ins("network", inside("network._theta", own), {"_theta"}))


@pytest.mark.parametrize(
    "line",
    [
        "isinstance(layer, Dense)",
        "isinstance(layer, (int, layers.Dropout))",
        "isinstance(layer, FLAT)",
        "issubclass(type(layer), BatchNorm)",
        "type(layer) is Dense",
        "type(layer) in (Dense, Residual)",
        "layer.__class__ == Dense",
        "layer.kind == x",
        "layer.kind in x",
        "layer.kind.endswith('_norm')",
        "x == 'dense'",
        "x in ('batch_norm', 'other')",
        "TABLE[layer.kind]",
        "TABLE.get(layer.kind)",
        "{'dense': 1, 'dropout': 2}[x]",
        "{Dense: 1}[x]",
        "config['kind'] == x",
        "match layer:\n        case Dense(): pass",
        "match layer.kind:\n        case 'x': pass",
        "match x:\n        case 'dropout': pass",
    ],
)
def test_a_question_for_a_layers_kind_is_found(structure, line):
    tree = inside(line, "FLAT = (Dense, Dropout)")
    assert list(structure.kind_tests("other", tree))
    assert not list(structure.kind_tests("layers._dense", tree))


@pytest.mark.parametrize("line", ["layer.kind.upper()", "x.dtype.kind == 'f'", "y == 'adam'"])
def test_another_question_is_none_for_a_layers_kind(structure, line):
    assert not list(structure.kind_tests("other", inside(line)))


@pytest.mark.parametrize(
    "line",
    [
        "for layer in layers: shape = layer.output_shape(shape)",
        "[layer.tensor_specs(1) for layer in layers]",
        "while layers: layers.pop().spec(1)",
        "functools.reduce(lambda shape, layer: layer.output_shape(shape), layers)",
        "list(map(Layer.tensor_specs, layers))",
        "for layer in layers: ask(layer)",
        "list(map(ask, layers))",
        "for layer in layers: fan_in = layer.units",
    ],
)
def test_a_walk_over_the_layers_is_found(structure, line):
    tree = inside(line, "def ask(layer):\n    return layer.spec(1)\n")
    assert list(structure.walks("other", tree))
    assert not list(structure.walks("_architecture", tree))


def test_the_table_walks_but_once(structure):
    line = "for layer in layers: layer.spec(1)"
    tree = ast.parse("".join(f"def {f}(layers):\n    {line}\n" for f in "fg"))
    assert len(list(structure.walks("_architecture", tree))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "if (layer->kind == PYCNN_DENSE) {",
        "if (layer->kind == 0) {",
        "return net->layers[l].ops == &pycnn_dense_ops;",
        "switch (layer->kind) {",
        "    case PYCNN_DROPOUT:",
    ],
)
def test_a_question_for_a_layers_kind_is_found_in_c(structure, line):
    table = "const layer_ops pycnn_dense_ops = {0};\n"
    assert list(structure.core_kind_tests({"dense.c": table, "pass.c": line}))


def test_a_name_in_anothers_header_is_found(structure):
    texts = {"a.h": "void pycnn_one(int\n  x);\n", "b.c": "void pycnn_one(int x)\n{\n}\n"}
    assert list(structure.foreign_names(texts)) == ["csrc/a.h declares pycnn_one of b.c"]


def test_modules_that_import_each_other_are_found(structure):
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert structure.circles(graph) == [["a", "b", "c"]]
