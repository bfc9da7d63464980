"""Layers as functions in C, for `pycnn._io.c_source`.

As a backend does, this reads a network as a tree of `LayerSpec`s with arrays, and a table has for
each kind a function that writes the C function of such a layer.

What is written goes through `Writer.add`: a name begins with ``$``, which the network's own name
replaces; a number is a ``real``, and functions of libm and literals become those of its type.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pycnn.backend.numpy.activation import TAIL
from pycnn.backend.numpy.embedding import waves
from pycnn.exceptions import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._typing import Array
    from pycnn.backend.numpy.layer import Layer

# f(z), and what they need that is not in every libm.
HELPERS = {
    "sigmoid": "const real e = exp(-fabs(z));\nreturn (z < 0 ? e : 1) / (1 + e);",
    "relu": "return z < 0 ? 0 : z;",
    "tanh": "return tanh(z);",
    "leaky_relu": "return z < 0 ? 0.01 * z : z;",
    "elu": "return z < 0 ? $expm1(z) : z;",
    "selu": "return z < 0 ? 1.7580993408473768 * $expm1(z) : 1.0507009873554805 * z;",
    "gelu": "const real x = fabs(z), t = x * $tail(x);\nreturn z < 0 ? -t : z - t;",
    "gelu_tanh": "return z * $sigmoid(z * (1.5957691216057308 + 0.07135481627260025 * z * z));",
    "silu": "return z * $sigmoid(z);",
    "softplus": "return (z > 0 ? z : 0) + $log1p(exp(-fabs(z)));",
    "softsign": "return z / (1 + fabs(z));",
    "hard_sigmoid": "return z < -3 ? 0 : z > 3 ? 1 : z / 6 + 0.5;",
    "hard_tanh": "return z < -1 ? -1 : z > 1 ? 1 : z;",
    # What rounding takes from e^z, or from 1 + z, it takes from the logarithm too (W. Kahan).
    "expm1": "const real u = exp(z);\nreturn u == 1 ? z : u < 0.25 ? u - 1 : (u - 1) * z / log(u);",
    "log1p": "const real u = 1 + z;\nreturn u == 1 ? z : log(u) * z / (u - 1);",
    # 1 - Phi(z) for z >= 0, by the polynomial that pycnn itself has.
    "tail": "const real t = (z - 5) / (z + 5);\nreal p = 0;\nsize_t i;\n"
    f"for (i = 0; i < {len(TAIL)}; i++) {{\n    p = p * t + $AT($tail_p, i);\n}}\n"
    "return exp(-0.5 * z * z) * (p / (z + 5));",
}
SOFTMAX = """
static void $softmax(real *y, size_t n)
{
    real most = y[0], sum = 0;
    size_t j;
    for (j = 1; j < n; j++) {
        most = y[j] > most ? y[j] : most;
    }
    for (j = 0; j < n; j++) {
        y[j] = exp(y[j] - most);
        sum += y[j];
    }
    for (j = 0; j < n; j++) {
        y[j] /= sum;
    }
}
"""
_LIBM = re.compile(r"(?<![\w$])(exp|log|sqrt|tanh|fabs)\(")
_LITERAL = re.compile(r"(?<![\w.])(\d+\.\d*(?:e[+-]?\d+)?)(?!\w)")


class Cell(NamedTuple):
    """What is known of a recurrent layer beside its function."""

    state: int  # numbers, h first
    reverse: bool
    sequences: bool


class Function(NamedTuple):
    """A layer's function in C, of (x, y), of two paths (x, h, y), or of a cell (x, h).

    Behind these are `scratch` numbers of memory, if any.
    """

    name: str
    rows: int  # it is called for each position of a sequence, or once
    inputs: int  # of a row
    outputs: int
    scratch: int = 0
    cell: Cell | None = None


def loop(index: str, count: int | str, *body: str, also: str = "") -> str:
    """Return a loop in C."""
    return f"for ({index} = 0; {index} < {count}; {index}++{also}) {{\n{indented(*body)}}}"


def indented(*parts: str) -> str:
    """Return lines one step further in."""
    return "".join(f"    {line}\n" for line in "\n".join(parts).splitlines() if line)


def quantized(W: Array, single: bool) -> tuple[Array, Array]:
    """Return whole numbers from -127 to 127 and the scale of each unit, by W's first axis."""
    scale = np.abs(W).reshape(len(W), -1).max(axis=1) / 127
    if single:
        scale = scale.astype(np.float32).astype(np.float64)
    scale[scale == 0] = 1.0
    q = np.rint(W / scale.reshape(-1, *(1,) * (W.ndim - 1)))
    return np.clip(q, -127.0, 127.0), scale


class Writer:
    """The text of a file as it grows: constants and functions, each once."""

    def __init__(self, name: str, single: bool, small: bool, theta: Array) -> None:
        self.name, self.single, self.small, self.theta = name, single, small, theta
        self.parts: list[str] = []
        self.bytes = 0  # of all constants
        self.owner = ""  # whose constants are written, for messages
        self._known: set[str] = set()
        self._functions: dict[int, Function | None] = {}

    def add(self, text: str) -> None:
        """Append C, with all names and types in full."""
        if self.single:
            text = _LITERAL.sub(r"\1f", _LIBM.sub(r"\1f(", text))
        self.parts.append(re.sub(r"\breal\b", "$real", text).replace("$", f"{self.name}_"))

    def layer(self, layer: Layer) -> Function | None:
        """Return the function of a layer, and let it be there; None: it changes nothing."""
        if id(layer) not in self._functions:
            tag = str(1 + len(self._functions))
            self.owner = _about(layer)
            self._functions[id(layer)] = KINDS[layer.spec.kind](self, layer, tag)
        return self._functions[id(layer)]

    def use(self, name: str) -> str:
        """Return the C name of a function of one number, and let it be there."""
        if name not in self._known:
            self._known.add(name)
            for other in re.findall(r"\$([a-z]\w*)\(", HELPERS[name]):
                self.use(other)
            if name == "tail":
                self.array("tail_p", np.array(TAIL))
            self.add(f"\nstatic real ${name}(real z)\n{{\n{indented(HELPERS[name])}}}\n")
        return f"${name}"

    def held(self, values: Array) -> Array:
        """Return constants as the file's type has them; those beyond it are refused."""
        if self.single:
            with np.errstate(over="ignore", under="ignore"):
                values = values.astype(np.float32).astype(np.float64)
        if not np.isfinite(values).all():
            raise self._beyond("larger")
        return values

    def number(self, value: float) -> str:
        """Return a number as a C literal, which `add` gives its type."""
        if value and not self.held(np.array([float(value)])).any():
            raise self._beyond("smaller")
        text = repr(float(value))
        return text if "." in text else text.replace("e", ".0e") if "e" in text else f"{text}.0"

    def _beyond(self, what: str) -> DataError:
        kind, other = ("float32", ': dtype="float64" may') if self.single else ("float64", "")
        return DataError(
            f"{self.owner} must have numbers that a {kind} can hold, got {what} ones{other}"
        )

    def array(self, name: str, values: Array, kind: str = "real") -> str:
        """Write constants, whose C name is returned."""
        flat, digits = values.ravel(), 9 if self.single else 17
        if kind == "real":
            flat = self.held(flat)
            texts = [f"{value:.{digits}g}" for value in flat.tolist()]
            texts = [t if "." in t or "e" in t else f"{t}.0" for t in texts]
            texts = [f"{t}f" for t in texts] if self.single else texts
        else:
            texts = [str(int(value)) for value in flat.tolist()]
        self.bytes += len(texts) * (1 if kind != "real" else 4 if self.single else 8)
        self.add(f"\nstatic const {kind} ${name}[{len(texts)}] $ROM = {{\n")
        rows = [", ".join(texts[i : i + 8]) for i in range(0, len(texts), 8)]
        self.parts.append("    " + ",\n    ".join(rows) + "\n};\n")
        return f"${name}"

    def weights(self, tag: str, W: Array) -> tuple[str, str]:
        """Write W as it is; return its element at an index ``@``, and the factor of unit ``#``."""
        if not self.small:
            return f"$AT({self.array(f'W_{tag}', W)}, @)", ""
        q, scale = quantized(W, self.single)
        at = f"$AT8({self.array(f'W_{tag}', q, 'int8_t')}, @)"
        return at, f"$AT({self.array(f's_{tag}', scale)}, #) * "

    def sums(self, tag: str, W: Array, b: Array | None) -> tuple[str, str, str]:
        """Write W, [inputs...][unit], and b; return y[j] at first, W's element, and y[j]'s end."""
        bias = "0" if b is None else f"$AT({self.array(f'b_{tag}', b)}, j)"
        if not self.small:
            return f"y[j] = {bias};", f"$AT({self.array(f'W_{tag}', np.moveaxis(W, 0, -1))}, @)", ""
        q, scale = quantized(W, self.single)
        at = f"$AT8({self.array(f'W_{tag}', np.moveaxis(q, 0, -1), 'int8_t')}, @)"
        return "y[j] = 0;", at, f"y[j] = $AT({self.array(f's_{tag}', scale)}, j) * y[j] + {bias};"

    def function(self, name: str, about: str, *body: str, of: str = "x y") -> str:
        """Write a function over arrays, whose C name is returned: x, or x and h, become y."""
        kept = "x h" if "y" in of else "x"
        args = [f"{'const ' if array in kept else ''}real *{array}" for array in of.split()]
        text = "\n".join(body)
        indices = sorted(set(re.findall(r"\bfor \((\w) = ", text)))
        declared = f"size_t {', '.join(indices)};" if indices else ""
        self.add(
            f"\n/* {about} */\nstatic void ${name}({', '.join(args)})\n"
            f"{{\n{indented(declared, text)}}}\n"
        )
        return f"${name}"

    def activated(self, name: str, units: int) -> str:
        """Return what makes f(y) of y, a row of units."""
        if name == "linear":
            return ""
        if name != "softmax":
            return loop("j", units, f"y[j] = {self.use(name)}(y[j]);")
        if name not in self._known:
            self._known.add(name)
            self.add(SOFTMAX)
        return f"$softmax(y, {units});"

    def product(self, name: str, about: str, W: Array, b: Array | None, f: str = "linear") -> str:
        """Write the function y = f(W x + b), whose C name is returned."""
        units, inputs = W.shape
        begin, at, end = self.sums(name.removeprefix("layer_"), W, b)
        add = loop("j", units, f"y[j] += a * {at.replace('@', f'i * {units} + j')};")
        return self.function(
            name,
            about,
            loop("j", units, begin),
            loop("i", inputs, "const real a = x[i];", add),
            loop("j", units, end) if end else "",
            self.activated(f, units),
        )


# ------------------------------------------------------------------ what layers share


def _about(layer: Layer) -> str:
    """Return what stands above a layer's function."""
    spec = layer.spec
    kind = spec.kind if spec.activation == "linear" else f"{spec.kind}, {spec.activation}"
    shapes = ("x".join(map(str, shape)) for shape in (spec.input_shape, spec.output_shape))
    return f"{kind}: {' -> '.join(shapes)}"


def _rows(layer: Layer) -> int:
    """Return the positions of a sequence; 1 of other samples."""
    shape = layer.spec.input_shape
    return shape[0] if len(shape) == 2 else 1


def _function(w: Writer, layer: Layer, tag: str, *body: str) -> Function:
    """Write a layer that does the same with each position of a sequence, or once with a sample."""
    rows, name = _rows(layer), w.function(f"layer_{tag}", _about(layer), *body)
    return Function(
        name,
        rows,
        math.prod(layer.spec.input_shape) // rows,
        math.prod(layer.spec.output_shape) // rows,
    )


def _each(w: Writer, layer: Layer, tag: str, *body: str) -> Function:
    """Write a layer that does the same at each position of an image too, over its channels."""
    channels = layer.spec.input_shape[-1]
    count = math.prod(layer.spec.input_shape) // channels // _rows(layer)
    own = "\n".join([*body, w.activated(layer.spec.activation, channels)])
    if count > 1:
        own = loop("r", count, own, also=f", x += {channels}, y += {channels}")
    return _function(w, layer, tag, own)


def _whole(w: Writer, layer: Layer, tag: str, *body: str, of: str = "x y") -> Function:
    """Write a layer that needs all positions at once."""
    name = w.function(f"layer_{tag}", _about(layer), *body, of=of)
    return Function(name, 0, math.prod(layer.spec.input_shape), math.prod(layer.spec.output_shape))


def _windows(layer: Layer, begin: str, body: str, end: str) -> str:
    """Return what goes over all windows of an image, and in each over what it sees, at `in`."""
    spec, setting = layer.spec, layer.spec.settings
    channels, features = setting["shape"][2], spec.output_shape[-1]
    counts = (1, 1, *spec.output_shape[:-1])[-2:] if len(spec.output_shape) > 1 else (1, 1)
    found, tests, places = [], [], []
    for axis, (place, tap, at) in enumerate([("r", "k", "u"), ("c", "l", "v")]):
        n, count = setting["shape"][axis], counts[axis]
        size, stride, apart = (setting[name][axis] for name in ("kernel", "strides", "dilation"))
        covered = (count - 1) * stride + (size - 1) * apart + 1
        before = max(covered - n, 0) // 2 if setting["padding"] == "same" else 0
        found.append(f"const size_t {at} = {place} * {stride} + {tap} * {apart};")
        outside = [f"{at} < {before}"] if before else []
        outside += [f"{at} >= {before + n}"] if covered > before + n else []
        tests.append(f"if ({' || '.join(outside)}) {{\n    continue;\n}}" if outside else "")
        places.append(f"({at} - {before})" if before else at)
    here = f"const real *in = x + ({places[0]} * {setting['shape'][1]} + {places[1]}) * {channels};"
    rows, columns = setting["kernel"]
    window = loop("k", rows, found[0], tests[0], loop("l", columns, found[1], tests[1], here, body))
    return loop("r", counts[0], loop("c", counts[1], begin, window, end, also=f", y += {features}"))


# ------------------------------------------------------------------ the kinds


def _identity(w: Writer, layer: Layer, tag: str) -> None:
    """Write nothing: dropout, another shape."""


def _dense(w: Writer, layer: Layer, tag: str) -> Function:
    W, b = layer.parameters(w.theta)
    name = w.product(f"layer_{tag}", _about(layer), W, b, layer.spec.activation)
    return Function(name, _rows(layer), W.shape[1], len(W))


def _rescale(w: Writer, layer: Layer, tag: str) -> Function:
    scale, offset = (w.number(layer.setting(name)) for name in ("scale", "offset"))
    count = math.prod(layer.spec.input_shape) // _rows(layer)
    return _function(w, layer, tag, loop("j", count, f"y[j] = {scale} * x[j] + {offset};"))


def _batch_norm(w: Writer, layer: Layer, tag: str) -> Function:
    (gamma, beta), (mean, variance) = layer.parameters(w.theta), layer.statistics(w.theta)
    factor = gamma / np.sqrt(variance + layer.setting("epsilon"))
    m, f, b = (w.array(f"{n}_{tag}", v) for n, v in (("m", mean), ("f", factor), ("b", beta)))
    body = f"y[j] = (x[j] - $AT({m}, j)) * $AT({f}, j) + $AT({b}, j);"
    return _each(w, layer, tag, loop("j", len(mean), body))


def _layer_norm(w: Writer, layer: Layer, tag: str) -> Function:
    gamma, beta = layer.parameters(w.theta)
    f, b = w.array(f"f_{tag}", gamma), w.array(f"b_{tag}", beta)
    n = len(gamma)
    return _each(
        w,
        layer,
        tag,
        "real mean = 0, sum = 0, inverse;",
        loop("j", n, "mean += x[j];"),
        f"mean /= {n};",
        loop("j", n, "sum += (x[j] - mean) * (x[j] - mean);"),
        f"inverse = 1 / sqrt(sum / {n} + {w.number(layer.setting('epsilon'))});",
        loop("j", n, f"y[j] = (x[j] - mean) * inverse * $AT({f}, j) + $AT({b}, j);"),
    )


def _convolution(w: Writer, layer: Layer, tag: str) -> Function:
    W, *b = layer.parameters(w.theta)
    units, channels = len(W), W.shape[-1]
    W = W.reshape(units, *layer.spec.settings["kernel"], channels)
    begin, at, end = w.sums(tag, W, b[0] if b else None)
    index = f"((k * {W.shape[2]} + l) * {channels} + i) * {units} + j"
    add = loop("j", units, f"y[j] += a * {at.replace('@', index)};")
    ended = loop("j", units, end) if end else ""
    return _whole(
        w,
        layer,
        tag,
        _windows(
            layer,
            loop("j", units, begin),
            loop("i", channels, "const real a = in[i];", add),
            "\n".join([ended, w.activated(layer.spec.activation, units)]),
        ),
    )


def _max_pool(w: Writer, layer: Layer, tag: str) -> Function:
    channels = layer.spec.output_shape[-1]
    take = loop("j", channels, "y[j] = n == 0 || in[j] > y[j] ? in[j] : y[j];")
    return _whole(w, layer, tag, _windows(layer, "size_t n = 0;", f"{take}\nn++;", ""))


def _average_pool(w: Writer, layer: Layer, tag: str) -> Function:
    channels = layer.spec.output_shape[-1]
    take = loop("j", channels, "y[j] = n == 0 ? in[j] : y[j] + in[j];")
    mean = loop("j", channels, "y[j] /= (real)n;")
    return _whole(w, layer, tag, _windows(layer, "size_t n = 0;", f"{take}\nn++;", mean))


def _zero_padding(w: Writer, layer: Layer, tag: str) -> Function:
    rows, columns, channels = layer.spec.input_shape
    above, _, left, _ = layer.spec.settings["margins"]
    row = layer.spec.output_shape[1] * channels
    to, given = f"y + (r + {above}) * {row} + {left * channels}", columns * channels
    return _whole(
        w,
        layer,
        tag,
        f"memset(y, 0, {math.prod(layer.spec.output_shape)} * sizeof(real));",
        loop("r", rows, f"memcpy({to}, x + r * {given}, {given} * sizeof(real));"),
    )


def _residual(w: Writer, layer: Layer, tag: str) -> Function:
    shape = layer.spec.output_shape
    units = math.prod(shape) // (shape[0] if len(shape) == 2 else 1)
    add = loop("j", units, "y[j] = x[j] + h[j];")
    body = add, w.activated(layer.spec.activation, units)
    name = w.function(f"layer_{tag}", _about(layer), *body, of="x h y")
    return Function(name, math.prod(shape) // units, units, units)


def _concatenate(w: Writer, layer: Layer, tag: str) -> Function:
    half = layer.spec.output_shape[-1] // 2
    body = loop("j", half, "y[j] = x[j];", f"y[{half} + j] = h[j];")
    name = w.function(f"layer_{tag}", _about(layer), body, of="x h y")
    return Function(name, math.prod(layer.spec.output_shape[:-1]), half, 2 * half)


# The steps of h[j] and of an LSTM's c, from $0 = W x + b and %0 = U h of each gate.
_CELLS = {
    "simple_rnn": ["h[j] = ACTIVATION($0 + %0);"],
    "lstm": [
        "const real i = $sigmoid($0 + %0), f = $sigmoid($1 + %1);",
        "const real g = tanh($2 + %2), o = $sigmoid($3 + %3);",
        "h[#1 + j] = f * h[#1 + j] + i * g;",
        "h[j] = o * tanh(h[#1 + j]);",
    ],
    "gru": [
        "const real r = $sigmoid($0 + %0), u = $sigmoid($1 + %1);",
        "const real n = tanh($2 + r * %2);",
        "h[j] = (1 - u) * n + u * h[j];",
    ],
}


def _recurrent(w: Writer, layer: Layer, tag: str) -> Function:
    W, U, b, *b_n = layer.parameters(w.theta)
    (rows, units), spec, about = U.shape, layer.spec, _about(layer)
    b_q = np.concatenate([np.zeros(rows - units), *b_n]) if b_n else None
    from_x = w.product(f"x_{tag}", f"W x + b of {about}", W, b)
    from_h = w.product(f"h_{tag}", f"U h of {about}", U, b_q)
    f = spec.settings.get("activation", "sigmoid")
    text = "\n".join(_CELLS[spec.kind]).replace("ACTIVATION", "" if f == "linear" else w.use(f))
    for sign, start in (("$", 0), ("%", rows), ("#", None)):
        for gate in range(4):
            at = gate * units if start is None else f"s[{start + gate * units} + j]"
            text = text.replace(f"{sign}{gate}", str(at))
    calls = f"{from_x}(x, s);\n{from_h}(h, s + {rows});"
    name = w.function(f"layer_{tag}", about, calls, loop("j", units, text), of="x h s")
    state = 2 * units if spec.kind == "lstm" else units
    reverse, sequences = (bool(layer.setting(n)) for n in ("reverse", "return_sequences"))
    positions, features = spec.input_shape
    cell = Cell(state, reverse, sequences)
    return Function(name, positions, features, units, 2 * rows, cell)


def _embedding(w: Writer, layer: Layer, tag: str) -> Function:
    (W,) = layer.parameters(w.theta)
    vocabulary, units = W.shape
    at, factor = w.weights("tokens", W)
    name = w.function(
        f"layer_{tag}",
        _about(layer),
        f"const size_t k = x[0] > 0 && x[0] < {vocabulary} ? (size_t)x[0] : 0;",
        loop(
            "j", units, f"y[j] = {factor}{at};".replace("@", f"k * {units} + j").replace("#", "k")
        ),
    )
    return Function(name, layer.spec.input_shape[0], 1, units)


def _tied_dense(w: Writer, layer: Layer, tag: str) -> Function:
    (b,) = layer.parameters(w.theta)
    units = layer.spec.input_shape[-1]
    at, factor = ("$AT8", "$AT($s_tokens, j) * ") if w.small else ("$AT", "")
    body = loop(
        "j",
        len(b),
        "real sum = 0;",
        loop("i", units, f"sum += {at}($W_tokens, j * {units} + i) * x[i];"),
        f"y[j] = {factor}sum + $AT({w.array(f'b_{tag}', b)}, j);",
    )
    return _function(w, layer, tag, body, w.activated(layer.spec.activation, len(b)))


def _position_embedding(w: Writer, layer: Layer, tag: str) -> Function:
    shape = layer.spec.input_shape
    W = (layer.parameters(w.theta) or [waves(*shape)])[0]
    body = f"y[j] = x[j] + $AT({w.array(f'W_{tag}', W)}, j);"
    return _whole(w, layer, tag, loop("j", math.prod(shape), body))


def _attention(w: Writer, layer: Layer, tag: str) -> Function:
    *W, b_query, b_key, b_value, b_output = layer.parameters(w.theta)
    length, features = layer.spec.input_shape
    heads, numbers = int(layer.setting("heads")), length * features
    size = features // heads
    query, key, value, output = (
        w.product(f"{role}_{tag}", f"{role} of {_about(layer)}", own, b)
        for role, own, b in zip(
            ("query", "key", "value", "output"), W, (b_query, b_key, b_value, b_output), strict=True
        )
    )
    w.activated("softmax", 1)
    seen = "t + 1" if layer.setting("causal") else str(length)
    at, scale = f"{features} + k * {size}", w.number(size**-0.5)
    head = loop(
        "k",
        heads,
        loop(
            "i",
            seen,
            "p[i] = 0;",
            loop("j", size, f"p[i] += q[t * {at} + j] * q[{numbers} + i * {at} + j];"),
            f"p[i] *= {scale};",
        ),
        f"$softmax(p, {seen});",
        # The query has served its turn: what the head takes stands in its place.
        f"memset(q + t * {at}, 0, {size} * sizeof(real));",
        loop(
            "i",
            seen,
            loop("j", size, f"q[t * {at} + j] += p[i] * q[{2 * numbers} + i * {at} + j];"),
        ),
    )
    step = f"t * {features}"
    return _whole(
        w,
        layer,
        tag,
        f"real *q = s, *p = s + {3 * numbers};",
        loop(
            "t",
            length,
            f"{query}(x + {step}, q + {step});",
            f"{key}(x + {step}, q + {numbers} + {step});",
            f"{value}(x + {step}, q + {2 * numbers} + {step});",
        ),
        loop("t", length, head, f"{output}(q + {step}, y + {step});"),
        of="x y s",
    )._replace(scratch=3 * numbers + length)


KINDS: dict[str, Callable[[Writer, Layer, str], Function | None]] = {
    "dense": _dense,
    "dropout": _identity,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "residual": _residual,
    "reshape": _identity,
    "rescale": _rescale,
    "convolution": _convolution,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "zero_padding": _zero_padding,
    "simple_rnn": _recurrent,
    "lstm": _recurrent,
    "gru": _recurrent,
    "concatenate": _concatenate,
    "embedding": _embedding,
    "position_embedding": _position_embedding,
    "attention": _attention,
    "tied_dense": _tied_dense,
}
