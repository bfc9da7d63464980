"""Attention that others have written: queries, keys and values are followed to where they meet.

It is some twenty operations, other ones from each exporter, and most of them only move numbers. So
they are done with places instead of numbers, for several samples at once: each place says of which
sample, position and feature its number is. Where queries meet keys, and probabilities meet values,
the places say which features are one head's, and whether samples and positions are where they
should be. What pycnn's layer does not do is refused.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn import layers
from pycnn._folding import Folded
from pycnn._io.model_file import FAULTS
from pycnn._io.onnx.operations import FLOATS, MOVES, Room, fitting
from pycnn.exceptions import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pycnn._io.onnx.flow import Flow
    from pycnn._io.onnx.graph import Graph
    from pycnn._io.onnx.model import Node
    from pycnn._typing import AnyArray, Array, Shape

__all__ = ["OPERATIONS", "add_attention", "with_blocks"]

OPERATIONS = ("Softmax", "Attention")  # one of them is in every attention
MOST_PLACES = 1 << 24
MOST_STEPS = 24  # that are taken beyond where probabilities meet values
NEVER = -1e8  # scores that this or less is added to become no probabilities
DENSE = ("dense", "dense")
EXACT = 1e-6  # how near a scale in float32 is to the number that is meant


class Source(NamedTuple):
    """What gives features at each position: W x + b."""

    width: int  # features
    W: Array | None = None  # None: x as it is
    b: Array | float = 0.0
    heads: Heads | None = None  # x is what these have taken; None: it is what comes in


class Rows(NamedTuple):
    """Numbers of a source, all scaled."""

    places: AnyArray  # (sample * positions + position) * width + feature
    source: Source | None  # None: a tensor from elsewhere, of which no more than the shape is used
    scale: float = 1.0

    @property
    def own(self) -> Source:
        """The source, which must be there."""
        if self.source is None:
            raise ValueError("it takes of more tensors than one")
        return self.source


class Part(NamedTuple):
    """What all heads have of a source as queries, keys or values."""

    source: Source
    scale: float
    features: AnyArray  # (heads, features of one)


class Scores(NamedTuple):
    """What queries and keys make together, or the probabilities that come of it."""

    shape: Shape  # samples and heads, positions of queries, positions of keys: in this order
    samples: AnyArray  # of which sample each pair of positions x positions is
    query: Part
    key: Part
    scale: float = 1.0
    zeros: AnyArray | bool = False  # where they are multiplied by 0
    mask: Array | float = 0.0  # which is added
    are_probabilities: bool = False


class Heads(NamedTuple):
    """An attention up to where its heads' outputs lie side by side."""

    query: Part
    key: Part
    value: Part
    is_causal: bool


def _is_causal(scores: Scores) -> bool:
    """Return whether each position sees only itself and those before it, and not all."""
    if not np.any(scores.mask) and not np.any(scores.zeros):
        return False
    seen = np.asarray(scores.mask == 0) & ~np.asarray(scores.zeros)
    never = np.asarray(scores.mask <= NEVER)
    if not (seen | never).all() or (seen != np.tri(len(seen), dtype=np.bool_)).any():
        raise ValueError("a mask other than that of a causal attention")
    return True


class Walk:
    """What is computed from where an attention begins."""

    def __init__(self, graph: Graph, flow: Flow, name: str) -> None:
        index = flow.whole()
        self.graph, self.name = graph, name
        self.features = flow.shape[-1] if len(flow.shape) > 1 else index.shape[-1]
        self.positions = index.size // self.features
        # An open batch has a size that divides nothing else.
        primes = (n for n in (3, 5, 7, 11, 13, 17, 19, 23) if index.size % n)
        self.samples = next(primes) if graph.batch is None else graph.batch
        source = Source(self.features)
        self.room = Room(MOST_PLACES)
        self.values: dict[str, Any] = {name: Rows(self._several(index, flow.batch), source)}

    def _several(self, index: AnyArray, batch: int) -> AnyArray:
        if self.samples * index.size > MOST_PLACES:
            raise ValueError(f"{self.samples} samples of shape {index.shape} are too large")
        return np.concatenate([index + n * index.size for n in range(self.samples)], batch)

    # ------------------------------------------------ tensors

    def value(self, name: str) -> Any:
        """Return what a tensor is."""
        needed: set[int] = set()
        names = [name]
        while names:
            known = names.pop()
            if not known or known in self.values or known in self.graph.fixed:
                continue
            if known in self.graph.seen:
                self.values[known] = Rows(self._several(*self.graph.seen[known]), None)
            elif known not in self.graph.maker:
                raise ValueError(f"it takes {known!r}, too")
            elif self.graph.maker[known] not in needed:
                needed.add(self.graph.maker[known])
                names += self.graph.nodes[self.graph.maker[known]].inputs
        for node in (self.graph.nodes[at] for at in sorted(needed)):
            try:
                self.values |= zip(node.outputs, self._made(node), strict=False)
            except FAULTS as error:
                raise ModelFileError(f"cannot be read at {node}: {error}") from None
        return self.values[name]

    def forget(self, name: str) -> None:
        """Keep what this tensor is, and where the attention begins, and nothing else."""
        self.values = {kept: self.values[kept] for kept in (self.name, name)}

    def _made(self, node: Node) -> list[Any]:
        """Return what a node makes."""
        inputs: list[Any] = [
            self.values[x] if x in self.values else self.graph.arrays[x] if x else None
            for x in node.inputs
        ]
        kinds = tuple(type(x) for x in inputs if isinstance(x, (Rows, Scores)))
        if not kinds:
            found = self.room.compute(node.op, node.given, inputs)
            if found is None:
                raise ValueError("pycnn does not compute it of constants")
            return [found]
        if node.op == "Shape":
            start, end = node.given.get("start", 0), node.given.get("end")
            x = inputs[0]
            shape = x.shape if isinstance(x, Scores) else x.places.shape
            return [np.array(shape[start:end], np.int64)]
        if node.op == "Split":
            return self._split(node, *inputs)
        make = MADE.get((node.op, *kinds))
        if make is None or (node.op not in EITHER and type(inputs[0]) is not kinds[0]):
            raise ValueError("no attention that pycnn has does this")
        return [make(self, node, *inputs)]

    # ------------------------------------------------ what operations do with numbers of a source

    def moved(self, node: Node, rows: Rows, *others: Any) -> Rows:
        """Move numbers."""
        if node.op == "Cast" and node.given.get("to") not in FLOATS:
            raise ValueError("numbers become integers")
        moved = MOVES[node.op](node.given, MOST_PLACES, rows.places, *others)
        return rows._replace(places=np.asarray(moved))

    def _split(self, node: Node, rows: Rows, sizes: Any = None) -> list[Rows]:
        axis, parts = node.given.get("axis", 0), len(node.outputs)
        sizes = node.given.get("split") if sizes is None else sizes
        size = rows.places.shape[axis]
        each = [-(-size // parts)] * parts if sizes is None else [int(n) for n in sizes]
        cuts = np.cumsum(each)[:-1]
        if min(each) < 0 or (sizes is not None and sum(each) != size):
            raise ValueError(f"parts {each} of {size}")
        return [rows._replace(places=part) for part in np.split(rows.places, cuts, axis)]

    def shifted(self, node: Node, x: Any, y: Any) -> Rows:
        """Add biases."""
        rows, c = (x, y) if isinstance(x, Rows) else (y, x)
        if np.broadcast_shapes(np.shape(c), rows.places.shape) != rows.places.shape:
            raise ValueError("biases of another shape")
        source, which = rows.own, rows.places % rows.own.width
        wide, b = np.broadcast_to(c, which.shape), np.zeros(source.width)
        b[which] = wide
        if not (b[which] == wide).all():
            raise ValueError("biases are other ones at other positions")
        return rows._replace(source=source._replace(b=source.b + b / rows.scale))

    def projected(self, node: Node, rows: Rows, W: Any, b: Any = None) -> Rows:
        """Take sums of all features at each position."""
        source, given = rows.own, node.given
        if node.op == "Gemm":
            W = given.get("alpha", 1.0) * (W.T if given.get("transB") else W)
        if given.get("transA") or np.ndim(W) != 2:
            raise ValueError("weights must be one matrix, behind the features")
        at, which = np.divmod(rows.places, source.width)
        order = which.reshape(-1, which.shape[-1])[0]
        if (which != order).any() or sorted(order.tolist()) != [*range(len(W))]:
            raise ValueError("weights must be of all features")
        if source.W is not None or np.any(source.b) or (at != at[..., :1]).any():
            raise ValueError("weights of what has weights, or of several positions")
        own = np.empty(W.shape[::-1])
        own[:, order] = rows.scale * W.T
        made = Source(len(own), own, heads=source.heads)
        if at[..., 0].size * made.width > MOST_PLACES:
            raise ValueError("it is too large")
        places = at[..., :1] * made.width + np.arange(made.width, dtype=at.dtype)
        found = Rows(places, made)
        return found if b is None else self.shifted(node, found, given.get("beta", 1.0) * b)

    def _apart(self, rows: Rows, places: AnyArray) -> tuple[Shape, AnyArray, Part]:
        """Return what lies in front of (positions, features), of what samples, and the features."""
        source, positions = rows.own, np.arange(self.positions)[:, None]
        if places.ndim < 3 or places.shape[-2] != self.positions:
            raise ValueError("an attention that is not from each position of a sample to all")
        if source.heads is not None:
            raise ValueError("an attention of what another one gives")
        at, which = np.divmod(places, source.width)
        sample, position = np.divmod(at, self.positions)
        if (position != positions).any() or (sample != sample[..., :1, :1]).any():
            raise ValueError("an attention across samples, or not along positions")
        if (which != which[..., :1, :]).any():
            raise ValueError("features are other ones at other positions")
        samples = sample[..., 0, 0].ravel()
        features = which[..., 0, :].reshape(len(samples), -1)
        return places.shape[:-2], samples, Part(source, rows.scale, features)

    # ------------------------------------------------ ... and with scores

    @property
    def _square(self) -> tuple[int, int]:
        return self.positions, self.positions

    def met(self, node: Node, query: Rows, key: Rows) -> Scores:
        """Let queries, (..., positions, features), meet keys, (..., features, positions)."""
        lead, samples, queries = self._apart(query, query.places)
        own, of, keys = self._apart(key, key.places.swapaxes(-1, -2))
        same = lead == own and queries.features.shape == keys.features.shape
        if not same or (samples != of).any():
            raise ValueError("queries meet keys of other samples or sizes")
        return Scores((*lead, *self._square), samples, queries, keys)

    def scaled(self, node: Node, x: Any, y: Any) -> Any:
        """Multiply or divide by a number, or scores by zeros and ones."""
        own, c = (x, y) if isinstance(x, (Rows, Scores)) else (y, x)
        if node.op == "Mul" and isinstance(own, Scores) and np.isin(c, (0, 1)).all():
            c = self._over(own, c)
            return own._replace(mask=own.mask * c, zeros=own.zeros | (c == 0))
        axes = len(own.shape) if isinstance(own, Scores) else own.places.ndim
        if np.size(c) != 1 or np.ndim(c) > axes or (node.op == "Div" and own is y):
            raise ValueError("one number alone can scale queries, keys and values")
        c = float(np.ravel(c)[0]) if node.op == "Mul" else 1 / float(np.ravel(c)[0])
        if not (c and math.isfinite(c)):
            raise ValueError(f"a scale of {c}")
        if isinstance(own, Rows):
            return own._replace(scale=own.scale * c)
        self._over(own, c)
        return own._replace(scale=own.scale * c, mask=own.mask * c)

    def _over(self, scores: Scores, c: Any) -> AnyArray:
        """Return what scores are multiplied by, or what is added, as (positions, positions)."""
        size, lead = self.positions, np.shape(c)[:-2]
        if scores.are_probabilities:
            raise ValueError("probabilities are changed")
        if scores.shape[-2:] != self._square or np.ndim(c) > len(scores.shape):
            raise ValueError("a mask of another shape than scores")
        fitting(math.prod(lead), size, size, limit=MOST_PLACES)
        wide = np.broadcast_to(c, (*lead, size, size)).reshape(-1, size, size)
        if (wide != wide[:1]).any():
            raise ValueError("a mask that is another one for other heads or samples")
        return wide[0]

    def masked(self, node: Node, x: Any, y: Any) -> Scores:
        """Add a mask."""
        return self._masked(x, y) if isinstance(x, Scores) else self._masked(y, x)

    def _masked(self, scores: Scores, mask: Any) -> Scores:
        return scores._replace(mask=scores.mask + self._over(scores, mask))

    def chosen(self, node: Node, where: Any, x: Any, y: Any) -> Scores:
        """Put a low number in place of some scores, or of what is no number."""
        own, low = (x, y) if isinstance(x, Scores) else (y, x)
        keeps = np.asarray(where, np.bool_) == (own is x)
        if keeps.all():
            return own
        if np.size(low) != 1:
            raise ValueError("scores become several numbers")
        return self._masked(own, np.where(keeps, 0.0, np.ravel(low)[0]))

    def normalized(self, node: Node, scores: Scores) -> Scores:
        """Make probabilities of scores."""
        axis = node.given.get("axis", -1 if self.graph.model.opset >= 13 else 1)
        rest = scores.shape[axis % len(scores.shape) :]
        if scores.are_probabilities or rest[0] != self.positions or math.prod(rest) != rest[0]:
            raise ValueError("softmax must be along the keys")
        return scores._replace(are_probabilities=True)

    def kept(self, node: Node, scores: Scores, *others: Any) -> Scores:
        """Leave scores as they are, but for their shape."""
        if node.op == "Cast" and node.given.get("to") not in FLOATS:
            raise ValueError("numbers become integers")
        view = np.broadcast_to(np.zeros(1, np.int8), scores.shape)  # takes no room
        if node.op != "Reshape":
            return scores._replace(shape=MOVES[node.op](node.given, 0, view, *others).shape)
        sizes = [view.shape[n] if size == 0 else int(size) for n, size in enumerate(others[0])]
        if -1 in sizes:
            sizes[sizes.index(-1)] = view.size // -math.prod(sizes)
        if math.prod(sizes) != view.size:
            raise ValueError(f"scores of shape {view.shape} become {tuple(sizes)}")
        return scores._replace(shape=tuple(sizes))

    def taken(self, node: Node, scores: Scores, value: Rows) -> Rows:
        """Let probabilities meet values, (..., positions, features)."""
        lead, samples, values = self._apart(value, value.places)
        if (*lead, *self._square) != scores.shape or (samples != scores.samples).any():
            raise ValueError("probabilities meet values of other samples")
        if not scores.are_probabilities:
            raise ValueError("what meets values is not normalized")
        each = np.argsort(samples, kind="stable").reshape(self.samples, -1)  # heads of a sample
        if (samples[each] != np.arange(self.samples)[:, None]).any():
            raise ValueError("samples have heads of their own")
        parts = []
        for part in (scores.query, scores.key, values):
            if (part.features[each] != part.features[each[0]]).any():
                raise ValueError("samples have heads of their own")
            parts.append(part._replace(features=part.features[each[0]]))
        parts[0] = parts[0]._replace(scale=parts[0].scale * scores.scale)
        heads, size = parts[2].features.shape
        number = np.empty_like(samples)
        number[each] = np.arange(heads)
        at = samples[:, None] * self.positions + np.arange(self.positions, dtype=samples.dtype)
        places = (at * heads + number[:, None])[..., None] * size
        places = places + np.arange(size, dtype=samples.dtype)
        source = Source(heads * size, heads=Heads(parts[0], parts[1], parts[2], _is_causal(scores)))
        return Rows(places.reshape(*lead, self.positions, size), source)

    def attended(self, node: Node, query: Rows, key: Rows, value: Rows, *more: Any) -> Rows:
        """Do all that at once."""
        given, mask = node.given, more[0] if more else None
        if given.get("softcap") or any(x is not None for x in more[1:]):
            raise ValueError("a cap of the scores, lengths, or keys and values of the past")
        axes = {rows.places.ndim for rows in (query, key, value)}
        flat = axes == {3}
        if not flat and axes != {4}:
            raise ValueError("queries, keys and values of other axes")
        if flat:  # (samples, positions, heads * features)
            counts = given["q_num_heads"], given["kv_num_heads"], given["kv_num_heads"]
            query, key, value = (
                rows._replace(
                    places=rows.places.reshape(*rows.places.shape[:2], n, -1).swapaxes(1, 2)
                )
                for rows, n in zip((query, key, value), counts, strict=True)
            )
        scores = self.met(node, query, key._replace(places=key.places.swapaxes(-1, -2)))
        size = scores.query.features.shape[1]
        scores = scores._replace(scale=given.get("scale", size**-0.5))
        if mask is not None:
            is_bool = mask.dtype.kind == "b"
            scores = self._masked(scores, np.where(mask, 0.0, -np.inf) if is_bool else mask)
        if given.get("is_causal"):
            earlier = np.tri(*fitting(*self._square, limit=MOST_PLACES), dtype=np.bool_)
            scores = self._masked(scores, np.where(earlier, 0.0, -np.inf))
        found = self.taken(node, scores._replace(are_probabilities=True), value)
        if flat:
            places = found.places.swapaxes(1, 2)
            found = found._replace(places=places.reshape(*places.shape[:2], -1))
        return found

    # ------------------------------------------------ what it is all in all

    def place(self, rows: Rows) -> tuple[AnyArray, int] | None:
        """Return the index of one sample, and the batch's axis, if samples are apart."""
        size = self.positions * rows.own.width
        axes = sorted(range(rows.places.ndim), key=lambda n: rows.places.shape[n] != self.samples)
        for axis in axes:
            if rows.places.shape[axis] % self.samples == 0:
                first, *others = np.split(rows.places, self.samples, axis)
                here = (first < size).all() and all(
                    (part == first + n * size).all() for n, part in enumerate(others, 1)
                )
                if here:
                    return first, axis
        return None


KEEPING = ("Cast", "Dropout", "Identity", "Reshape", "Squeeze", "Unsqueeze")  # scores in order
EITHER = ("Add", "Div", "Mul", "Where")  # what is no constant may be any of their inputs
MADE: dict[tuple[Any, ...], Callable[..., Any]] = {
    **{(op, Rows): Walk.moved for op in MOVES},
    **{(op, Scores): Walk.kept for op in KEEPING},
    ("Add", Rows): Walk.shifted,
    ("Add", Scores): Walk.masked,
    ("Attention", Rows, Rows, Rows): Walk.attended,
    ("Div", Rows): Walk.scaled,
    ("Div", Scores): Walk.scaled,
    ("Gemm", Rows): Walk.projected,
    ("IsNaN", Scores): lambda walk, node, scores: np.zeros((), np.bool_),
    ("MatMul", Rows): Walk.projected,
    ("MatMul", Rows, Rows): Walk.met,
    ("MatMul", Scores, Rows): Walk.taken,
    ("Mul", Rows): Walk.scaled,
    ("Mul", Scores): Walk.scaled,
    ("Softmax", Scores): Walk.normalized,
    ("Where", Scores): Walk.chosen,
}


def add_attention(
    graph: Graph, flow: Flow, name: str, joins: Iterable[tuple[str, list[int]]]
) -> str:
    """Add an attention that begins at a tensor; return where it ends, behind all of its weights."""
    walk = Walk(graph, flow, name)
    found = None
    for out, _ in islice(joins, MOST_STEPS):
        try:
            rows = walk.value(out)
        except ModelFileError:
            if found is None:
                raise
            break  # what lies behind it
        if isinstance(rows, Rows) and rows.own.heads is not None:
            W, place = rows.own.W, walk.place(rows)
            if place is not None and (W is None or W.shape[0] == W.shape[1]):
                found = out, rows.own, rows.scale, place
        walk.forget(out)
    if found is None:
        raise ValueError("pycnn has no attention that does this")
    out, output, scale, (index, flow.batch) = found
    _add(flow, (walk.positions, walk.features), output, scale, index)
    return out


def _add(flow: Flow, shape: Shape, output: Source, scale: float, index: AnyArray) -> None:
    """Add an attention; weights in front of where it begins are a part of it."""
    heads = output.heads
    assert heads is not None  # nothing else is found
    number, size = heads.query.features.shape
    own = heads.query.scale * heads.key.scale * size**0.5  # beside pycnn's scale of scores
    factors = 1.0 if abs(own - 1) < EXACT else own, 1.0, heads.value.scale
    parts, dense = (heads.query, heads.key, heads.value), None
    last = flow.items[-1].config if flow.items else {}
    in_front = (last.get("kind"), last.get("activation")) == ("dense", "linear")
    # A dense layer of rows that have become sequences is none of each position.
    if in_front and flow.shape == shape and all(part.source.W is None for part in parts):
        dense = flow.items.pop().arrays
    arrays = {}
    for role, part, factor in zip(("query", "key", "value"), parts, factors, strict=True):
        rows, (width, W, b, _) = part.features.ravel(), part.source
        b = np.broadcast_to(b, width)
        if dense is not None:
            W, b = dense["W"], b + dense["b"]
        W = np.eye(width) if W is None else W
        arrays[f"W_{role}"], arrays[f"b_{role}"] = factor * W[rows], factor * b[rows]
    features = arrays["W_query"].shape[1]
    if {len(array) for array in arrays.values()} != {features}:
        raise ValueError(
            f"{number} heads have queries of {size} features and values of "
            f"{heads.value.features.shape[1]}: pycnn's share out the {features} that come in"
        )
    W = np.eye(output.width) if output.W is None else output.W
    arrays |= {
        "W_output": scale * W,
        "b_output": np.broadcast_to(scale * output.b, features).copy(),
    }
    if dense is None:
        flow.see(shape)
    layer = layers.MultiHeadAttention(number, causal=heads.is_causal)
    flow.add(layer, (shape[0], features), index, **arrays)


# ------------------------------------------------------------------ blocks


# Kinds of layers on top of each other, with those that a shortcut goes around; and what a block
# calls them all, if its norms are first or not.
BLOCKS = {
    True: (
        (("residual", "layer_norm", "multi_head_attention"), ("residual", "layer_norm", *DENSE)),
        ("norm_1", "attention", "norm_2", "dense_1", "dense_2"),
    ),
    False: (
        (
            *(("residual", "multi_head_attention"), ("layer_norm",)),
            *(("residual", *DENSE), ("layer_norm",)),
        ),
        ("attention", "norm_1", "dense_1", "dense_2", "norm_2"),
    ),
}


def with_blocks(items: list[Folded]) -> list[Folded]:
    """Return layers with one `TransformerBlock` in place of all that make one."""
    done: list[Folded] = []
    for item in items:
        done.append(item)
        for norm_first, (kinds, names) in BLOCKS.items():
            last = done[-len(kinds) :]
            own = tuple(
                (each.config["kind"], *(inner["kind"] for inner in each.config.get("layers", ())))
                for each in last
            )
            block = _block(last, names, norm_first) if own == kinds else None
            if block is not None:
                done[-len(kinds) :] = [block]
    return done


def _block(items: list[Folded], names: tuple[str, ...], norm_first: bool) -> Folded | None:
    """Return layers as one block, if they have its settings."""
    arrays: dict[str, Array] = {}
    inner: dict[str, dict[str, Any]] = {}
    left = iter(names)
    for item in items:
        is_plain = item.config.get("shortcut") is None and item.config["activation"] == "linear"
        of_item = [("", item.config)]
        if item.config["kind"] == "residual":
            of_item = [(f"inner.{n}.", c) for n, c in enumerate(item.config["layers"], 1)]
        if not is_plain:
            return None
        for prefix, config in of_item:
            name = next(left)
            inner[name] = config
            own = [key for key in item.arrays if key.startswith(prefix)]
            arrays |= {f"{name}.{key.removeprefix(prefix)}": item.arrays[key] for key in own}
    attention, dense, norm = inner["attention"], inner["dense_1"], layers.LayerNorm().config()
    if inner["dense_2"]["activation"] != "linear" or dense["activation"] == "softmax":
        return None
    if any(inner[name] != norm for name in ("norm_1", "norm_2")):
        return None
    layer = layers.TransformerBlock(
        attention["heads"],
        dense["units"],
        activation=dense["activation"],
        causal=attention["causal"],
        norm_first=norm_first,
    )
    return Folded(layer.config(), arrays)
