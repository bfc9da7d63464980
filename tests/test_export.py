"""Networks as C files: they compile without a warning, and compute what `predict` does."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

import pycnn
from pycnn import (
    GRU,
    LSTM,
    AveragePool2D,
    BatchNorm,
    Bidirectional,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool1D,
    GlobalMaxPool2D,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    Rescale,
    Residual,
    SimpleRNN,
    TiedDense,
    Tokens,
    TransformerBlock,
    ZeroPadding2D,
    activations,
)
from pycnn.exceptions import DataError, ShapeError, UnknownNameError

EVERY = os.environ.get("PYCNN_EVERY_COMPILER", "") not in ("", "0")
SIMPLE = [name for name in activations.ACTIVATIONS if name != "softmax"]
NETWORKS = {
    "activations": lambda: Network(5, [*(Dense(7, name) for name in SIMPLE), Dense(4, "softmax")]),
    "norms": lambda: Network(
        6, [BatchNorm(), Dense(9, "tanh"), BatchNorm("relu"), LayerNorm("gelu"), Dense(2)]
    ),
    "images": lambda: Network(
        (12, 12, 2),
        [
            *(Conv2D(3, 3, "relu", padding="same"), MaxPool2D(2), ZeroPadding2D(1)),
            Conv2D(4, (3, 2), "tanh", strides=(2, 1), dilation=(1, 2), use_bias=False),
            *(BatchNorm("silu"), AveragePool2D(2, strides=1, padding="same"), LayerNorm()),
            *(Rescale(0.5, 1e-5), Residual([Conv2D(4, 3, padding="same", strides=1)])),
            *(Flatten(), Dense(3, "softmax")),
        ],
    ),
    "pools": lambda: Network(
        (6, 7, 3), [Conv2D(4, 3, padding="same", strides=2), GlobalMaxPool2D(), Dense(2)]
    ),
    "series": lambda: Network(
        (9, 3),
        [
            Conv1D(4, 3, "elu", padding="same", dilation=2),
            *(MaxPool1D(3, strides=2, padding="same"), GlobalAveragePool1D(), Dense(2)),
        ],
    ),
    "residual": lambda: Network(
        6,
        [
            Residual([Residual([Dense(6, "tanh"), Dropout(0.1)]), Dense(7)], shortcut=Dense(7)),
            Residual([Dropout(0.5)], activation="selu"),
            Residual([Dense(7, "tanh")], activation="softmax"),
        ],
    ),
    "recurrent": lambda: Network(
        (7, 3),
        [
            *(Dense(4, "relu"), LSTM(5, return_sequences=True), LayerNorm()),
            Residual([GRU(5, return_sequences=True)], shortcut=SimpleRNN(5, return_sequences=True)),
            *(SimpleRNN(3, "linear"), Dense(2, "softmax")),
        ],
    ),
    "all positions": lambda: Network((5, 2), [GRU(3, return_sequences=True), Dense(2, "softmax")]),
    "both ways": lambda: Network(
        (5, 3),
        [Bidirectional(LSTM(4, return_sequences=True)), Bidirectional(GRU(3), merge="sum")],
    ),
    "tokens": lambda: Network(Tokens(11, 6), [Embedding(4), GRU(4), TiedDense()]),
    "attention": lambda: Network(
        Tokens(11, 6),
        [
            *(Embedding(8), PositionEmbedding(), TransformerBlock(2, causal=True)),
            *(PositionEmbedding("sinusoidal"), MultiHeadAttention(4), Dense(11, "softmax")),
        ],
    ),
    "one number": lambda: Network(3, [Dense(1, "sigmoid")]),
    "nothing": lambda: Network((2, 3), [Dropout(0.1), Flatten()]),
    "any length": lambda: Network((None, 3), [LSTM(4, return_sequences=True), GRU(3), Dense(1)]),
}
STEPPING = {"all positions", "any length", "recurrent", "tokens"}


def varied(net, seed):
    """Return the network with all parameters and statistics drawn."""
    bits = np.random.default_rng(seed)
    net.parameters += 0.3 * bits.standard_normal(net.parameters.shape)
    net.statistics = 0.5 + bits.random(net.statistics.shape)
    return net


def rows_for(net, count, seed):
    shape = [8 if size is None else size for size in net.input_shape]
    bits = np.random.default_rng(seed)
    if isinstance(net.input_shape, Tokens):
        return bits.integers(net.input_shape.vocabulary, size=(count, *shape))
    return bits.standard_normal((count, *shape)).astype(np.float32).astype(np.float64)


STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wdouble-promotion"]
COMPILERS = [[name, "-std=c99"] for name in ("gcc", "clang") if shutil.which(name)]
COMPILERS += [["g++", "-x", "c++", "-std=c++11"]] if shutil.which("g++") else []
if not EVERY:  # gcc, or what there is; and what C++ says of it, once
    COMPILERS = COMPILERS[:1]
needs_compiler = pytest.mark.skipif(not COMPILERS, reason="no gcc and no clang here")


def compiled(compiler, folder, text, *options):
    """Compile a program, without any warning, and return what it prints, a list a line."""
    (folder / "main.c").write_text(text)
    program = str(folder / "main")
    command = [*compiler, "-O0", *STRICT, *options, "main.c", "-o", program, "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = subprocess.run([program], capture_output=True, check=True).stdout.decode()
    return [line.split(" ") for line in text.splitlines()]


def caller(inputs):
    """Return a program that prints each self-test's result, and what the network makes of rows."""
    calls = [
        f"""{{
        static const {name}_real x[] = {{ {", ".join(map(repr, X.ravel().tolist()))} }};
        {name}_real y[{name}_OUTPUTS];
        int r, i;
        printf("{name} %d", {name}_self_test());
        for (r = 0; r < {len(X)}; r++) {{
            {name}_predict(x + r * {name}_INPUTS, y);
            for (i = 0; i < {name}_OUTPUTS; i++) {{
                printf(" %.17g", (double)y[i]);
            }}
        }}
        printf("\\n");
    }}""".replace("nan", "NAN")
        for name, X in inputs.items()
    ]
    includes = "".join(f'#include "{name}.c"\n' for name in inputs)
    return f"#include <stdio.h>\n{includes}int main(void)\n{{\n{''.join(calls)}return 0;\n}}\n"


VARIANTS = [(d, w) for d in ("float32", "float64") for w in ("float", "int8")]


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS, ids=lambda compiler: compiler[0])
def test_all_layers_compute_what_predict_does(compiler, tmp_path):
    inputs, expected, stepping = {}, {}, set()
    for n, (what, make) in enumerate(NETWORKS.items()):
        for dtype, weights in VARIANTS if EVERY else [VARIANTS[n % 4]]:
            name = f"{what.replace(' ', '_')}_{dtype}_{weights}"
            net = varied(make(), n)
            small = net.export_c(tmp_path / f"{name}.c", name=name, dtype=dtype, weights=weights)
            if f"void {name}_step(" in (tmp_path / f"{name}.c").read_text():
                stepping.add(what)
            inputs[name] = rows_for(net, 2, n)
            expected[name] = small.predict(inputs[name]).reshape(2, -1)
    seen = {}
    for name, wrong, *numbers in compiled(compiler, tmp_path, caller(inputs)):
        assert wrong == "0", name
        seen[name] = np.array(numbers, dtype=np.float64).reshape(2, -1)
    assert seen.keys() == expected.keys()
    for name, y in expected.items():
        bound = 1e-12 if "float64" in name else 1e-5
        assert np.abs(seen[name] - y).max() <= bound * np.abs(y).max(), name
    assert stepping == STEPPING  # of which the self-test makes steps too
    for path in tmp_path.glob("any_length_*.c"):
        assert "sequences of 8 positions" in path.read_text()


def flowers():
    """Return a table of raw numbers and text with a gap, and what `Table` makes of it."""
    bits = np.random.default_rng(0)
    size = 1000 + 3 * bits.standard_normal(60)
    frame = {
        "size": [None, *size[1:].tolist()],
        "colour": ["red", "blue", 'a "green" ??/ */'] * 20,
        "kind": ["plum", "rose"] * 30,
    }
    table = pycnn.Table().fit(frame, "kind")
    return table, table.transform(frame), size


@needs_compiler
def test_columns_are_standardised_and_targets_brought_back_where_it_runs(tmp_path):
    pytest.importorskip("pandas")
    table, X, size = flowers()
    net = varied(Network(X.shape[1], [Dense(5, "tanh"), Dense(2)], backend="numpy"), 1)
    net.metadata["table"] = table.to_metadata()
    net.target_scale = [100.0, -3.0], [5.0, 0.5]
    net.export_c(tmp_path / "plums.c", name="plums", dtype="float64", self_test=X)
    text = (tmp_path / "plums.c").read_text()
    assert " * x: size, size missing, colour=" in text
    assert "NaN is what is missing" in text
    raw = X[:4].copy()
    raw[:, 0] = [np.nan, *size[1:4]]
    ((_, wrong, *numbers),) = compiled(COMPILERS[0], tmp_path, caller({"plums": raw}))
    assert wrong == "0"
    assert np.allclose(np.array(numbers, float).reshape(4, 2), net.predict(X[:4]), rtol=1e-12)


@needs_compiler
def test_hostile_names_of_classes_and_files_are_what_they_were(tmp_path):
    labels = ['say "hi"', "a\nb", "what??/", "\\", "*/ int x; /*", "Größe 模型", "\t%d\x00", ""]
    net = Network(3, [Dense(8, "softmax")], seed=0)
    net.classes = np.array(labels, dtype=object)
    net.feature_names = ["*/ x", "??/", "é\n"]
    net.export_c(tmp_path / "int.c", name="int", header=True)
    shown = "".join(
        f"fwrite(int_class_name[{n}], 1, {len(x.encode()) + 1}, stdout);"
        for n, x in enumerate(labels)
    )
    best = net.predict([[0.5, 1, 2]]).argmax()
    program = f"""#include "int.c"
#include <stdio.h>
int main(void)
{{
    const int_real x[] = {{ 0.5F, 1, 2 }};
    {shown}
    printf("\\n%d %d\\n", int_predict_class(x), int_self_test());
    return 0;
}}"""
    lines = compiled(COMPILERS[0], tmp_path, program, "-Wtrigraphs")
    assert "\n".join(" ".join(line) for line in lines[:-1]) == "\0".join([*labels, ""])
    assert lines[-1] == [str(best), "0"]
    assert "#ifndef int_H" in (tmp_path / "int.h").read_text()
    assert "typedef" not in (tmp_path / "int.c").read_text()


@pytest.mark.parametrize(
    "name", ["", "1st", "a-b", "_x", "a__b", "a_", "größe", "x;", None, "x" * 65]
)
def test_what_cannot_begin_names_in_c_is_refused(name, tmp_path):
    with pytest.raises(DataError, match="name must"):
        Network(3, [Dense(1)]).export_c(tmp_path / "model.c", name=name)
    assert not list(tmp_path.iterdir())


def test_wrong_settings_say_so_and_write_nothing(tmp_path):
    net, path = Network(3, [Dense(1)], seed=0), tmp_path / "model.c"
    with pytest.raises(UnknownNameError, match="dtype"):
        net.export_c(path, dtype="float16")
    with pytest.raises(UnknownNameError, match="weights"):
        net.export_c(path, weights="int4")
    with pytest.raises(ShapeError, match="self_test"):
        net.export_c(path, self_test=np.zeros((2, 4)))
    with pytest.raises(DataError, match="self_test"):
        net.export_c(path, self_test=-1)
    with pytest.raises(DataError, match=r"path must name .*model\.h"):
        net.export_c(tmp_path / "model.h", header=True)
    net.layers[0].W[0, 0] = 1e39
    with pytest.raises(DataError, match=r"layers\.1\.W must hold numbers that a float32 can hold"):
        net.export_c(path)
    assert not list(tmp_path.iterdir())
    net.export_c(path, dtype="float64", self_test=0)
    assert "self_test" not in path.read_text()


def test_a_layer_without_a_c_function_is_refused_by_its_name(tmp_path, monkeypatch):
    from pycnn._io import c_layers

    monkeypatch.delitem(c_layers.KINDS, "lstm")
    with pytest.raises(DataError, match=r"Residual\(\[LSTM\(3, .* cannot be written in C"):
        Network((4, 3), [Residual([LSTM(3, return_sequences=True)]), Flatten()]).export_c(
            tmp_path / "model.c"
        )


def test_int8_keeps_each_unit_to_a_hundredth(tmp_path):
    net = varied(Network(6, [Dense(9, "relu"), Dense(3, "softmax")], seed=0), 0)
    X = rows_for(net, 200, 1)
    small = net.export_c(tmp_path / "model.c", weights="int8", self_test=X)
    for own, layer in zip(small.layers, net.layers, strict=True):
        scale = np.abs(layer.W).max(axis=1, keepdims=True) / 127
        assert (np.abs(own.W - layer.W) <= 0.500001 * scale).all()
        assert np.allclose(own.b, layer.b, rtol=1e-7)
    same = (small.predict_classes(X) == net.predict_classes(X)).sum()
    assert f"own weights {same} times of 200" in (tmp_path / "model.c").read_text()


def test_classes_are_those_of_predict_classes(tmp_path):
    path = tmp_path / "model.c"
    one_hot = Network(3, [Dense(2)], seed=0)
    one_hot.fit(np.eye(3)[:2], [[1, 0], [0, 1]], epochs=1)
    for net, count in (
        (one_hot, 2),
        (Network(3, [Dense(1, "sigmoid")]), 2),
        (Network(3, [Dense(4, "softmax")]), 4),
        (Network(3, [Dense(4, "sigmoid")]), None),  # answers that do not depend on each other
        (Network(3, [Dense(2)]), None),
    ):
        net.export_c(path)
        found = re.search(r"#define model_CLASSES (\d+)", path.read_text())
        assert (None if found is None else int(found[1])) == count


def test_the_command_writes_a_file(tmp_path, succeed, fail):
    net = Network(4, [Dense(5, "tanh"), Dense(3, "softmax")], seed=0)
    net.save(tmp_path / "model")
    (tmp_path / "rows.csv").write_text("a,b,c,d\n1,2,3,4\n5,6,7,8\n")
    said = succeed(
        *("export", tmp_path / "model", tmp_path / "iris.c", "--name", "iris"),
        *("--weights", "int8", "--dtype", "float64", "--rows", tmp_path / "rows.csv", "--header"),
    )
    assert "76 bytes of constants" not in said
    assert "bytes of constants" in said
    assert re.search(r"times of 2$", said, re.MULTILINE)
    assert "typedef double iris_real;" in (tmp_path / "iris.h").read_text()
    assert "name must begin" in fail("export", tmp_path / "model", tmp_path / "x.c", "--name", "1")
    assert not (tmp_path / "x.c").exists()
