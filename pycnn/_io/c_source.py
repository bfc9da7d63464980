"""A network as one C file: `Network.export_c`.

`c_layers` writes the layers' functions. Here is the way through them, which is written once for
whole samples and once for a step of a sequence, and what a program sees of the file.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn import losses
from pycnn._checks import check_bool, check_choice, check_size, find_not_finite
from pycnn._data.arrays import as_array
from pycnn._data.sources import LazyTable, as_table
from pycnn._data.tokens import Tokens, plain_inputs
from pycnn._files import write_whole
from pycnn._folding import folded
from pycnn._io.c_layers import KINDS, Cell, Function, Writer, indented, loop, quantized
from pycnn._table.columns import DateColumn, TextColumn
from pycnn._version import __version__
from pycnn.backend.numpy.plan import create_plan
from pycnn.exceptions import DataError, ShapeError
from pycnn.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeVar

    from pycnn._model import Model
    from pycnn._table.columns import Column
    from pycnn._typing import Array
    from pycnn.backend.numpy.layer import Layer

    AnyModel = TypeVar("AnyModel", bound=Model)

DTYPES, WEIGHTS = ("float32", "float64"), ("float", "int8")
# Bytes that a function may have on its stack: Windows gives a thread 1 MB.
MOST_STACK = 512 << 10
_NAME = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*")
_TOP = """\
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Constants stay in the flash memory of an AVR, which has instructions of its own to read it. */
#ifdef __AVR__
#include <avr/pgmspace.h>
#define $ROM PROGMEM
#define $AT(array, i) (($real)pgm_read_float((array) + (i)))
#define $AT8(array, i) ((int8_t)pgm_read_byte((array) + (i)))
#else
#define $ROM
#define $AT(array, i) ((array)[i])
#define $AT8(array, i) ((array)[i])
#endif
"""
# A compiler that is told that there is no NaN takes x == x for true.
_NAN = """
#if defined(_M_FP_FAST) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "NaN is what is missing here: compile without -ffast-math, -ffinite-math-only, /fp:fast"
#endif
"""
_TEST = """
int $self_test_in(real *s)
{
    int wrong = 0, bad;
    real y[$OUTPUTS];
VARIABLES    for (r = 0; r < ROWS; r++) {
#ifdef __AVR__
        real x[$INPUTS];
        for (i = 0; i < $INPUTS; i++) {
            x[i] = $AT($test_x, r * $INPUTS + i);
        }
#else
        const real *x = $test_x + r * $INPUTS;
#endif
        bad = 0;
CALLS        wrong += bad;
    }
    return wrong;
}
"""
_TEST_ON_STACK = """
int $self_test(void)
{
    real s[$SCRATCH];
    return $self_test_in(s);
}
"""
_HEADER = """\
#ifndef $H
#define $H
#ifdef __cplusplus
extern "C" {
#endif

DECLARATIONS
#ifdef __cplusplus
}
#endif
#endif
"""
_PREDICT = """
void $predict(const real *x, real *y)
{
    real s[$SCRATCH];
    $predict_in(x, y, s);
}
"""
_PREDICT_CLASS = """
int $predict_class(const real *x)
{
    real y[$OUTPUTS];
    $predict(x, y);
    return $class_of(y);
}
"""
_COMPARE = """\
for (i = 0; i < $OUTPUTS; i++) {
    bad |= !(fabs(y[i] - $AT($test_y, r * $OUTPUTS + i)) <= $TOLERANCE);
}"""


class Value(NamedTuple):
    """Numbers on their way: where they are, how many, and their place in the scratch memory."""

    at: str
    size: int
    place: int | None = None


class Memory:
    """Places in an array, taken and given back while text is written, not while it runs."""

    def __init__(self, name: str) -> None:
        self.name, self.size = name, 0
        self._taken: dict[int, int] = {}

    def take(self, size: int) -> Value:
        """Return the first place that is free."""
        place = 0
        for start in sorted(self._taken):
            if place + size <= start:
                break
            place = start + self._taken[start]
        self._taken[place] = size
        self.size = max(self.size, place + size)
        return Value(f"{self.name} + {place}" if place else self.name, size, place)

    def give(self, value: Value) -> None:
        """Let others have the place, if the value has one."""
        if value.place is not None:
            del self._taken[value.place]


class NoStepError(Exception):
    """A layer needs more of a sequence than one position."""


class Way:
    """The statements that take a sample through the layers or, with `step`, a position."""

    def __init__(self, writer: Writer, memory: Memory, step: bool) -> None:
        self.writer, self.memory, self.step = writer, memory, step
        self.lines: list[str] = []
        self.states: dict[int, Value] = {}  # of a step: they are nobody else's, ever

    def keep_states(self, layers: Iterable[Layer]) -> bool:
        """Reserve the states of all recurrent layers; tell whether there are any."""
        for layer in layers:
            for leaf in layer.leaves():
                function = self.writer.layer(leaf)
                if function is not None and function.cell is not None:
                    state = self.memory.take(function.cell.state)
                    self.states[id(leaf)] = state._replace(size=function.outputs, place=None)
        return bool(self.states)

    def through(self, layers: Iterable[Layer], value: Value, last: Value | None = None) -> Value:
        """Go through layers on top of each other, and if possible end in `last`."""
        todo, first = [layer for layer in layers if not self._is_nothing(layer)], value
        for layer in todo:
            after = self._one(layer, value, last if layer is todo[-1] else None)
            if value not in (first, after):
                self.memory.give(value)
            value = after
        return value

    def call(self, function: Function, paths: Sequence[Value], last: Value | None = None) -> Value:
        """Call the function of a layer, at each position where there are several."""
        if self.step and not function.rows:
            raise NoStepError
        rows = 1 if self.step else max(function.rows, 1)
        after = last or self.memory.take(rows * function.outputs)
        scratch = [self.memory.take(function.scratch)] if function.scratch else []
        sizes = [function.inputs] * len(paths) + [function.outputs]
        args = [
            value.at if rows == 1 else f"{value.at} + t * {size}"
            for value, size in zip([*paths, after], sizes, strict=True)
        ]
        call = f"{function.name}({', '.join([*args, *(own.at for own in scratch)])});"
        self.lines.append(call if rows == 1 else loop("t", rows, call))
        for own in scratch:
            self.memory.give(own)
        return after._replace(size=rows * function.outputs)

    def _is_nothing(self, layer: Layer) -> bool:
        if layer.spec.kind == "stack" or self.writer.layer(layer) is not None:
            return False
        if self.step and layer.spec.kind == "reshape":
            raise NoStepError
        return True

    def _one(self, layer: Layer, value: Value, last: Value | None) -> Value:
        if layer.spec.kind == "stack":
            return self.through(layer.inner, value, last)
        function = self.writer.layer(layer)
        assert function is not None
        if function.cell is not None:
            return self._recurrent(layer, function, function.cell, value, last)
        if not layer.inner:
            return self.call(function, [value], last)
        step = self.step
        inner = self.through(layer.inner, value)
        self.step = step
        paths = [inner, self.through(layer.shortcut, value)]
        after = self.call(function, paths, last)
        for path in paths:
            if path != value:
                self.memory.give(path)
        return after

    def _recurrent(
        self, layer: Layer, function: Function, cell: Cell, value: Value, last: Value | None
    ) -> Value:
        """Go through all positions with a state, or let the state see one more."""
        scratch = self.memory.take(function.scratch)
        if self.step:
            if cell.reverse:
                raise NoStepError
            self.step, h = cell.sequences, self.states[id(layer)]
            self.lines.append(f"{function.name}({value.at}, {h.at}, {scratch.at});")
            self.memory.give(scratch)
            return h
        state = self.memory.take(cell.state)
        h = state._replace(size=function.outputs)
        self.lines.append(f"memset({state.at}, 0, {cell.state} * sizeof(real));")
        t = f"({function.rows - 1} - t)" if cell.reverse else "t"
        see = f"{function.name}({value.at} + {t} * {function.inputs}, {state.at}, {scratch.at});"
        after = h
        if cell.sequences:
            size = function.rows * h.size
            after = (last or self.memory.take(size))._replace(size=size)
            see += f"\nmemcpy({after.at} + {t} * {h.size}, {h.at}, {h.size} * sizeof(real));"
            self.memory.give(state)
        self.lines.append(loop("t", function.rows, see))
        self.memory.give(scratch)
        return after


# ------------------------------------------------------------------ what a network is beside


class Units(NamedTuple):
    """A program's numbers are ``scale * own + mean`` of the network's own, by the last axis."""

    mean: Array
    scale: Array

    def inside(self, numbers: Array) -> Array:
        """Return what a network reads, or gives."""
        return (numbers - self.mean) / self.scale

    def outside(self, numbers: Array) -> Array:
        """Return what a program hands in, or gets."""
        return numbers * self.scale + self.mean

    @property
    def are_plain(self) -> bool:
        """Whether there is nothing to do."""
        return not self.mean.any() and bool((self.scale == 1).all())


def units_of(network: Model) -> tuple[Units, Units]:
    """Return those of inputs, by the table that the model keeps, and those of outputs."""
    n, m = network.input_shape[-1], network.output_shape[-1]
    inputs, outputs = (Units(np.zeros(size), np.ones(size)) for size in (n, m))
    if "table" in network.metadata:
        table, at = Table.from_metadata(network.metadata["table"], n), 0
        for column in table.columns:  # what is standardised of one is its first input
            inputs.mean[at] = getattr(column, "mean", 0.0)
            inputs.scale[at] = getattr(column, "scale", 1.0)
            at += len(column.names)
        if table.target is not None:
            outputs.mean[:], outputs.scale[:] = table.target.mean, table.target.scale
    if network.encoder.scale is not None:
        mean, deviation = network.encoder.scale
        outputs.mean[:] += outputs.scale * mean
        outputs.scale[:] *= deviation
    return inputs, outputs


def columns_of(network: Model) -> Sequence[Column]:
    """Return the columns that the network reads, if it keeps a table."""
    kept = network.metadata.get("table")
    return [] if kept is None else Table.from_metadata(kept, network.input_shape[-1]).columns


def flags_of(network: Model) -> Array:
    """Return how far in front of an input that says "was missing" its column begins; else 0."""
    flags, at = np.zeros(network.input_shape[-1]), 0
    for column in columns_of(network):
        at += len(column.names)
        if column.missing and not isinstance(column, TextColumn):  # there: a category
            flags[at - 1] = len(column.names) - 1
    return flags


def labels_of(network: Model) -> list[str] | None:
    """Return the names of the classes that outputs choose from, if any."""
    encoder, classes = network.encoder, network.classes
    if not encoder.has_classes or encoder.is_multi_label:
        return None
    return list(map(str, range(max(2, encoder.units)) if classes is None else classes.tolist()))


def rounded(network: AnyModel, single: bool, small: bool) -> AnyModel:
    """Return the network with its weights as the file has them."""
    theta = network.with_theta(np.copy)
    for tensor in network.architecture.tensors:
        view = tensor.view(theta)
        if small and tensor.role == "weight":
            q, scale = quantized(view, single)
            view[:] = q * scale.reshape(-1, *(1,) * (view.ndim - 1))
        elif single:
            with np.errstate(over="ignore"):
                view[:] = view.astype(np.float32)
        if not np.isfinite(view).all():
            raise DataError(
                f"{tensor.full_name} must hold numbers that "
                f"{'a float32 can hold' if single else 'are finite'}, to be written in C"
            )
    return type(network).from_state(network.__getstate__() | {"parameters": theta})


# ------------------------------------------------------------------ text


def comment(text: str) -> str:
    """Return a text as it may stand in a comment, whatever is in it."""
    plain = text.encode("ascii", "backslashreplace").decode()
    for sign in ("*/", "/*", "??"):
        plain = plain.replace(sign, " ".join(sign))
    return " ".join(plain.split()).rstrip("\\")


def string(text: str) -> str:
    """Return a text as a C string, whatever is in it: UTF-8, and in octal what is not plain."""
    safe = {*range(32, 127)} - {*b'"\\?'}
    data = text.encode("utf-8", "surrogatepass")
    return '"' + "".join(chr(b) if b in safe else f"\\{b:03o}" for b in data) + '"'


class File:
    """The C file of a network, whose weights are `rounded` already."""

    def __init__(self, network: Model, name: str, single: bool, small: bool) -> None:
        self.network = network
        self.writer = Writer(name, single, small, network.theta)
        inputs, outputs = units_of(network)
        self.inputs = self._held("a column's mean and deviation", inputs)
        self.outputs = self._held("the target's mean and deviation", outputs)
        self.labels = labels_of(network)
        self.layers = create_plan(network.architecture.specs, network.loss).layers
        for own, layer in zip(network.layers, self.layers, strict=True):
            if not {leaf.spec.kind for leaf in (layer, *layer.leaves())} <= {*KINDS, "stack"}:
                raise DataError(f"{own!r} cannot be written in C")
        self.into = self._unit_in(flags_of(network))
        text = "y[j] = x[j] * $AT({1}, j) + $AT({0}, j);"
        self.back = self._unit("out", "outputs in their own unit", self.outputs, text)
        self.scratch = self._way(False)
        try:
            self.state = self._way(True)
        except NoStepError:
            self.state = 0

    def _held(self, owner: str, units: Units) -> Units:
        """Return units as the file has them."""
        self.writer.owner = owner
        for scale in units.scale.tolist():
            self.writer.number(scale)  # what would be 0 is refused
        return Units(*map(self.writer.held, units))

    @property
    def stack(self) -> int:
        """The bytes of what `predict` has on its stack."""
        return self.scratch * (4 if self.writer.single else 8)

    @property
    def on_stack(self) -> bool:
        """Whether there are functions that have what lies between the layers on their stack."""
        return self.stack <= MOST_STACK

    def _unit_in(self, flags: Array) -> str:
        """Write the function that makes inputs of what a program measures."""
        about, flagged = "what is NaN is missing", bool(flags.any())
        body = ["y[j] = x[j] == x[j] ? (x[j] - $AT({}, j)) / $AT({}, j) : 0;"]
        if not flagged and self.inputs.are_plain:
            return ""
        self.writer.add(_NAN)
        if flagged:
            back = self.writer.array("in_flag", flags, "int8_t")
            body.insert(0, f"const size_t back = (size_t)$AT8({back}, j);")
            body.append("if (back > 0 && !(x[j - back] == x[j - back])) {{\n    y[j] = 1;\n}}")
            about += ", and the column's input that says so is 1"
        return self._unit("in", about, self.inputs, "\n".join(body), flagged)

    def _unit(self, tag: str, about: str, units: Units, body: str, always: bool = False) -> str:
        """Write the function that changes the unit, and return its name; "": there is none."""
        if units.are_plain and not always:
            return ""
        arrays = [self.writer.array(f"{tag}_{n}", v) for n, v in units._asdict().items()]
        text = loop("j", len(units.mean), body.format(*arrays))
        return self.writer.function(f"unit_{tag}", about, text)

    def _way(self, step: bool) -> int:
        """Write what predicts, or makes a step; return the memory that it takes."""
        network, memory = self.network, Memory("state" if step else "s")
        shape, units = network.input_shape, network.output_shape[-1]
        if step and len(shape) != 2 and not isinstance(shape, Tokens):
            return 0
        way = Way(self.writer, memory, step)
        if step and not way.keep_states(self.layers):
            return 0
        value, y = Value("x", math.prod(shape[step:])), Value("y", network.outputs)
        if self.into:
            rows, n = math.prod(shape[:-1]), shape[-1]
            value = way.call(Function(self.into, rows, n, n), [value])
        value = way.through(self.layers, value, y)
        if value.at != "y":
            way.lines.append(f"memcpy(y, {value.at}, {value.size} * sizeof(real));")
        if self.back:
            rows = math.prod(network.output_shape[:-1])
            way.call(Function(self.back, rows, units, units), [y], y)
        args = "real *state, const real *x, real *y" if step else "const real *x, real *y, real *s"
        if not step and not memory.size:
            way.lines.append("(void)s;")
        indices = ["size_t t;"] if "for (t" in "".join(way.lines) else []
        self.writer.add(
            f"\nvoid ${'step' if step else 'predict_in'}({args})\n"
            f"{{\n{indented(*indices, *way.lines)}}}\n"
        )
        return max(memory.size, 1)

    def finish(self, x: Array, y: Array) -> None:
        """Write what a program calls; the self-test has rows x, of which must come y."""
        w, network, labels = self.writer, self.network, self.labels
        units = network.output_shape[-1]
        if self.on_stack:
            w.add(_PREDICT)
        if labels is not None:
            w.add(f"\nconst char $class_name[{len(labels)}][{_longest(labels)}] $ROM = {{\n")
            w.parts.append(",\n".join(f"    {string(label)}" for label in labels) + "\n};\n")
            search = "int best = 0, j;", loop("j", units, "best = y[j] > y[best] ? j : best;")
            body = [*search, "return best;"]
            if units == 1:
                body = [f"return y[0] > {w.number(losses.boundary(network.loss))};"]
            w.add(f"\nint $class_of(const real *y)\n{{\n{indented(*body)}}}\n")
            if len(network.output_shape) == 1 and self.on_stack:
                w.add(_PREDICT_CLASS)
        if len(x):
            w.owner = "self_test"
            w.array("test_x", x)
            w.array("test_y", y)
            calls = [f"$predict_in(x, y, s);\n{_COMPARE}"]
            if self.state:
                length, *features = network.input_shape
                to = f"y + t * {units}" if network.outputs > units else "y"
                step = loop("t", length, f"$step(state, x + t * {math.prod(features)}, {to});")
                start = "memset(state, 0, sizeof state);"
                calls += [f"{start}\n{step}\n{_COMPARE}"]
            variables = (
                ["size_t r, i, t;", "real state[$STATE];"] if self.state else ["size_t r, i;"]
            )
            test = _TEST.replace("VARIABLES", indented(*variables)).replace("ROWS", str(len(x)))
            bounds = [w.number(self._tolerance(y, single)) for single in (True, w.single)]
            bound = bounds[0] if w.single else f"(sizeof(real) > 4 ? {bounds[1]} : {bounds[0]})"
            w.add(f"\n#define $TOLERANCE ((real){bound})\n")
            w.add(test.replace("CALLS", indented(indented(*calls))))
            if self.on_stack:
                w.add(_TEST_ON_STACK)

    def _tolerance(self, y: Array, single: bool) -> float:
        """Return how far outputs may be from y: what the network itself says, and its offset."""
        eps, tiny = (2.0**-23, 2.0**-126) if single else (2.0**-52, 2.0**-1022)
        bound = 1e-5 if single else 1e-12
        return max(bound * self.largest(y) + 2 * eps * float(np.abs(y).max()), tiny)

    def largest(self, y: Array) -> float:
        """Return the largest output, measured from the mean of targets that were scaled."""
        return float(np.abs(y.reshape(-1, len(self.outputs.mean)) - self.outputs.mean).max()) or 1.0

    def declarations(self, test: bool) -> str:
        """Return what a program sees."""
        network, labels = self.network, self.labels
        lines = [
            f"typedef {'float' if self.writer.single else 'double'} $real;",
            f"#define $INPUTS {network.inputs}",
            f"#define $OUTPUTS {network.outputs}",
            f"#define $SCRATCH {self.scratch}",
            "",
            "/* From x to y, which must not overlap; scratch is the caller's, $SCRATCH numbers. */",
            "void $predict_in(const $real *x, $real *y, $real *scratch);",
        ]
        if self.on_stack:
            lines += [
                "",
                "/* The same with these numbers on the stack. */",
                "void $predict(const $real *x, $real *y);",
            ]
        if self.state:
            lines += [
                "",
                "/* One position of a sequence, x, and what the network says behind it, y. The",
                " * state, $STATE numbers, is the caller's: zeros in front of a sequence. */",
                f"#define $STATE {self.state}",
                "void $step($real *state, const $real *x, $real *y);",
            ]
        if labels is not None:
            lines += [
                "",
                f"#define $CLASSES {len(labels)}",
                f"extern const char $class_name[{len(labels)}][{_longest(labels)}];",
                "int $class_of(const $real *y); /* of outputs */",
            ]
            if len(network.output_shape) == 1 and self.on_stack:
                lines.append("int $predict_class(const $real *x);")
        if test:
            lines += ["", "/* How many stored rows do not come out as they should. */"]
            lines.append("int $self_test_in($real *scratch);")
            lines += ["int $self_test(void);"] if self.on_stack else []
        return "".join(f"{line}\n" for line in lines).replace("$", f"{self.writer.name}_")


def _longest(labels: Sequence[str]) -> int:
    return 1 + max(len(label.encode("utf-8", "surrogatepass")) for label in labels)


def _shape_of(rows: Any) -> tuple[int, ...]:
    """Return the shape of the rows of a self-test, () of their number."""
    return tuple(getattr(rows, "shape", None) or as_array(rows, "self_test").shape)


def _rows(network: Model, units: Units, given: Any, single: bool) -> Array:
    """Return the rows of the self-test, in a program's unit."""
    shape = network.input_shape
    if not _shape_of(given):
        count, bits = check_size(given, "self_test", at_least=0), np.random.default_rng(0)
        if isinstance(shape, Tokens):
            drawn = bits.integers(shape.vocabulary, size=(count, *shape)).astype(np.float64)
        else:
            drawn = bits.standard_normal((count, *shape))
    else:
        table = as_table(given, "self_test", shape, find_not_finite)
        drawn = np.array(table[:] if isinstance(table, LazyTable) else table)
    rows = units.outside(drawn.reshape(len(drawn), *shape))
    if single:
        with np.errstate(over="ignore"):
            rows = rows.astype(np.float32).astype(np.float64)
        if not np.isfinite(rows).all():
            raise DataError(
                'self_test must hold numbers that a float32 can hold, or dtype="float64"'
            )
    return rows


def _of_length(network: AnyModel, rows: Any) -> AnyModel:
    """Return a network of sequences of any length as one of those of the self-test."""
    shape = network.input_shape
    if None not in shape:
        return network
    given = _shape_of(rows) or (1, 8, *shape[1:])
    if len(given) != 1 + len(shape) or 0 in given:
        wanted = ", ".join(["m", "length", *map(str, shape[1:])])
        raise ShapeError(
            f"self_test must be a number of rows or have shape ({wanted}), got {given}"
        )
    length = given[1]
    known: Any = (length, *shape[1:])
    if isinstance(shape, Tokens):
        known = Tokens(shape.vocabulary, length)
    return type(network).from_state(network.__getstate__() | {"inputs": plain_inputs(known)})


def _computed(network: Model, inputs: Units, outputs: Units, x: Array) -> Array:
    """Return what a network makes of a program's numbers, in the program's unit."""
    if not len(x):
        return np.zeros(0)
    inside = np.ascontiguousarray(inputs.inside(x).reshape(len(x), -1))
    return outputs.outside(network.outputs_of(inside))


def _about(file: File, x: Array, y: Array, exact: Array) -> list[str]:
    """Return what is to be known of a file, a line each."""
    network, facts = file.network, ["layers: " + ", ".join(map(repr, file.network.layers))]
    names = network.feature_names
    if "table" in network.metadata:
        names = tuple(Table.from_metadata(network.metadata["table"]).names)
    if names is not None:
        facts.append(f"x: {', '.join(names)}")
    if not file.inputs.are_plain:
        facts.append("x is as it was measured: it is standardised here, and NaN is what is missing")
    if flags_of(network).any():
        facts.append(
            'an input "... missing" is 1 where its column is NaN: set here, a program leaves it 0'
        )
    if any(isinstance(column, DateColumn) for column in columns_of(network)):
        facts.append(
            'of dates: "days" are those since 1970-01-01; sin and cos are of 2 pi times the part '
            "of the year, of the week from Monday, and of the day that is over"
        )
    facts.append(
        f"memory: {file.writer.bytes} bytes of constants, {file.scratch} numbers of scratch "
        f"({file.stack} bytes, {'on the stack' if file.on_stack else 'too many for the stack'})"
        + (f", {file.state} of state" if file.state else "")
    )
    if len(x) and file.labels is not None:
        pairs = zip(_chosen(network, y), _chosen(network, exact), strict=True)
        same = sum(one == other for one, other in pairs)
        facts.append(f"the class is that of the network's own weights {same} times of {len(x)}")
    elif len(x):
        spread = float(np.ptp(exact, axis=0).max()) or file.largest(exact)
        facts.append(
            f"outputs: {float(np.abs(y - exact).max()) / spread:.1e} of what they differ by from "
            "row to row, at most, from those of the network's own weights"
        )
    return facts


def _chosen(network: Model, outputs: Array) -> list[Any]:
    """Return which class, or classes, the outputs of each row choose."""
    units = network.output_shape[-1]
    if units == 1:
        return (outputs > losses.boundary(network.loss)).tolist()
    return outputs.reshape(len(outputs), -1, units).argmax(axis=-1).tolist()


def export(
    trained: AnyModel,
    path: str | os.PathLike[str],
    name: str,
    dtype: str,
    weights: str,
    self_test: Any,
    header: bool,
) -> tuple[AnyModel, list[str]]:
    """Do what `Network.export_c` promises; return also what is to be known of the file."""
    if not isinstance(name, str) or len(name) > 64 or not _NAME.fullmatch(name):
        raise DataError(
            "name must begin names in C: letters, digits and single underscores, a letter first, "
            f"got {name!r:.80}"
        )
    single = check_choice(dtype, DTYPES, "dtype") == "float32"
    small = check_choice(weights, WEIGHTS, "weights") == "int8"
    target = Path(path)
    named = bool(target.name) and target.name != ".."
    beside = target.with_suffix(".h") if named else target
    if check_bool(header, "header"):
        named = named and beside != target and not set(beside.name) & set('"\\\n\r')
    if not named:
        raise DataError(f"path must name a file of C such as model.c, got {os.fspath(path)!r}")
    any_length = None in trained.input_shape
    own = _of_length(folded(trained, single), self_test)
    network = rounded(own, single, small)
    file = File(network, name, single, small)
    x = _rows(network, file.inputs, self_test, single)
    y = _computed(network, file.inputs, file.outputs, x)
    exact = _computed(own, *units_of(own), x)
    file.finish(x, y)
    facts = _about(file, x, y, exact)
    if any_length:
        facts.append(f"predict takes sequences of {network.input_shape[0]} positions here")
    top = [f"{name}: a network in C99, written by pycnn {__version__}", *facts]
    about = (
        "/* " + "\n * ".join([line for text in top for line in wrap(comment(text), 94)]) + " */\n"
    )
    declared = file.declarations(len(x) > 0)
    guarded = _HEADER.replace("$", f"{name}_").replace("DECLARATIONS", declared)
    if header:
        declared = f'#include "{beside.name}"\n'
    top_text = _TOP.replace("$", f"{name}_")
    parts = [about, top_text, "\n", declared, *file.writer.parts]
    write_whole(target, [part.encode() for part in parts])
    if header:
        write_whole(beside, [(about + guarded).encode()])
    return network, facts
