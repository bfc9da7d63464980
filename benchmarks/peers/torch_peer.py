"""PyTorch: as everyone writes it, and with the whole step compiled."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import pycnn
from benchmarks.peers import Peer, Task, flatten_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.workloads import Array, Workload

    # A module, and what gives its arrays by pycnn's names and in pycnn's layout.
    Converted = tuple[nn.Module, Callable[[], dict[str, Array]]]

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def _read(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy()


def _set(**values: tuple[nn.Parameter, Array]) -> None:
    """Put arrays into a module's parameters."""
    with torch.no_grad():
        for parameter, array in values.values():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))


class _LastStep(nn.Module):
    """A recurrent module's output, at all positions or at the last one."""

    def __init__(self, inner: nn.Module, sequences: bool) -> None:
        super().__init__()
        self.inner, self.sequences = inner, sequences

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.inner(x)
        return y if self.sequences else y[:, -1]


class _GlobalAverage(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=-1)


class _Positions(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.table


class _Block(nn.Module):
    """`TransformerEncoderLayer` with a causal mask."""

    def __init__(self, inner: nn.TransformerEncoderLayer, positions: int) -> None:
        super().__init__()
        self.inner = inner
        mask = nn.Transformer.generate_square_subsequent_mask(positions)
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x, src_mask=self.mask, is_causal=True)


def _dense(own: Any, before: Any, flattened: Any) -> Converted:
    module = nn.Linear(own.W.shape[1], own.units)
    W, order = own.W, np.arange(own.W.shape[1])
    if flattened is not None:  # whose channels come first here
        order = np.moveaxis(order.reshape(flattened), -1, 0).ravel()
    _set(W=(module.weight, W[:, order]), b=(module.bias, own.b))
    back = np.argsort(order)
    return module, lambda: {"W": _read(module.weight)[:, back], "b": _read(module.bias)}


def _convolution(own: Any, before: Any, flattened: Any) -> Converted:
    kind = nn.Conv1d if isinstance(own, pycnn.Conv1D) else nn.Conv2d
    module = kind(before[-1], own.filters, own.kernel_size, padding=own.padding)
    _set(W=(module.weight, np.moveaxis(own.W, -1, 1)), b=(module.bias, own.b))
    return module, lambda: {"W": np.moveaxis(_read(module.weight), 1, -1), "b": _read(module.bias)}


def _lstm(own: Any, before: Any, flattened: Any) -> Converted:
    module = nn.LSTM(before[-1], own.units, batch_first=True)
    _set(
        W=(module.weight_ih_l0, own.W),
        U=(module.weight_hh_l0, own.U),
        b=(module.bias_ih_l0, own.b),
        second=(module.bias_hh_l0, np.zeros_like(own.b)),
    )
    module.bias_hh_l0.requires_grad_(False)  # the second of two that are added up
    return _LastStep(module, own.return_sequences), lambda: {
        "W": _read(module.weight_ih_l0),
        "U": _read(module.weight_hh_l0),
        "b": _read(module.bias_ih_l0),
    }


def _gru(own: Any, before: Any, flattened: Any) -> Converted:
    units = own.units
    module = nn.GRU(before[-1], units, batch_first=True)
    second = np.concatenate([np.zeros(2 * units), own.b_n])
    _set(
        W=(module.weight_ih_l0, own.W),
        U=(module.weight_hh_l0, own.U),
        b=(module.bias_ih_l0, own.b),
        b_n=(module.bias_hh_l0, second),
    )
    used = torch.from_numpy(np.repeat([0.0, 1.0], [2 * units, units]))
    # Two of the three parts of the second bias are the first one's once more.
    module.bias_hh_l0.register_hook(lambda gradient: gradient * used.to(gradient.dtype))
    return _LastStep(module, own.return_sequences), lambda: {
        "W": _read(module.weight_ih_l0),
        "U": _read(module.weight_hh_l0),
        "b": _read(module.bias_ih_l0),
        "b_n": _read(module.bias_hh_l0)[2 * units :],
    }


def _embedding(own: Any, before: Any, flattened: Any) -> Converted:
    module = nn.Embedding(*own.W.shape)
    _set(W=(module.weight, own.W))
    return module, lambda: {"W": _read(module.weight)}


def _positions(own: Any, before: Any, flattened: Any) -> Converted:
    module = _Positions(own.W.shape)
    _set(W=(module.table, own.W))
    return module, lambda: {"W": _read(module.table)}


def _norm(own: Any, before: Any, flattened: Any) -> Converted:
    module = nn.LayerNorm(before[-1], eps=own.epsilon)
    _set(gamma=(module.weight, own.gamma), beta=(module.bias, own.beta))
    return module, lambda: {"gamma": _read(module.weight), "beta": _read(module.bias)}


def _block(own: Any, before: Any, flattened: Any) -> Converted:
    positions, features = before
    module = nn.TransformerEncoderLayer(
        features, own.heads, own.hidden, 0.0, "gelu", batch_first=True, norm_first=True
    )
    attention, tensors = module.self_attn, own.tensors
    places = {
        "norm_1.gamma": module.norm1.weight,
        "norm_1.beta": module.norm1.bias,
        "attention.W_output": attention.out_proj.weight,
        "attention.b_output": attention.out_proj.bias,
        "norm_2.gamma": module.norm2.weight,
        "norm_2.beta": module.norm2.bias,
        "dense_1.W": module.linear1.weight,
        "dense_1.b": module.linear1.bias,
        "dense_2.W": module.linear2.weight,
        "dense_2.b": module.linear2.bias,
    }
    roles = ("query", "key", "value")
    joint = {"W": attention.in_proj_weight, "b": attention.in_proj_bias}
    _set(**{name: (place, tensors[name]) for name, place in places.items()})
    for kind, place in joint.items():
        parts = [tensors[f"attention.{kind}_{role}"] for role in roles]
        _set(joint=(place, np.concatenate(parts)))

    def read() -> dict[str, Array]:
        found = {name: _read(place) for name, place in places.items()}
        for kind, place in joint.items():
            for role, part in zip(roles, np.split(_read(place), 3), strict=True):
                found[f"attention.{kind}_{role}"] = part
        return found

    return _Block(module, positions), read


_CONVERTERS = {
    pycnn.Dense: _dense,
    pycnn.Conv1D: _convolution,
    pycnn.Conv2D: _convolution,
    pycnn.MaxPool1D: lambda own, *_: (nn.MaxPool1d(own.pool_size), dict),
    pycnn.MaxPool2D: lambda own, *_: (nn.MaxPool2d(own.pool_size), dict),
    pycnn.GlobalAveragePool1D: lambda *_: (_GlobalAverage(), dict),
    pycnn.Flatten: lambda *_: (nn.Flatten(), dict),
    pycnn.LSTM: _lstm,
    pycnn.GRU: _gru,
    pycnn.Embedding: _embedding,
    pycnn.PositionEmbedding: _positions,
    pycnn.LayerNorm: _norm,
    pycnn.TransformerBlock: _block,
}


def convert(net: pycnn.Network) -> tuple[nn.Module, Callable[[], Array]]:
    """Return the same network up to the output layer's z, and what reads it as pycnn lays it out.

    Images, and sequences that are convolved, come with their channels first.
    """
    torch.set_default_dtype(torch.float64)  # of what modules start as
    modules, readers, flattened = [], [], None
    shapes = [net.input_shape, *net.architecture.output_shapes]
    for i, own in enumerate(net.layers):
        module, read = _CONVERTERS[type(own)](own, shapes[i], flattened)
        flattened = shapes[i] if isinstance(own, pycnn.Flatten) else None
        modules.append(module)
        readers.append(read)
        activation = getattr(own, "activation", "linear")
        if activation in _ACTIVATIONS:
            modules.append(_ACTIVATIONS[activation]())
    return nn.Sequential(*modules), lambda: flatten_named(net, [read() for read in readers])


def _loss(name: str, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if name == "mse":
        return 0.5 * functional.mse_loss(z, y)
    if name == "binary_crossentropy":
        return functional.binary_cross_entropy_with_logits(z, y)
    return functional.cross_entropy(z.flatten(0, -2), y.flatten())


class _Torch(Peer):
    families = ("rows", "layers")
    dtype: ClassVar[torch.dtype] = torch.float64

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self.task = task
        module, self.flat = convert(task.net)
        self.module = module.to(self.dtype)
        net = task.net
        if isinstance(net.input_shape, pycnn.Tokens):
            X = torch.from_numpy(task.X).long()
        else:
            image = any(isinstance(own, (pycnn.Conv1D, pycnn.Conv2D)) for own in net.layers)
            X = np.ascontiguousarray(np.moveaxis(task.X, -1, 1) if image else task.X)
            X = torch.from_numpy(X).to(self.dtype)
        y = torch.from_numpy(task.y)
        y = y if y.dtype == torch.int64 else y.to(self.dtype)
        self.batches = [(X[rows], y[rows]) for rows in task.batches()]
        self.rows = [x.numpy() for x, _ in self.batches]
        self.total = torch.zeros((), dtype=self.dtype)
        self.output: Array | None = None

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        z = self.module(x)
        if self.task.workload.loss == "binary_crossentropy":
            return torch.sigmoid(z)
        return z if self.task.workload.loss == "mse" else torch.softmax(z, -1)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def run(self, epochs: int) -> None:
        if self.task.workload.training:
            step = self.step
            for _ in range(epochs):
                for x, y in self.batches:
                    self.total += step(x, y)
            return
        predict = self.predict
        with torch.inference_mode():
            for _ in range(epochs):
                for row in self.rows:
                    self.output = predict(torch.from_numpy(row)).numpy()

    def result(self) -> Array:
        return self.flat() if self.output is None else self.output


class TorchEager(_Torch):
    """Autograd and `torch.optim.SGD`, fused."""

    title = "PyTorch"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if task.workload.training:
            learned = [p for p in self.module.parameters() if p.requires_grad]
            rate = task.workload.learning_rate
            self.optimizer = torch.optim.SGD(learned, lr=rate, fused=True)
        else:
            self.module.eval()

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = _loss(self.task.workload.loss, self.module(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class TorchSingle(TorchEager):
    """The same in single precision."""

    title = "PyTorch, float32"
    precision = "float32"
    families = ("layers",)
    dtype = torch.float32


class TorchCompiled(_Torch):
    """Forward, backward and update as one graph."""

    title = "PyTorch, compiled"
    families = ("rows",)

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        return None if shutil.which("c++") or shutil.which("g++") else "needs a C++ compiler"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        workload, module = task.workload, self.module
        self.weights = {name: p.detach() for name, p in module.named_parameters()}

        def loss(weights: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            z = torch.func.functional_call(module, weights, x)
            return _loss(workload.loss, z, y)

        def step(weights: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            gradients, value = torch.func.grad_and_value(loss)(weights, x, y)
            for name, weight in weights.items():
                weight.sub_(gradients[name], alpha=workload.learning_rate)
            return value

        torch.compiler.reset()
        self.compiled = torch.compile(step, dynamic=False, fullgraph=True)
        if not workload.training:
            self.predict = torch.compile(self.predict, dynamic=False, fullgraph=True)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.compiled(self.weights, x, y)
