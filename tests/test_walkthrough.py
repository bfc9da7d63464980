import re

import numpy as np
import pytest

import pycnn
from pycnn.walkthrough import build_network, walkthrough

# Every figure that the lecture prints for the one-hidden-neuron network, in its order.
ONE_HIDDEN_NEURON = (
    "0.5 1.0 0.1 0.3 0.2 0.05 0.01 0.05 0.3 0.05 0.4 0.5987 0.11974 0.01 0.12974 0.5324"
)

# Every figure of the 2-2-2-1 example, part by part; a minus before a figure belongs to it.
WORKED_EXAMPLE = {
    "The 2-2-2-1 network": "0.5 1.0 0.1 0.2 0.3 0.4 0.05 0.5 0.6 0.7 0.8 0.1 0.9 1.0 0.15",
    "Step 1": "0.5 1.0 0.05 0.2 0.15 0.4 0.25 0.55 0.30 0.60 "
    "0.36 0.21 0.48 0.51 0.69 0.61 0.79 0.549 1.339 1.489 0.816 0.184 -0.203 0.203",
    "Step 2": "-0.184 -0.11224 -0.14536 -0.1656 -0.1840 -0.04968 -0.09936 -0.05520 -0.11040 "
    "-0.0828 0.1288 0.1472 -0.2116 -0.24656 -0.10580 -0.21160 -0.12328",
    "Step 3": "-0.011224 -0.014536 0.911224 1.014536 -0.0184 0.1684 "
    "-0.004968 -0.009936 -0.005520 -0.011040 0.504968 0.609936 0.705520 0.811040 "
    "-0.01656 -0.01840 0.11656 0.11840 "
    "-0.010580 -0.021160 -0.012328 -0.024656 0.110580 0.221160 0.312328 0.424656 "
    "-0.02116 -0.024656 0.07116 0.074656",
}
ORDER = [
    "One hidden neuron",
    "The 2-2-2-1 network",
    "Step 1: forward",
    *("Z[1] =", "A[1] =", "Z[2] =", "A[2] =", "Z[3] =", "ŷ = A[3]", "L = -"),
    "Step 2: backpropagation",
    *("δ[3] =", "dL/dW[3]", "dL/db[3]", "δ[2] =", "dL/dW[2]", "dL/db[2]"),
    *("δ[1] =", "dL/dW[1]", "dL/db[1]"),
    "Step 3: parameter update",
    *("W_new[3]", "b_new[3]", "W_new[2]", "b_new[2]", "W_new[1]", "b_new[1]"),
    "Second iteration",
    "L(ŷ_new, y) =",
]


def part(text, title):
    """Return what stands below the line that begins with `title`, up to the next underlined one."""
    after = re.split(rf"^{re.escape(title)}.*\n=+\n", text, flags=re.M)[1]
    return re.split(r"^.*\n=+$", after, flags=re.M)[0]


def figures(text):
    return set(re.findall(r"-?\d+\.\d+", text))


def test_one_hidden_neuron_shows_every_figure_of_the_lecture(backend):
    shown = figures(part(walkthrough(backend), "One hidden neuron"))
    assert set(ONE_HIDDEN_NEURON.split()) - shown == set()


@pytest.mark.parametrize("title", WORKED_EXAMPLE)
def test_worked_example_shows_every_figure_of_the_lecture(title, backend):
    shown = figures(part(walkthrough(backend), title))
    assert set(WORKED_EXAMPLE[title].split()) - shown == set()


def test_quantities_come_in_the_order_of_the_lecture(backend):
    text = walkthrough(backend)
    at = 0
    for name in ORDER:
        at = text.index(name, at)


def test_exact_figures_are_those_of_the_network(backend):
    text = walkthrough(backend)
    network = build_network(backend)
    trace = network.trace([[0.5, 1.0]], [1.0])
    network.fit([[0.5, 1.0]], [1.0], epochs=1, batch_size=1, optimizer=pycnn.SGD(0.1))
    second = network.trace([[0.5, 1.0]], [1.0])
    quantities = [trace.A[3], *trace.delta[1:], *trace.dW[1:], network.parameters, *second.Z[1:]]
    exact = {f"{value:.6f}" for quantity in quantities for value in np.ravel(quantity)}
    assert exact - figures(text) == set()


def test_second_iteration_has_a_lower_loss(backend):
    found = re.search(r"L\(ŷ_new, y\) = (\S+), .* (\S+)\n", walkthrough(backend))
    second, first = map(float, found.groups())
    assert first == pytest.approx(0.203, abs=5e-4)
    assert second < first


def test_both_backends_show_the_same(core):
    assert walkthrough("c") == walkthrough("numpy")


def test_unknown_backend_names_the_nearest():
    with pytest.raises(pycnn.exceptions.UnknownNameError, match="did you mean 'numpy'"):
        walkthrough("nunpy")
