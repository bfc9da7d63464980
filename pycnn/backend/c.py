"""The C backend: lends NumPy's buffers to the compiled core. The twin of `numpy`."""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
from typing import TYPE_CHECKING, Any

import _cffi_backend  # noqa: F401 - what freezes a program does not see that _native needs it
import numpy as np

from pycnn import _random
from pycnn._checks import LARGEST
from pycnn._native import ffi, lib
from pycnn._threads import get_num_threads
from pycnn.backend import interface
from pycnn.backend.interface import NotFiniteError, Totals, TrainingState
from pycnn.exceptions import BackendError, DataError, LabelError, PycnnError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycnn._random import PermutationDrawer
    from pycnn._typing import Array, Bits, Indices, Shape
    from pycnn.backend.interface import (
        Data,
        LayerSpec,
        LossFunction,
        OptimizerSpec,
        Predictor,
        RowPredictor,
        Sampler,
        Sampling,
        Writer,
    )
    from pycnn.backend.protocol import BatchTrainer

__all__ = [
    "batch_trainer",
    "compiler",
    "create_plan",
    "evaluate",
    "find_not_finite",
    "gradient_sums",
    "gradients",
    "input_gradient",
    "isa",
    "penalty",
    "permutations",
    "predict",
    "predict_samples",
    "predictor",
    "row_predictor",
    "sampler",
    "state_count",
    "stepper",
    "threads",
    "trace",
    "train",
    "update",
    "writer",
]

# Samples that go through the network together where the caller does not say. Their activations
# should stay in cache: 256 x 1024 units x 8 bytes are 2 MB.
PIECE = 256
# Numbers that are looked at in one call, some milliseconds: Ctrl-C is answered in between.
LOOKED_AT = 1 << 22
# Multiply-adds below which the core leaves its threads alone.
WORK_WORTH_SHARING = 1 << 18
# Permutations of fewer numbers are drawn faster by NumPy, many at once.
WORTH_PERMUTING = 64
# Idle workspaces that a plan keeps for its next calls.
KEPT = 4

# To ask cffi for these takes as long as to use them.
_NULL = ffi.NULL
_FORWARD, _BACKWARD, _TRACE = lib.PYCNN_FORWARD, lib.PYCNN_BACKWARD, lib.PYCNN_TRACE

_DOUBLES = ffi.typeof("double[]")
_SIZES = ffi.typeof("size_t[]")
_KEYS = ffi.typeof("uint64_t[]")
_TRAINING, _TOTALS, _COUNT = map(ffi.typeof, ("pycnn_training *", "pycnn_totals *", "size_t *"))
_from_buffer = ffi.from_buffer
_find_not_finite = lib.pycnn_find_not_finite


def isa() -> str:
    """Name the instruction set of the kernels in use."""
    name = lib.pycnn_isa()
    if name == _NULL:
        _check(lib.PYCNN_ERROR_ISA)
    return str(ffi.string(name).decode())


def compiler() -> str:
    """Name the compiler that built the core."""
    return str(ffi.string(lib.pycnn_compiler()).decode())


def threads() -> int:
    """Return the most threads that a call will use."""
    return get_num_threads()


def _check(status: int) -> None:
    """Turn a status into an exception."""
    if status == lib.PYCNN_OK:
        return
    message = ffi.string(lib.pycnn_strerror(status)).decode()
    if status == lib.PYCNN_ERROR_MEMORY:
        raise MemoryError(message)
    if status == lib.PYCNN_ERROR_SIZE:
        raise ShapeError(message)
    if status in (lib.PYCNN_ERROR_RANGE, lib.PYCNN_ERROR_TOKEN):
        raise DataError(message)
    if status == lib.PYCNN_ERROR_LABEL:
        raise LabelError(message)
    if status == lib.PYCNN_ERROR_ISA:
        raise BackendError(f"{message}: got {os.environ.get('PYCNN_ISA')!r}")
    raise PycnnError(f"the C core refused a call: {message}")


class _Pool:
    """The pool of threads of this process, made anew when its size or the process changes.

    What is made and what for are one tuple, read and replaced as a whole: no lock, which a fork
    could leave locked. Where two callers make a pool at once, one of them has its own for a call;
    the threads of a pool start when it is first used.
    """

    def __init__(self) -> None:
        self.close()
        atexit.register(self.close)

    def close(self) -> None:
        """Let go of the pool: its threads are joined once no call uses it, which holds it too."""
        self.made = (1, 0), _NULL

    def get(self) -> Any:
        """Return as many threads as are wanted now; NULL for one."""
        made_for, handle = self.made
        wanted = get_num_threads(), os.getpid()
        if wanted != made_for:
            handle = _NULL
            if wanted[0] > 1:
                out = ffi.new("pycnn_threads **")
                _check(lib.pycnn_threads_create(out, wanted[0]))
                handle = ffi.gc(out[0], lib.pycnn_threads_destroy)
            self.made = wanted, handle
        return handle


_pool = _Pool()


class _Context:
    """What the core's calls into Python have to know, and what was raised there."""

    def __init__(self, loss_function: LossFunction | None, output_shape: Shape) -> None:
        self.loss_function, self.output_shape = loss_function, output_shape
        self.error: BaseException | None = None

    def take_error(self) -> BaseException:
        """Return what was raised, and keep it no longer; where nothing was, an interrupt."""
        error, self.error = self.error, None
        return error or KeyboardInterrupt()


class Workspace:
    """A ``pycnn_workspace`` with room for `batch` samples; it is called by one thread at a time.

    While a call lasts, the core asks now and then for what Python does between any two lines, such
    as to raise `KeyboardInterrupt`, and calls the plan's own loss function, if it has one.
    """

    __slots__ = (
        "_context",
        "_handle",
        "_shares",
        "batch",
        "data",
        "mode",
        "pointer",
        "sequences",
        "threads",
        "totals",
    )

    def __init__(self, network: Any, batch: int, mode: int, context: _Context) -> None:
        out = ffi.new("pycnn_workspace **")
        _check(lib.pycnn_workspace_create(out, network, batch, mode))
        self.pointer = ffi.gc(out[0], lib.pycnn_workspace_destroy)
        self.batch, self.mode = batch, mode
        self.threads = _NULL  # whoever computes in it holds the pool, which may be replaced
        # What a call reads and returns.
        self.data, self.totals = ffi.new("pycnn_dataset *"), ffi.new("pycnn_totals *")
        self.sequences: tuple[Any, Any] | None = None  # what `set_sequences` has lent
        self._shares = False  # whether the core has been given threads
        self._context = context
        self._handle = ffi.new_handle(self._context)
        lib.pycnn_workspace_set_poll(self.pointer, lib.pycnn_call_poll, self._handle)
        if context.loss_function is not None:
            lib.pycnn_workspace_set_loss(self.pointer, lib.pycnn_call_loss, self._handle)

    def set_threads(self, threads: Any) -> None:
        """Let the next calls use these threads, which are held as long."""
        if threads is not _NULL or self._shares:
            lib.pycnn_workspace_set_threads(self.pointer, threads)
            self.threads, self._shares = threads, threads is not _NULL

    def set_sequences(self, lengths: Indices | None, states: Array | None) -> None:
        """Let the next calls know how long the sequences of their data are, and their states.

        They go on from these, a row a sequence, and leave there what they end with.
        """
        sequences = self.sequences = None
        if lengths is not None or states is not None:
            self.sequences = (
                _NULL if lengths is None else _from_buffer(_SIZES, lengths),
                _NULL if states is None else _from_buffer(_DOUBLES, states),
            )
            sequences = ffi.new("pycnn_sequences *", self.sequences)
        _check(lib.pycnn_workspace_set_sequences(self.pointer, sequences or _NULL))

    def check(self, status: int) -> None:
        """Turn a status into an exception: where Python code has failed, into the one from there.

        Raises
        ------
        KeyboardInterrupt
            Also where an exception could not be kept: only a second Ctrl-C comes between.
        """
        if status in (lib.PYCNN_ERROR_LOSS, lib.PYCNN_ERROR_INTERRUPTED):
            raise self._context.take_error()  # a name for it would keep it, and all frames, alive
        _check(status)


def _keep(_kind: Any, error: BaseException, traceback: Any) -> None:
    """Keep what a function that the core has called raised, be it at its very first line.

    It waits in the function's `context` until the core has returned.
    """
    ffi.from_handle(traceback.tb_frame.f_locals["context"]).error = error


@ffi.def_extern(error=1, onerror=_keep)  # type: ignore[untyped-decorator]
def pycnn_call_poll(context: Any) -> int:
    """Let the core go on, unless Python, which looks for signals here, raises what they mean."""
    return 0


@ffi.def_extern(error=1, onerror=_keep)  # type: ignore[untyped-decorator]
def pycnn_call_loss(
    context: Any, losses: Any, gradient: Any, outputs: Any, targets: Any, rows: int, units: int
) -> int:
    """Call the loss function of a `_Context`; of sequences a row of the core's is a position."""
    called = ffi.from_handle(context)
    shape = rows * units // math.prod(called.output_shape), *called.output_shape

    def array(pointer: Any, shape: Shape) -> Array:
        buffer = ffi.buffer(pointer, math.prod(shape) * 8)
        return np.frombuffer(buffer, np.float64).reshape(shape)

    values, slopes = called.loss_function(
        array(outputs, shape).copy(), array(targets, shape).copy()
    )
    array(losses, shape[:-1])[:] = values
    if gradient != _NULL:
        array(gradient, shape)[:] = slopes
    return 0


class Plan(interface.Plan):
    """A ``pycnn_network`` and the workspaces that are idle between calls.

    Each call takes a workspace of its own, so any number of threads may use one plan; one that
    fails does not give it back. `list.pop` and `list.append` are atomic, with a GIL and without.
    """

    __slots__ = (
        "_idle",
        "_idle_for_traces",
        "inputs",
        "loss_function",
        "most",
        "most_in_training",
        "network",
        "output_shape",
        "target_sizes",
    )

    def __init__(
        self,
        network: Any,
        inputs: int,
        output_shape: Shape,
        loss_function: LossFunction | None,
        needs_batch: bool,
    ) -> None:
        self.network, self.inputs, self.output_shape = network, inputs, output_shape
        self.target_sizes = math.prod(output_shape), math.prod(output_shape[:-1])  # or labels
        self.loss_function = loss_function
        # Samples that go through the network together; others go in pieces. A loss function of the
        # user's sees all of them at once, and so does a layer that needs to, which is in training.
        self.most = PIECE if loss_function is None else LARGEST
        self.most_in_training = LARGEST if needs_batch else self.most
        self._idle: list[Workspace] = []
        self._idle_for_traces: list[Workspace] = []  # training in them would take longer

    def new_workspace(self, batch: int, mode: int) -> Workspace:
        """Return a workspace that nobody else has."""
        return Workspace(self.network, batch, mode, _Context(self.loss_function, self.output_shape))

    def take(
        self,
        batch: int,
        mode: int,
        threads: Any,
        lengths: Indices | None = None,
        states: Array | None = None,
    ) -> Workspace:
        """Return a workspace with room for `batch` samples, to be given back."""
        try:
            workspace = (self._idle_for_traces if mode == _TRACE else self._idle).pop()
        except IndexError:
            workspace = None
        # Where sums end and begin again is a matter of size, which bits must not depend on.
        other = workspace is not None and batch <= PIECE < workspace.batch
        other = other and mode != _FORWARD
        if workspace is None or workspace.batch < batch or workspace.mode < mode or other:
            # One that will do for both callers, but not whatever mode in the size of all the data.
            if workspace is not None and max(batch, workspace.batch) <= PIECE:
                batch, mode = max(batch, workspace.batch), max(mode, workspace.mode)
            workspace = self.new_workspace(batch, mode)
        workspace.set_threads(threads)
        if lengths is not None or states is not None:  # an idle one has none
            workspace.set_sequences(lengths, states)
        return workspace

    def give_back(self, workspace: Workspace) -> None:
        """Keep a workspace for a later call, but not the threads, which may be idle for long."""
        workspace.threads = _NULL
        if workspace.sequences is not None:
            workspace.set_sequences(None, None)
        idle = self._idle_for_traces if workspace.mode == _TRACE else self._idle
        if len(idle) < KEPT:
            idle.append(workspace)


def _code(name: str) -> int:
    """Return what the core calls a layer, an activation, a loss, or another choice by name."""
    code: int = getattr(lib, f"PYCNN_{name.upper()}")
    return code


def _lend_layers(layers: Sequence[LayerSpec]) -> tuple[Any, list[Any]]:
    """Return a ``pycnn_layer_spec[]`` and what it points to, which must live as long."""
    specs = ffi.new("pycnn_layer_spec[]", len(layers))
    alive: list[Any] = []
    for spec, layer in zip(specs, layers, strict=True):
        spec.kind, spec.activation = _code(layer.kind), _code(layer.activation)
        spec.units = math.prod(layer.output_shape)
        for name, value in layer.settings.items():
            setattr(spec, name, _code(value) if isinstance(value, str) else value)
        if layer.name is not None:
            alive.append(ffi.new("char[]", layer.name.encode()))
            spec.name = alive[-1]
        if layer.inner:
            alive.append(_lend_layers(layer.inner))
            spec.inner, spec.inner_depth = alive[-1][0], len(layer.inner)
        if layer.shortcut is not None:
            alive.append(_lend_layers([layer.shortcut]))
            spec.shortcut = alive[-1][0]
    return specs, alive


def create_plan(
    layers: Sequence[LayerSpec],
    loss: str,
    loss_parameter: float = 0.0,
    loss_function: LossFunction | None = None,
) -> Plan:
    """Return the plan of a network."""
    specs, _alive = _lend_layers(layers)
    inputs = math.prod(layers[0].input_shape)
    out = ffi.new("pycnn_network **")
    _check(lib.pycnn_network_create(out, inputs, specs, len(layers), _code(loss), loss_parameter))
    needs_batch = any(layer.needs_batch for layer in layers)
    network, shape = ffi.gc(out[0], lib.pycnn_network_destroy), layers[-1].output_shape
    return Plan(network, inputs, shape, loss_function, needs_batch)


def _lend(plan: Plan, data: Data, dataset: Any) -> list[Any]:
    """Fill in a ``pycnn_dataset``; return what it points to, which must live as long."""
    x, y, weight = data.x, data.y, data.weight
    rows, has_labels = len(x), y.dtype.kind == "i"
    if y.size != rows * plan.target_sizes[has_labels]:  # the core reads as many
        shape = plan.output_shape[:-1] if has_labels else plan.output_shape
        raise ShapeError(f"y must have shape {(rows, *shape)}, got {y.shape}")
    if y.ndim == (2 if has_labels else 3) and y.shape[1] == 1:
        data = _weigh_observed(data)  # to the core this is no sequence
        y, weight = data.y, data.weight
    alive = [
        _from_buffer(_DOUBLES, x),
        _NULL if has_labels else _from_buffer(_DOUBLES, y),
        _from_buffer(_SIZES, y) if has_labels else _NULL,
        _NULL if weight is None else _from_buffer(_DOUBLES, weight),
    ]
    dataset[0] = (rows, *alive, weight is not None and weight.ndim == 2)
    return alive


def _weigh_observed(data: Data) -> Data:
    """Return data whose samples without a target weigh 0, and have one."""
    seen = data.observed()
    if seen.all():
        return data
    weight = 1.0 if data.weight is None else data.weight.reshape(-1, 1)
    y = np.where(seen.reshape(-1, *[1] * (data.y.ndim - 1)), data.y, 0)
    return data._replace(y=y, weight=np.where(seen, weight, 0.0))


def _worth_sharing(plan: Plan, theta: Array, rows: int) -> bool:
    """Tell whether a pass over so many samples may be work for more than one thread.

    No layer does more with a sample than to use each number of theta once for each input.
    """
    return rows * plan.inputs * theta.size >= WORK_WORTH_SHARING


def _read(totals: Any) -> Totals:
    # As a call of `Totals`, in two thirds of its time.
    return tuple.__new__(Totals, (totals.loss, totals.weight, totals.correct))


def find_not_finite(array: Array) -> int:
    """Return the flat index of the first infinity or NaN, or the size when there is none."""
    x, size = _from_buffer(_DOUBLES, array), array.size
    if size <= LOOKED_AT:
        place: int = _find_not_finite(x, size)
        return place
    for first in range(0, size, LOOKED_AT):
        count = min(LOOKED_AT, size - first)
        place = _find_not_finite(x + first, count)
        if place < count:
            return first + place
    return int(size)


def permutations(seed: int, size: int) -> PermutationDrawer:
    """Return what draws permutations of ``range(size)``, as `pycnn._random.permutations`."""
    if size < WORTH_PERMUTING or seed >> 64:  # longer seeds are Python's alone
        return _random.permutations(seed, size)

    def draw(first: int, count: int) -> Indices:
        drawn = np.empty((count, size), np.intp)
        lent = _from_buffer(_SIZES, drawn)
        for i in range(count):
            _check(lib.pycnn_permutation(lent + i * size, size, seed, first + i))
        return drawn

    return draw


def predict(plan: Plan, theta: Array, x: Array, out: Array, lengths: Indices | None = None) -> bool:
    """Put the network's output for each row of `x` into `out`; return whether `x` is finite.

    Where it is not, `out` is not to be used. What stands behind the `lengths` does not matter.
    """
    rows = len(x)
    threads = _pool.get() if rows > 1 else _NULL
    workspace = plan.take(min(rows, PIECE), _FORWARD, threads, lengths)
    status = lib.pycnn_predict_finite(
        _from_buffer(_DOUBLES, out),
        plan.network,
        workspace.pointer,
        _from_buffer(_DOUBLES, theta),
        theta.size,
        _from_buffer(_DOUBLES, x),
        rows,
    )
    finite: bool = status != lib.PYCNN_ERROR_NOT_FINITE
    if finite:
        workspace.check(status)
    plan.give_back(workspace)
    return finite


def predict_samples(plan: Plan, theta: Array, x: Array, keys: Bits, first: int, out: Array) -> None:
    """Put the outputs with dropout left on into `out`, (draws, rows, n_L), by a key a draw.

    `first` is the number of the first row of `x`, which is finite.
    """
    rows = len(x)
    workspace = plan.take(min(rows, PIECE), _FORWARD, _pool.get())
    status = lib.pycnn_predict_samples(
        _from_buffer(_DOUBLES, out),
        plan.network,
        workspace.pointer,
        _from_buffer(_DOUBLES, theta),
        theta.size,
        _from_buffer(_DOUBLES, x),
        rows,
        _from_buffer(_KEYS, keys),
        len(keys),
        first,
    )
    workspace.check(status)
    plan.give_back(workspace)


def predictor(
    plan: Plan, theta: Array, batch: int, outputs: Shape, frozen: bool = False
) -> Predictor:
    """Return a callable that predicts `batch` rows with the least delay.

    It raises ValueError where they are not contiguous. A frozen one has a copy of theta.
    """
    if frozen and batch == 1:
        return _frozen_row_predictor(_pack(plan, theta), outputs)
    return _predictor(plan, theta.copy() if frozen else theta, batch, outputs)


def _predictor(
    plan: Plan, theta: Array, batch: int, outputs: Shape, states: Array | None = None
) -> Predictor:
    """Return a callable that predicts rows, or the next part of sequences with such states."""
    workspace = plan.new_workspace(batch, _FORWARD)
    if states is not None:
        workspace.set_sequences(None, states)
    result = np.zeros((batch, *outputs))
    lent_result, lent_theta = _from_buffer(_DOUBLES, result), _from_buffer(_DOUBLES, theta)
    run, network, lend, doubles = lib.pycnn_predict, plan.network, _from_buffer, _DOUBLES
    pointer, size = workspace.pointer, theta.size
    last: Any = None  # an array that comes again is lent already
    lent: Any = None

    def predict_bound(x: Array) -> Array:
        nonlocal last, lent
        if x is not last:
            last, lent = None, lend(doubles, x)
            last = x
        status = run(lent_result, network, pointer, lent_theta, size, lent, batch)
        if status:
            workspace.check(status)
        return result

    return predict_bound


def _pack(plan: Plan, theta: Array) -> Any:
    """Return a copy of theta, laid out to predict one row: a ``pycnn_predictor``."""
    network, out = plan.network, ffi.new("pycnn_predictor **")
    status = lib.pycnn_predictor_create(out, network, _from_buffer(_DOUBLES, theta), theta.size)
    _check(status)

    def destroy(pointer: Any, _network: Any = network) -> None:  # which so lives as long
        lib.pycnn_predictor_destroy(pointer)

    return ffi.gc(out[0], destroy)


def _frozen_row_predictor(packed: Any, outputs: Shape) -> Predictor:
    """Return a callable that predicts one row by such a copy."""
    result = np.zeros((1, *outputs))
    lent_result = _from_buffer(_DOUBLES, result)
    run, lend, doubles = lib.pycnn_predictor_run, _from_buffer, _DOUBLES
    last: Any = None  # as in `_predictor`
    lent: Any = None

    def predict_bound(x: Array) -> Array:
        nonlocal last, lent
        if x is not last:
            last, lent = None, lend(doubles, x)
            last = x
        run(packed, lent_result, lent)
        return result

    return predict_bound


def state_count(plan: Plan) -> int:
    """Return how many numbers go on from one part of a sequence to the next."""
    return int(lib.pycnn_network_state_count(plan.network))


def stepper(
    plan: Plan, theta: Array, batch: int, outputs: Shape, frozen: bool = False
) -> tuple[Predictor, Array]:
    """Return what takes the next part of `batch` sequences, and the state, (batch, numbers).

    The state is there from one call to the next; zeros begin new sequences.
    """
    count = state_count(plan)
    states = np.zeros((batch, count))
    if not frozen:
        return _predictor(plan, theta, batch, outputs, states), states
    packed, result = _pack(plan, theta), np.zeros((batch, *outputs))
    lent_result, lent_states = _from_buffer(_DOUBLES, result), _from_buffer(_DOUBLES, states)
    run, lend, doubles = lib.pycnn_predictor_steps, _from_buffer, _DOUBLES

    def step(x: Array) -> Array:
        run(packed, lent_result, lend(doubles, x), lent_states, batch)
        return result

    return step, states


def row_predictor(plan: Plan, theta: Array, outputs: Shape) -> RowPredictor:
    """Return a callable that predicts one row: None where that is not contiguous or not finite."""
    workspace = plan.new_workspace(1, _FORWARD)
    result = np.zeros((1, *outputs))
    lent_result, lent_theta = _from_buffer(_DOUBLES, result), _from_buffer(_DOUBLES, theta)
    run, network, lend, doubles = lib.pycnn_predict_finite, plan.network, _from_buffer, _DOUBLES
    copy, size = result.copy, theta.size

    def predict_row(x: Array) -> Array | None:
        try:
            lent = lend(doubles, x)
        except ValueError:
            return None
        # By its workspace, which so lives as long.
        if run(lent_result, network, workspace.pointer, lent_theta, size, lent, 1):
            return None
        return copy()

    return predict_row


def writer(plan: Plan, half: Plan | None, theta: Array, how: Sampling, seed: int) -> Writer:
    """Return a callable that writes on from tokens, which takes one position after the other.

    ``write(tokens, known, count, written)`` draws so many behind those that are known, of which it
    has written some before, and returns how many: less where the outputs are no probabilities.
    `half` takes those with which a window begins.
    """
    out, done = ffi.new("pycnn_writer **"), ffi.new("size_t *")
    halved = _NULL if half is None else half.network
    status = lib.pycnn_writer_create(
        out, plan.network, halved, _from_buffer(_DOUBLES, theta), theta.size
    )
    _check(status)
    sampling = ffi.new("pycnn_sampling *", how)

    def destroy(pointer: Any, _networks: Any = (plan.network, halved)) -> None:
        lib.pycnn_writer_destroy(pointer)

    pointer = ffi.gc(out[0], destroy)

    def write(tokens: Indices, known: int, count: int, written: int) -> int:
        place = _from_buffer(_SIZES, tokens)
        status = lib.pycnn_writer_run(done, place, known, count, pointer, sampling, seed, written)
        if status != lib.PYCNN_ERROR_NOT_FINITE:
            _check(status)
        return int(done[0])

    return write


def sampler(temperature: float, top_k: int, top_p: float) -> Sampler:
    """Return a callable that draws a place by probabilities and a number from 0 to below 1.

    Probabilities are raised to 1 / temperature; at 0 the first of the largest is taken. With
    `top_k` above 0 so many of the most probable are left, with `top_p` below 1 as few as have
    together that part of the sum; in both cases what equals the last of them, too. The callable
    returns -1 where the probabilities are none, which it uses up.
    """
    how = ffi.new("pycnn_sampling *", (temperature, top_k, top_p))
    token, run, lend, doubles = ffi.new("size_t *"), lib.pycnn_sample, _from_buffer, _DOUBLES

    def sample(probabilities: Array, draw: float) -> int:
        status = run(token, lend(doubles, probabilities), len(probabilities), how, draw)
        if status:
            if status == lib.PYCNN_ERROR_NOT_FINITE:
                return -1
            _check(status)
        return int(token[0])

    return sample


def penalty(plan: Plan, theta: Array) -> float:
    """Return what the loss includes for the size of the weights."""
    return float(lib.pycnn_penalty(plan.network, _from_buffer(_DOUBLES, theta), theta.size))


def evaluate(plan: Plan, theta: Array, data: Data) -> Totals:
    """Return the sums of loss, weight and right answers over the data."""
    rows = len(data.x)
    threads = _pool.get() if _worth_sharing(plan, theta, rows) else _NULL
    room = min(rows, plan.most)
    workspace = plan.take(room, _FORWARD, threads, data.lengths, data.state)
    totals, dataset = workspace.totals, workspace.data
    _alive = _lend(plan, data, dataset)
    status = lib.pycnn_evaluate(
        totals, plan.network, workspace.pointer, _from_buffer(_DOUBLES, theta), theta.size, dataset
    )
    if status:
        workspace.check(status)
    sums = _read(totals)  # before another call has the workspace
    plan.give_back(workspace)
    return sums


def gradients(
    plan: Plan, theta: Array, data: Data, grad: Array, dropout_keys: Bits | None = None
) -> Totals:
    """Put the mean loss's gradient over the data into `grad` (lecture, equations 3 and 4).

    With `dropout_keys`, (1,), as in training on the data as one mini-batch.
    """
    rows = len(data.x)
    threads = _pool.get() if _worth_sharing(plan, theta, rows) else _NULL
    room = min(rows, plan.most if dropout_keys is None else plan.most_in_training)
    workspace = plan.take(room, _BACKWARD, threads, data.lengths, data.state)
    totals, dataset = workspace.totals, workspace.data
    _alive = _lend(plan, data, dataset)
    status = lib.pycnn_gradients(
        totals,
        _from_buffer(_DOUBLES, grad),
        plan.network,
        workspace.pointer,
        _from_buffer(_DOUBLES, theta),
        theta.size,
        dataset,
        _NULL if dropout_keys is None else _from_buffer(_KEYS, dropout_keys),
    )
    if status:
        workspace.check(status)
    sums = _read(totals)  # before another call has the workspace
    plan.give_back(workspace)
    return sums


def gradient_sums(
    plan: Plan,
    theta: Array,
    data: Data,
    grad: Array,
    dropout_keys: Bits | None = None,
    sample_offset: int = 0,
    statistics: Array | None = None,
) -> Totals:
    """Put the sums over the samples of their losses' gradients into `grad`, without the penalty.

    With `dropout_keys`, (1,), as in training on the data as one mini-batch, the first sample of
    which has the number `sample_offset` in the epoch; then `statistics` are updated, if given.
    """
    threads = _pool.get()
    room = min(data.rows, plan.most if dropout_keys is None else plan.most_in_training)
    workspace = plan.take(room, _BACKWARD, threads, data.lengths, data.state)
    totals, dataset = ffi.new("pycnn_totals *"), workspace.data  # the core adds to zeros
    _alive = _lend(plan, data, dataset)
    grad[:] = 0.0  # the core adds to it
    status = lib.pycnn_gradient_sums(
        totals,
        _from_buffer(_DOUBLES, grad),
        _NULL if statistics is None else _from_buffer(_DOUBLES, statistics),
        plan.network,
        workspace.pointer,
        _from_buffer(_DOUBLES, theta),
        theta.size,
        dataset,
        _NULL if dropout_keys is None else _from_buffer(_KEYS, dropout_keys),
        sample_offset,
    )
    workspace.check(status)
    sums = _read(totals)  # before another call has the workspace
    plan.give_back(workspace)
    return sums


def update(
    plan: Plan,
    theta: Array,
    grad: Array,
    weight: float,
    state: TrainingState,
) -> None:
    """Change theta and the state as a step of training does.

    `grad` has the gradient's sums over samples of that weight, without the penalty.
    """
    workspace = plan.take(1, _FORWARD, _pool.get())
    training, _alive = _lend_state(state)
    sums = _from_buffer(_DOUBLES, grad.copy())  # the core uses it up
    totals = ffi.new("pycnn_totals *", {"weight": weight})
    try:
        status = lib.pycnn_update(
            _from_buffer(_DOUBLES, theta),
            theta.size,
            training,
            sums,
            totals,
            plan.network,
            workspace.pointer,
        )
    finally:
        # As in `train`: nothing is called here.
        state.steps += training.updates - state.updates
        state.updates = training.updates
    workspace.check(status)
    plan.give_back(workspace)


def trace(
    plan: Plan, theta: Array, data: Data, grad: Array, z: Array, a: Array, delta: Array
) -> Totals:
    """As `gradients`, and put Z, A and delta of each layer, one after the other, into the rest."""
    workspace = plan.take(data.rows, _TRACE, _NULL, data.lengths, data.state)
    totals, dataset = workspace.totals, workspace.data
    _alive = _lend(plan, data, dataset)
    outputs = [_from_buffer(_DOUBLES, array) for array in (grad, z, a, delta)]
    lent = _from_buffer(_DOUBLES, theta), theta.size
    status = lib.pycnn_trace(totals, *outputs, plan.network, workspace.pointer, *lent, dataset)
    workspace.check(status)  # one for a trace is as large as the data: it is not kept
    return _read(totals)


def input_gradient(plan: Plan, theta: Array, data: Data, out: Array) -> None:
    """Put the gradient of each sample's own loss by its inputs into `out`, a row a sample."""
    threads = _pool.get()
    room = min(data.rows, plan.most)
    workspace = plan.take(room, _TRACE, threads, data.lengths, data.state)
    dataset = workspace.data
    _alive = _lend(plan, data, dataset)
    status = lib.pycnn_input_gradient(
        _from_buffer(_DOUBLES, out),
        plan.network,
        workspace.pointer,
        _from_buffer(_DOUBLES, theta),
        theta.size,
        dataset,
    )
    workspace.check(status)
    plan.give_back(workspace)


@functools.lru_cache
def _optimizer_of(spec: OptimizerSpec) -> Any:
    """Return a ``pycnn_optimizer``, which nobody changes."""
    settings = spec._asdict()
    del settings["slots"]  # the core knows
    settings["kind"] = _code(spec.kind)
    return ffi.new("pycnn_optimizer *", settings)


def _lend_state(state: TrainingState) -> tuple[Any, list[Any]]:
    """Return a ``pycnn_training`` and what it points to, which must live as long."""
    rates, keys, norms = state.learning_rates, state.dropout_keys, state.norms
    order = _NULL if state.order is None else _from_buffer(_SIZES, state.order)
    totals = _from_buffer(_DOUBLES, state.totals)
    optimizer = _NULL if state.optimizer is None else _optimizer_of(state.optimizer)
    slots = _from_buffer(_DOUBLES, state.slots) if state.slots.size else _NULL
    rates = _NULL if rates is None or not rates.size else _from_buffer(_DOUBLES, rates)
    keys = _NULL if keys is None else _from_buffer(_KEYS, keys)
    norms = _NULL if norms is None or not norms.size else _from_buffer(_DOUBLES, norms)
    settings = (  # in the order of the struct: all at once takes a third of the time
        state.epochs,
        state.epoch,
        state.position,
        state.batch_size,
        state.learning_rate,
        order,
        ffi.cast(_TOTALS, totals),
        optimizer,
        slots,
        state.updates,
        rates,
        keys,
        state.sample_offset,
        norms,
    )
    return ffi.new(_TRAINING, settings), [totals, order, keys, slots, norms, rates, optimizer]


def train(plan: Plan, theta: Array, data: Data, state: TrainingState, max_steps: int) -> int:
    """Do up to `max_steps` steps of training; return how many were done.

    Raises
    ------
    NotFiniteError
        Before the update of a mini-batch whose loss is not finite.
    """
    rows = min(state.batch_size, data.rows)
    threads = _pool.get() if _worth_sharing(plan, theta, rows) else _NULL
    room = min(rows, plan.most_in_training)
    workspace = plan.take(room, _BACKWARD, threads, data.lengths, data.state)
    dataset = workspace.data
    _alive = _lend(plan, data, dataset)
    training, alive = _lend_state(state)
    steps = ffi.new(_COUNT)
    try:
        status = lib.pycnn_train(
            steps,
            _from_buffer(_DOUBLES, theta),
            theta.size,
            training,
            plan.network,
            workspace.pointer,
            dataset,
            max_steps,
        )
    finally:
        # Ctrl-C surfaces as soon as the call returns. Nothing is called here, and Python looks for
        # signals in calls: the state is always that of theta.
        state.epoch, state.position = training.epoch, training.position
        state.updates = training.updates
        state.steps += steps[0]
    del alive
    diverged = status == lib.PYCNN_ERROR_DIVERGED
    if not diverged:
        workspace.check(status)
    plan.give_back(workspace)
    if diverged:
        raise NotFiniteError(steps[0])
    return int(steps[0])


class _BatchTrainer:
    """Does one step after another, each on a mini-batch that is lent to it: all of it or nothing.

    Attributes
    ----------
    training : ``pycnn_training``
        The learning rate of the next step, and how many have changed theta (`updates`).
    done : ``pycnn_batch_call``
        How many steps were done (`steps`).
    totals : ``pycnn_totals``
        The sums of loss, weight and right answers over the last step.
    norms : ndarray of shape (1,) or None
        The norm of its gradient, where that is clipped.
    run : callable
        Does a step; returns its mean loss, or NaN, of which `check` knows whether it was done.
    """

    __slots__ = (
        "_alive",
        "_data",
        "_kind",
        "_lent",
        "_order",
        "_plan",
        "_shares",
        "_size",
        "_workspace",
        "done",
        "norms",
        "run",
        "totals",
        "training",
    )

    def __init__(
        self, plan: Plan, theta: Array, optimizer: OptimizerSpec, keys: Bits | None
    ) -> None:
        self._plan, self._size = plan, theta.size
        self.totals, self._data = ffi.new("pycnn_totals *"), ffi.new("pycnn_dataset *")
        state = TrainingState(1, 1, 0.0, None, optimizer, dropout_keys=keys)
        self.training, alive = _lend_state(state)
        self.training.totals, self.norms = self.totals, state.norms
        lent = _from_buffer(_DOUBLES, theta, require_writable=True)
        self._alive = [lent, alive]
        self._lent: list[Any] = []  # what `_data` points to ...
        self._order: Any = None  # ... and `training`
        self._kind: tuple[int, bool, bool] | None = None  # of what is lent
        self._workspace: Workspace | None = None
        call = {"theta": lent, "theta_size": theta.size, "state": self.training}
        call |= {"net": plan.network, "data": self._data}
        self.done = ffi.new("pycnn_batch_call *", call)
        self.run = functools.partial(lib.pycnn_call_train_batch, self.done)

    def remember(self, slots: Array, updates: int) -> None:
        """Go on with what the optimizer remembers after so many updates; it changes in place."""
        lent, kept = _from_buffer(_DOUBLES, slots), ffi.new("double[]", self._size + slots.size)
        self.training.slots = lent if slots.size else _NULL
        self.training.updates = updates
        self.done.kept = kept
        self._alive[2:] = lent, kept

    def lend(self, data: Data, order: Indices | None = None) -> None:
        """Take the samples of the next steps, in this order."""
        x, y, weight, lengths, _ = data
        labels = y.dtype.kind == "i"
        plain = lengths is None and y.ndim == 2 - labels
        kind = (len(x), labels, weight is not None) if plain else None
        if plain and kind == self._kind:
            self.lend_again(x, y, weight)
        else:
            self._kind = None  # until all is lent
            self._lent = _lend(self._plan, data, self._data)
            workspace = self._make_room(len(x))
            if lengths is not None or workspace.sequences is not None:
                workspace.set_sequences(lengths, None)
            self._kind = kind
        if order is not None:
            self.training.order = self._order = _from_buffer(_SIZES, order)
        elif self._order is not None:
            self.training.order, self._order = _NULL, None

    def lend_again(self, x: Array, y: Array | Indices, weight: Array | None) -> None:
        """Take other samples, in contiguous arrays of the same shapes and kinds as before."""
        lend, data, lent = _from_buffer, self._data, self._lent
        data.x = lent[0] = lend(_DOUBLES, x)
        if lent[2]:
            data.label = lent[2] = lend(_SIZES, y)
        else:
            data.y = lent[1] = lend(_DOUBLES, y)
        if weight is not None:
            data.weight = lent[3] = lend(_DOUBLES, weight)
        if self._shares:
            self._take_threads()

    def _make_room(self, rows: int) -> Workspace:
        """Return a workspace with room for so many samples."""
        workspace, room = self._workspace, min(rows, self._plan.most_in_training)
        # As of those that a plan keeps: where sums end and begin again is a matter of size.
        if workspace is None or workspace.batch < room or room <= PIECE < workspace.batch:
            workspace = self._workspace = self._plan.new_workspace(room, _BACKWARD)
            self.done.ws = workspace.pointer
        self.training.batch_size = rows
        # No layer does more with a sample than to use each number of theta once for each input.
        self._shares = rows * self._plan.inputs * self._size >= WORK_WORTH_SHARING
        self._take_threads()
        return workspace

    def _take_threads(self) -> None:
        assert self._workspace is not None
        self._workspace.set_threads(_pool.get() if self._shares else _NULL)

    def check(self) -> None:
        """Raise why the last step was not done; nothing where it was."""
        status = self.done.status
        if status in (lib.PYCNN_ERROR_DIVERGED, lib.PYCNN_ERROR_NOT_FINITE):
            raise NotFiniteError(0)
        assert self._workspace is not None
        self._workspace.check(status)


def batch_trainer(
    plan: Plan, theta: Array, optimizer: OptimizerSpec, keys: Bits | None
) -> BatchTrainer:
    """Return what does one step after another with the least delay, each on a mini-batch.

    `keys`, (1,), are read at each step, as in training.
    """
    return _BatchTrainer(plan, theta, optimizer, keys)


with contextlib.suppress(ImportError):  # threadpoolctl may not be installed
    from pycnn import _threadpoolctl  # noqa: F401 - registers itself

assert np.dtype(np.intp).itemsize == ffi.sizeof("size_t")
