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
    assert X[0, 1] == 1
    raw[0, 1] = 0  # "size missing" is set where size is NaN
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


def test_numbers_that_a_type_has_no_room_for_are_nothing_or_refused(tmp_path):
    path = tmp_path / "model.c"
    for layer, what in (
        (Rescale(1e300), "rescale: 4 -> 4 .* larger"),
        (Rescale(1e-60), "rescale: 4 -> 4 .* smaller"),
        (LayerNorm(epsilon=1e-60), "layer_norm: 4 -> 4 .* smaller"),
    ):
        net = Network(4, [layer, Dense(3)], seed=0)
        with pytest.raises(DataError, match=f"{what} ones.*float64"):
            net.export_c(path)
        assert not path.exists()
    with pytest.raises(DataError, match="self_test must hold numbers that a float32 can hold"):
        Network(4, [Dense(3)]).export_c(path, self_test=np.full((1, 4), 1e39))
    net = Network(1, [Dense(1)])
    net.parameters[:] = 1e38
    with pytest.raises(DataError, match="self_test must have numbers that a float32 can hold"):
        net.export_c(path, self_test=[[10.0]])
    net = Network(1, [Dense(1)])
    net.target_scale = [1.0], [1e-60]
    with pytest.raises(DataError, match="the target's mean and deviation"):
        net.export_c(path)
    assert not path.exists()


@needs_compiler
def test_outputs_of_nearly_nothing_compile_and_test_themselves(tmp_path):
    sure = Network(4, [Dense(8, "tanh"), Dense(3, "softmax")], seed=0)
    sure.parameters *= 100
    small = Network(4, [Dense(4)], seed=0)
    small.parameters *= 1e-42
    sure.export_c(tmp_path / "sure.c", name="sure")
    small.export_c(tmp_path / "small.c", name="small")
    X = np.ones((1, 4))
    for line in compiled(COMPILERS[0], tmp_path, caller({"sure": X, "small": X})):
        assert line[1] == "0"


@needs_compiler
def test_the_self_test_of_targets_far_from_0_sees_wrong_weights(tmp_path):
    net = varied(Network(4, [Dense(8, "tanh"), Dense(1)], seed=0), 0)
    net.target_scale = [1e6], [1.0]
    net.export_c(tmp_path / "right.c", name="right", weights="int8")
    text = (tmp_path / "right.c").read_text().replace("right_", "wrong_")
    assert re.search(r"outputs: [1-9]\.\de-0[1-3] of what they differ by", " ".join(text.split()))
    wrong = re.sub(
        r"(_W_\w+\[\d+\] wrong_ROM = )\{[-\d,\s]+\}",
        lambda m: m[1] + "{" + ", ".join(["1"] * int(re.search(r"\[(\d+)", m[0])[1])) + "}",
        text,
    )
    (tmp_path / "wrong.c").write_text(wrong)
    X = np.ones((1, 4))
    lines = compiled(COMPILERS[0], tmp_path, caller({"right": X, "wrong": X}))
    assert [int(line[1]) > 0 for line in lines] == [False, True]


@needs_compiler
def test_features_far_from_0_keep_their_digits_in_float32(tmp_path):
    bits = np.random.default_rng(0)
    X = (1e5 + bits.standard_normal((20, 4))).astype(np.float32).astype(np.float64)
    net = varied(Network(4, [BatchNorm(), Dense(3, "tanh"), Dense(2)], seed=0), 0)
    net.statistics[:] = np.concatenate([X.mean(axis=0), X.var(axis=0)])
    small = net.export_c(tmp_path / "far.c", name="far", self_test=X)
    assert isinstance(small.layers[0], BatchNorm)
    ((_, wrong, *numbers),) = compiled(COMPILERS[0], tmp_path, caller({"far": X}))
    y = net.predict(X)
    assert wrong == "0"
    assert np.abs(np.array(numbers, float).reshape(20, 2) - y).max() <= 1e-5 * np.abs(y).max()
    assert isinstance(net.export_c(tmp_path / "d.c", dtype="float64").layers[0], Dense)


@needs_compiler
def test_what_is_too_large_for_a_stack_takes_memory_of_the_caller(tmp_path, monkeypatch):
    from pycnn._io import c_source

    net, path = Network(4, [Dense(70, "relu"), Dense(3, "softmax")], seed=0), tmp_path / "model.c"
    net.export_c(path)
    assert "(280 bytes, on the stack)" in path.read_text()
    monkeypatch.setattr(c_source, "MOST_STACK", 279)
    net.export_c(path)
    text = path.read_text()
    assert "(280 bytes, too many for the stack)" in text
    assert not re.search(r"model_(predict|predict_class|self_test)\(", text)
    program = """#include "model.c"
#include <stdio.h>
int main(void)
{
    static model_real scratch[model_SCRATCH];
    printf("%d\\n", model_self_test_in(scratch));
    return 0;
}"""
    assert compiled(COMPILERS[0], tmp_path, program) == [["0"]]


@needs_compiler
def test_a_file_for_which_nan_matters_is_not_compiled_without_it(tmp_path):
    pytest.importorskip("pandas")
    net = Network(2, [Dense(1)], seed=0)
    for fine in (True, False):
        if not fine:
            net.metadata["table"] = pycnn.Table().fit({"a": [1.0, 3.5], "b": [2, 3]}).to_metadata()
        net.export_c(tmp_path / "model.c")
        command = [*COMPILERS[0], "-ffast-math", "-fsyntax-only", "model.c"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is fine
        assert ("NaN is what is missing here" in done.stderr) is not fine


def test_what_dates_hold_is_said(tmp_path):
    pytest.importorskip("pandas")
    frame = {"day": ["2024-01-01", "2024-05-07", ""], "y": [1.0, 2.5, 3.5]}
    table = pycnn.Table(date=["day"], task="regression").fit(frame, "y")
    net = Network(len(table.names), [Dense(1)], seed=0)
    net.metadata["table"] = table.to_metadata()
    net.export_c(tmp_path / "model.c")
    text = " ".join((tmp_path / "model.c").read_text().split())
    assert '"days" are those since 1970-01-01' in text
    assert "model_in_flag[6] model_ROM = { 0, 0, 0, 0, 0, 5 }" in text


@pytest.mark.parametrize("rows", [[], [[1.0], [1.0, 2.0]], np.zeros(4), np.zeros((5, 0, 4))])
def test_rows_that_are_no_sequences_are_refused(rows, tmp_path):
    net = Network((None, 4), [LSTM(3), Dense(2)])
    with pytest.raises(ShapeError, match="self_test must"):
        net.export_c(tmp_path / "model.c", self_test=rows)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_leaves_no_header(tmp_path):
    net = Network(3, [Dense(1)])
    (tmp_path / "model.c").mkdir()
    with pytest.raises(OSError, match=r"model\.c"):
        net.export_c(tmp_path / "model.c", header=True)
    assert not (tmp_path / "model.h").exists()
    for header in (False, True):
        with pytest.raises(DataError, match=r"path must name a file of C such as model\.c, got ''"):
            net.export_c("", header=header)
