"""What a user writes, as strict type checkers read it: nothing has to be ignored."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import pycnn
from pycnn import (
    GRU,
    LBFGS,
    LSTM,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    AveragePool1D,
    AveragePool2D,
    BatchNorm,
    Bidirectional,
    Callback,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool1D,
    GlobalAveragePool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    History,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    Rescale,
    Reshape,
    Residual,
    RMSprop,
    Rprop,
    SimpleRNN,
    SpatialDropout,
    Table,
    TiedDense,
    Tokens,
    Trace,
    TransformerBlock,
    ZeroPadding2D,
    text,
)
from pycnn.augmentation import (
    Compose,
    GaussianNoise,
    ImageBrightness,
    ImageContrast,
    ImageCrop,
    ImageCutout,
    ImageFlip,
    ImageRotation,
    ImageShift,
    Mixup,
)
from pycnn.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from pycnn.datasets import Images, Samples, TrainTest, load_digits, load_fashion_mnist, load_idx
from pycnn.initializers import (
    FanInUniform,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    Normal,
    Orthogonal,
    Uniform,
    Zeros,
)
from pycnn.layers import Layer
from pycnn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Custom,
    Huber,
    Loss,
    Quantile,
)
from pycnn.optimizers import Optimizer, OptimizerState
from pycnn.schedules import (
    Constant,
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    Schedule,
    StepDecay,
    Warmup,
)
from pycnn.text import BytePairTokenizer, CharacterTokenizer, Tokenizer

Array = NDArray[np.float64]


def log_cosh(y_pred: Array, y_true: Array) -> tuple[Array, Array]:
    """Return the loss of each sample, and its derivative by the outputs."""
    error = y_pred - y_true
    return np.log(np.cosh(error)).sum(axis=1), np.tanh(error)


def mean_error(y_pred: Array, y_true: Array) -> tuple[float, Array]:
    """Return the loss of the whole mini-batch, and its derivative."""
    error = y_pred - y_true
    return float((error**2).mean()), 2 * error / error.size


def halve_noise(x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Augment a mini-batch."""
    return x + rng.normal(scale=0.5, size=x.shape), y


class Report(Callback):
    """Remembers the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        """Take down the loss."""
        self.losses.append(logs["loss"])


def stop_when_good(network: Network, epoch: int, logs: dict[str, float]) -> None:
    """End the training early."""
    network.stop_training = logs["loss"] < 1e-6


def batches(X: Array, y: Array) -> Iterator[tuple[Array, Array]]:
    """Yield mini-batches."""
    for first in range(0, len(X), 10):
        yield X[first : first + 10], y[first : first + 10]


def every_class(backend: str, folder: str) -> None:
    """Train by whatever there is to choose from."""
    digits: Samples = load_digits()
    with suppress(FileNotFoundError):
        clothes: TrainTest = load_fashion_mnist(folder)
        test: Images = clothes.test
        assert_type(test.X, NDArray[np.uint8])
        assert_type(load_idx(folder), NDArray[Any])
    X, y = digits.X[:120] / 16, digits.y[:120]
    initializers: list[Initializer] = [
        *(FanInUniform(), GlorotNormal(), GlorotUniform(), HeNormal(), HeUniform()),
        *(Normal(0, 0.1), Uniform(-0.1, 0.1), Zeros(), Orthogonal()),
    ]
    layers: list[Layer] = [
        Residual([Dense(8, "relu", weight_initializer=start), BatchNorm()], shortcut=Dense(8))
        for start in initializers
    ]
    layers += [Rescale(2.0, offset=0.5), Reshape((8, 1)), Conv1D(4, 3, "relu", padding="same")]
    layers += [Reshape((8, 4, 1)), Conv2D(2, (3, 1), strides=(1, 2), use_bias=False)]
    layers += [ZeroPadding2D(((1, 0), (2, 1))), MaxPool2D(2, strides=1), AveragePool2D((1, 2))]
    layers += [Flatten(), Reshape((6, -1)), MaxPool1D(padding="same"), AveragePool1D(1)]
    pools: list[Layer] = [GlobalMaxPool1D(), GlobalAveragePool1D()]
    layers += [SpatialDropout(0.1)]
    pools += [GlobalMaxPool2D(), GlobalAveragePool2D()]
    for pool in pools:
        shape = (64, 1) if "1d" in pool.kind else (8, 8, 1)
        assert Network(64, [Reshape(shape), pool], backend=backend).predict(X[:1]).shape == (1, 1)
    layers += [Flatten()]
    reader: list[Layer] = [Embedding(4), PositionEmbedding(), MultiHeadAttention(2, causal=True)]
    reader += [TransformerBlock(2, dropout=0.1), TiedDense("softmax")]
    assert_type(Tokens(64, length=8).vocabulary, int)
    assert [layer.kind for layer in reader][::4] == ["embedding", "tied_dense"]
    recurrent: list[Layer] = [SimpleRNN(4, return_sequences=True), GRU(3, return_sequences=True)]
    recurrent += [Bidirectional(LSTM(2, reverse=False), merge="sum")]
    for layer in recurrent:
        assert Network((5, 2), [layer, Dense(1)], backend=backend).output_shape[-1] == 1
    schedules: list[Schedule] = [
        *(
            Constant(0.1),
            CosineDecay(0.1),
            ExponentialDecay(0.1),
            OneCycle(0.1),
            StepDecay(0.1, every=2),
        ),
        Warmup(0.1, 1),
    ]
    optimizers: list[Optimizer] = [
        *(SGD(schedule) for schedule in schedules),
        *(Adagrad(), Adam(), AdamW(), RMSprop()),
    ]
    augment = Compose(
        *(GaussianNoise(0.1), ImageFlip((8, 8)), ImageShift((8, 8)), ImageRotation((8, 8))),
        *(ImageCrop((8, 8)), ImageCutout((8, 8), size=2), ImageBrightness(), ImageContrast()),
    )
    callbacks: list[Callback] = [
        ModelCheckpoint(f"{folder}/best.safetensors", monitor="loss"),
        TerminateOnNaN(),
    ]
    losses: list[Loss] = [Custom(log_cosh), Huber(0.5), Quantile(0.9)]
    net = Network(
        64, [*layers, Dense(10, "softmax")], CategoricalCrossentropy(0.1), seed=0, backend=backend
    )
    for rule in optimizers:
        net.fit(X, y, epochs=2, optimizer=rule, augment=augment, callbacks=callbacks)
    assert_type(net.score(X, y), float)
    assert_type(net.predict_proba(X), Array)
    for loss in losses:
        Network(64, [Dense(2)], loss, backend=backend).fit(X, X[:, :2], epochs=1, augment=Mixup())
    bits = Network(64, [Dense(2, "sigmoid")], BinaryCrossentropy(0.1), backend=backend)
    assert_type(bits.fit(X, X[:, :2] > 0.5, epochs=1), History)
    table: Table = Table().fit({"a": [1.0, 2.0, 3.0], "b": ["x", "y", "x"]})
    assert_type(table.transform({"a": [1.0], "b": ["y"]}), Array)
    tokenizers: list[Tokenizer] = [CharacterTokenizer("ab"), BytePairTokenizer.fit("aab", 1)]
    tokenizers += [text.from_metadata(tokenizer.to_metadata()) for tokenizer in tokenizers]
    for tokenizer in tokenizers:
        assert_type(tokenizer.decode(tokenizer.encode("ab")), str)
        assert_type(text.windows(tokenizer.encode("ab"), 1), tuple[NDArray[Any], NDArray[Any]])
    with suppress(ImportError):
        TensorBoard(folder)


def estimators(X: Array, y: Array, words: NDArray[np.str_]) -> None:
    """Train those of `pycnn.sklearn`."""
    from pycnn.sklearn import MLPClassifier, MLPRegressor

    clf = MLPClassifier((5, 4), ["relu", "tanh"], tol=1e9, n_iter_no_change=1, dropout=0.1)
    assert_type(clf.fit(X, words, validation_data=(X, words)), MLPClassifier)
    assert_type(clf.partial_fit(X, words).predict_proba(X), Array)
    clf.predict(X)
    reg = MLPRegressor(hidden_layer_sizes=5, solver="lbfgs", tol=10.0, optimizer=None)
    assert_type(reg.fit(X, y).predict(X), Array)
    assert_type(reg.network_, Network)
    assert_type(reg.loss_curve_, list[float])
    weights: list[Array] = reg.coefs_
    assert weights[0].shape == (X.shape[1], 5)


def main(backend: str, folder: str) -> None:
    """Use the package from end to end."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y = X[:, 0] - X[:, 1]
    layers = [Dense(8, "tanh", l2=1e-4), LayerNorm(), Dropout(0.1), Dense(1)]
    net = Network(3, layers, loss=log_cosh, seed=0, backend=backend)
    report = Report()
    history: History = net.fit(
        X,
        y,
        epochs=4,
        batch_size=10,
        optimizer=Adam(Warmup(CosineDecay(0.01), 1)),
        validation_split=0.25,
        callbacks=[report, stop_when_good, EarlyStopping(patience=3), ReduceLROnPlateau()],
        augment=[halve_noise],
        progress=False,
    )
    values: list[float] = history["loss"]
    assert values == report.losses
    logger = CSVLogger(f"{folder}/training.csv")
    net.fit(X.tolist(), list(y), epochs=1, optimizer="adam", callbacks=[logger])
    net.fit(lambda: batches(X, y), epochs=1, callbacks=LambdaCallback())
    prediction = assert_type(net.predict(X), Array)
    scores = assert_type(net.evaluate(X, y, sample_weight=np.ones(40)), dict[str, float])
    loss, gradient = assert_type(net.gradients(X, y), tuple[float, Array])
    assert_type(net.input_gradient(X, y), Array)
    sums = assert_type(net.gradients(X, y, reduction="sum"), tuple[float, Array, float])
    state = pycnn.Adam().apply(net, sums[1], weight=sums[2], learning_rate=0.01)
    assert_type(state, OptimizerState)
    assert_type(net.parameters, Array)
    weights: Array = net.layers[0].W  # a layer of any kind
    assert_type(net.predictor(4)(X[:4]), Array)
    assert_type(pycnn.config(), dict[str, Any])
    net.parameters -= 0.01 * gradient
    net.parameters = [0.0] * net.parameters.size
    net.tensors["layers.1.W"][:] = 0.1
    net.layers[0].b = [0.5] * 8
    trace: Trace = net.trace(X[:2], y[:2])
    again = Network(3, (Dense(2, "relu"), Dense(1)), loss=mean_error, seed=1, backend=backend)
    again.fit(X, y, epochs=1, batch_size=None, optimizer=Rprop(0.01, increase=1.1))
    again.save(f"{folder}/model.safetensors", training_state=True)
    loaded = pycnn.load(f"{folder}/model.safetensors", backend, loss=mean_error)
    assert loaded.predict(X).tobytes() == again.predict(X).tobytes()
    Network(3, [Dense(4), BatchNorm("relu"), Dense(1)], "mae", backend=backend).summary()
    classes = Network(3, [Dense(4, "relu"), Dense(2, "softmax")], backend=backend)
    words = np.where(y > 0, "up", "down")
    classes.fit(X, words, optimizer=SGD(0.1, momentum=0.9), class_weight="balanced")
    classes.fit(X, words.tolist(), epochs=2, batch_size=None, optimizer=LBFGS())
    labels: NDArray[np.str_] = classes.predict_classes(X)
    every_class(backend, folder)
    with suppress(ModuleNotFoundError):  # of scikit-learn
        estimators(X, y, words)
    assert (prediction.shape, weights.shape) == ((40, 1), (8, 3))
    assert loss >= 0
    assert scores.keys() >= {"loss"}
    assert len(trace.A) == 5
    assert set(labels.tolist()) <= {"up", "down"}
    assert pycnn.gradient_check(loaded, X[:5], y[:5]) < 1e-6
