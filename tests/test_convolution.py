"""Convolutions: against PyTorch, both backends, the same bits, files, and their mistakes."""

import itertools
import os

import numpy as np
import pytest

from pycnn import Conv1D, Conv2D, Flatten, Network

RNG = np.random.default_rng(7)


# ------------------------------------------------------------------ PyTorch


def in_torch(layer, images):
    """Return what PyTorch computes of images, and the leaves that it finds the derivatives by."""
    torch = pytest.importorskip("torch")
    inputs = torch.tensor(images, requires_grad=True)
    parameters = [torch.tensor(p, requires_grad=True) for p in layer.tensors.values()]
    kernel, *bias = parameters
    sizes = (layer.kernel_size, layer.strides, layer.dilation)
    if isinstance(layer, Conv1D):
        sizes = [(size,) for size in sizes]
    beside = []
    for n, k, s, d in zip(images.shape[1:-1], *sizes, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) if layer.padding == "same" else 0
        beside = [total // 2, total - total // 2, *beside]  # the last axis first
    function = torch.nn.functional.conv1d if len(sizes[0]) == 1 else torch.nn.functional.conv2d
    padded = torch.nn.functional.pad(inputs.movedim(-1, 1), beside)
    z = function(padded, kernel.movedim(-1, 1), *bias, stride=sizes[1], dilation=sizes[2])
    return torch.tanh(z.movedim(1, -1).flatten(1)), [inputs, *parameters]


def check_against_torch(backend, layer, shape, samples):
    """Compare outputs and all gradients, that of the images through a convolution before them."""
    import torch

    rng = np.random.default_rng(samples)
    through = (Conv1D if len(shape) == 2 else Conv2D)(shape[-1], 1, use_bias=False)
    net = Network(shape, [through, layer, Flatten()], loss="mse", seed=2, backend=backend)
    net.layers[0].W[:] = np.eye(shape[-1]).reshape(net.layers[0].W.shape)
    images, y = rng.normal(size=(samples, *shape)), rng.normal(size=(samples, net.outputs))
    outputs, (inputs, *parameters) = in_torch(net.layers[1], images)
    loss = ((outputs - torch.tensor(y)) ** 2).sum() / (2 * samples)
    loss.backward()
    places = list(range(len(shape)))
    expected = [np.tensordot(inputs.grad.numpy(), images, axes=(places, places))]
    expected += [parameter.grad.numpy() for parameter in parameters]
    found, gradient = net.gradients(images, y)
    expected = np.concatenate([part.ravel() for part in expected])
    bound = 1e-10 * max(1, abs(expected).max())
    np.testing.assert_allclose(net.predict(images), outputs.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found, loss.item(), rtol=1e-10)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=bound)


def cases():
    """Return layers with the shapes and numbers of samples that they are met with."""
    every = itertools.product(
        *((1, 2, 3), (1, 2, 3, 5, 7), ("valid", "same"), (1, 2), (True, False)),
        *((1, 3, 8, 17), (1, 3, 8, 25, 129)),
    )
    found = []
    for strides, kernel, padding, dilation, one, channels, samples in every:
        if padding == "valid" and (kernel - 1) * dilation >= 9:
            continue
        filters = (1, 2, 3, 4, 8, 13)[len(found) % 6]
        options = {"padding": padding, "use_bias": len(found) % 5 > 0}
        if one:
            layer = Conv1D(filters, kernel, "tanh", strides=strides, dilation=dilation, **options)
            found.append((layer, (11, channels), samples))
        else:
            other = {1: 2, 2: 1, 3: 2, 5: 3, 7: 5}[kernel]  # columns, of their own
            layer = Conv2D(
                *(filters, (kernel, other), "tanh"),
                strides=(strides, 1 + strides % 3),
                dilation=(dilation, 1),
                **options,
            )
            found.append((layer, (9 + 2 * (len(found) % 2), 7, channels), samples))
    return found


CASES = cases()
# Of each backend's own some; with PYCNN_EVERY_COMPILER, as in .ci/run, a tenth of all.
MANY = os.environ.get("PYCNN_EVERY_COMPILER", "") not in ("", "0")
CHOSEN = np.random.default_rng(17).permutation(len(CASES))[: len(CASES) // 10 if MANY else 40]


@pytest.mark.parametrize("group", range(4))
def test_values_and_all_gradients_are_pytorchs(backend, group):
    for number in CHOSEN[group::4]:
        check_against_torch(backend, *CASES[number])


@pytest.mark.parametrize("kernel", [(7, 1), (2, 7), (7, 8)])
def test_filters_may_be_larger_than_the_image(backend, kernel):
    for strides in (1, 2):
        layer = Conv2D(3, kernel, "tanh", padding="same", strides=strides)
        check_against_torch(backend, layer, (2, 3, 2), 9)
