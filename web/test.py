"""Hold the page to Python, in a real browser.

    python web/test.py [--browser PROGRAM] [--firefox PROGRAM] [--command PROGRAM] [--zig COMMAND]
        [--pictures FOLDER]

It needs playwright, a Chromium, pycnn, and what `npm run build` has made. The page is a file, so no
server is there to ask for anything; all bits are Python's, so the processor must fuse. With Zig's
command the core's own test programs run in the browser too.
"""

import argparse
import base64
import hashlib
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from firefox import Firefox
from playwright.sync_api import sync_playwright

import pycnn
from pycnn import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    Network,
    Residual,
    optimizers,
)
from pycnn.datasets import load_digits
from pycnn.walkthrough import build_network

HERE = Path(__file__).resolve().parent
PAGE = (HERE / "dist" / "pycnn.html").as_uri()
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}


def digest(net):
    """Return the hash that the page shows."""
    return hashlib.sha256(net.theta.tobytes()).hexdigest()


def call(page, name, *values):
    """Call the page's worker, as its console can."""
    read = "result => ArrayBuffer.isView(result) ? [...result] : result"
    return page.evaluate(
        f"([name, values]) => pycnn.call(name, ...values).then({read})", [name, list(values)]
    )


# ------------------------------------------------------------------ the kernels

# A program of WASI's that prints and ends; its files and clock are not there.
WASI = """
async (base64) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const module = await WebAssembly.compile(bytes);
  let memory, printed = "";
  const known = {
    fd_write(fd, vectors, count, written) {
      const view = new DataView(memory.buffer);
      let total = 0;
      for (let i = 0; i < count; i++) {
        const [at, size] = [0, 4].map((k) => view.getUint32(vectors + 8 * i + k, true));
        printed += new TextDecoder().decode(new Uint8Array(memory.buffer, at, size));
        total += size;
      }
      view.setUint32(written, total, true);
      return 0;
    },
    proc_exit(code) { throw new Error(`exit ${code}`); },
  };
  const sizes = (count, size) => {
    new DataView(memory.buffer).setUint32(count, 0, true);
    new DataView(memory.buffer).setUint32(size, 0, true);
    return 0;
  };
  Object.assign(known, { args_sizes_get: sizes, environ_sizes_get: sizes });
  const imports = {};
  for (const { name } of WebAssembly.Module.imports(module)) {
    imports[name] = known[name] ?? (() => (name.startsWith("fd_") ? 8 : 0));
  }
  const program = await WebAssembly.instantiate(module, { wasi_snapshot_preview1: imports });
  memory = program.exports.memory;
  try {
    program.exports._start();
  } catch (error) {
    if (error.message !== "exit 0") printed += error.message;
  }
  return printed;
}
"""


def check_kernels(browser, zig, folder):
    """Run the kernels' tests, and the trainings whose hashes tests/test_kernels.py has."""
    root = HERE.parent
    stored = (root / "tests" / "test_kernels.py").read_text(encoding="utf-8")
    page = browser.new_page()
    for name, ending in ("kernels_run", " 0 failed"), ("hash_run", None):
        program = folder / f"{name}.wasm"
        command = [*zig, "cc", "-target", "wasm32-wasi", "-std=gnu11", "-O2", "-msimd128"]
        command += ["-mrelaxed-simd", "-fno-vectorize", "-fno-slp-vectorize", "-DPYCNN_NO_THREADS"]
        command += [f"-I{root / 'csrc'}", *sorted((root / "csrc").glob("*.c"))]
        command += [root / "tests" / "c" / f"{name}.c", "-o", program]
        subprocess.run(command, check=True)
        printed = page.evaluate(WASI, base64.b64encode(program.read_bytes()).decode()).strip()
        print(*printed.splitlines()[-3:], sep="\n")
        if ending:
            assert printed.endswith(ending), printed[-1000:]
            continue
        lines = [line.split() for line in printed.splitlines()[-3:]]
        assert [line[0] for line in lines] == ["images", "sequences", "wasm"], printed[-1000:]
        assert f'HASH = "{lines[2][1]}"' in stored, lines
        assert all(f'"{kind}": ("{value}", ' in stored for kind, value in lines[:2]), lines
    page.close()


# ------------------------------------------------------------------ the words


def check_words():
    """See that all that the core says of files and trainings is there in the other languages."""
    words = (HERE / "src" / "core_text.ts").read_text(encoding="utf-8")
    for name, pattern in (("status.c", r'return "(.*?)";'), ("pycnn_file.c", r'"(its? [a-z].*?)"')):
        text = (HERE.parent / "csrc" / name).read_text(encoding="utf-8").partition("pycnn_version")
        said = set(re.findall(pattern, re.sub(r'"\s*\n\s*"', "", text[0])))
        assert len(said) > 15, said
        missing = [one for one in said if f'"{re.sub(r"[0-9]+", "#", one)}": "' not in words]
        assert not [one for one in missing if one != "no error"], missing


# ------------------------------------------------------------------ the walk


def figures(page):
    """Return the numbers of the walk, by what they are of, as they are printed."""
    page.evaluate("() => { document.querySelector('#position').value = 1000; }")
    page.dispatch_event("#position", "input")
    read = "all => all.map(one => [one.dataset.id, one.querySelector('.value').textContent])"
    return {name: float(text) for name, text in page.eval_on_selector_all(".figure", read)}


def expected_figures(net, x, y, learning_rate):
    """Return what net.trace and a step of training have, under the page's names."""
    trace = net.trace([x], [y])
    found = {"L": trace.loss}
    for l in (1, 2, 3):  # noqa: E741
        for name, values in (("Z", trace.Z), ("A", trace.A), ("δ", trace.delta)):
            found |= {f"{name}{l}.{j + 1}": v for j, v in enumerate(values[l][:, 0])}
        found |= {f"db{l}.{j + 1}": v for j, v in enumerate(trace.db[l])}
        found |= {f"dW{l}.{j + 1}.{k + 1}": v for (j, k), v in np.ndenumerate(trace.dW[l])}
        if l < 3:
            error = trace.W[l + 1].T @ trace.delta[l + 1][:, 0]
            found |= {f"E{l}.{j + 1}": v for j, v in enumerate(error)}
            found |= {f"F{l}.{j + 1}": float(v > 0) for j, v in enumerate(trace.Z[l][:, 0])}
    net.fit(
        [x], [y], epochs=1, batch_size=1, optimizer=optimizers.SGD(learning_rate), progress=False
    )
    for l, layer in enumerate(net.layers, start=1):  # noqa: E741
        found |= {f"b{l}.{j + 1}": v for j, v in enumerate(layer.b)}
        found |= {f"W{l}.{j + 1}.{k + 1}": v for (j, k), v in np.ndenumerate(layer.W)}
    return found


def hold(found, expected):
    """Hold printed numbers to exact ones: six decimals."""
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    for name, value in expected.items():
        assert abs(found[name] - value) <= 0.51e-6, (name, found[name], value)


# The lecture's walkthrough in its order: a number, and what the lecture writes on the way to it.
WALKTHROUGH = """
Z1.1 0.05 0.20 0.25 0.05 0.30 | Z1.2 0.15 0.40 0.55 0.05 0.60 | A1.1 0.30 | A1.2 0.60
Z2.1 0.15 0.36 0.51 0.10 0.61 | Z2.2 0.21 0.48 0.69 0.10 0.79 | A2.1 0.61 | A2.2 0.79
Z3.1 0.549 0.79 1.339 0.15 1.489 | A3.1 1.489 0.816 | L 0.816 0.203 0.184 0.203
δ3.1 0.816 1.00 0.184 | dW3.1.1 0.184 0.61 0.11224 | dW3.1.2 0.184 0.79 0.14536 | db3.1 0.184
E2.1 0.90 0.184 0.1656 | E2.2 1.00 0.184 0.184 | F2.1 0.61 1.00 | F2.2 0.79 1.00
δ2.1 0.1656 1.00 0.1656 | δ2.2 0.184 1.00 0.184
dW2.1.1 0.1656 0.30 0.04968 | dW2.1.2 0.1656 0.60 0.09936
dW2.2.1 0.184 0.30 0.0552 | dW2.2.2 0.184 0.60 0.1104 | db2.1 0.1656 | db2.2 0.184
E1.1 0.50 0.1656 0.70 0.184 0.0828 0.1288 0.2116
E1.2 0.60 0.1656 0.80 0.184 0.09936 0.1472 0.24656 | F1.1 0.30 1.00 | F1.2 0.60 1.00
δ1.1 0.2116 1.00 0.2116 | δ1.2 0.24656 1.00 0.24656
dW1.1.1 0.2116 0.50 0.1058 | dW1.1.2 0.2116 1.00 0.2116
dW1.2.1 0.24656 0.50 0.12328 | dW1.2.2 0.24656 1.00 0.24656 | db1.1 0.2116 | db1.2 0.24656
W3.1.1 0.90 0.10 0.11224 0.011224 0.911224 | W3.1.2 1.00 0.10 0.14536 0.014536 1.014536
b3.1 0.15 0.10 0.184 0.0184 0.1684
W2.1.1 0.50 0.04968 0.004968 0.504968 | W2.1.2 0.60 0.09936 0.009936 0.609936
W2.2.1 0.70 0.0552 0.00552 0.70552 | W2.2.2 0.80 0.1104 0.01104 0.81104
b2.1 0.10 0.1656 0.01656 0.11656 | b2.2 0.10 0.184 0.0184 0.1184
W1.1.1 0.10 0.1058 0.01058 0.11058 | W1.1.2 0.20 0.2116 0.02116 0.22116
W1.2.1 0.30 0.12328 0.012328 0.312328 | W1.2.2 0.40 0.24656 0.024656 0.424656
b1.1 0.05 0.2116 0.02116 0.07116 | b1.2 0.05 0.24656 0.024656 0.074656
"""
STEPS = """() => [...document.querySelectorAll(".figure")].map((figure) => {
  figure.click();
  return [figure.dataset.id, document.querySelector("#formula math").textContent];
})"""


def check_lecture(page):
    """Go through the lecture with the page: each of its figures is there, in its order."""
    steps = page.evaluate(STEPS)
    expected = [one.split() for one in WALKTHROUGH.replace("\n", "|").split("|") if one.strip()]
    assert [name for name, _ in steps] == [name for name, *_ in expected]
    for (name, formula), (_, *numbers) in zip(steps, expected, strict=True):
        shown = iter(re.findall(r"\d+\.\d+", formula))
        assert all(number in shown for number in numbers), (name, formula, numbers)


def check_walk(page):
    """Hold the walk's numbers to the lecture's, and to net.trace's to the printed digits."""
    page.wait_for_selector("#formula math")
    lecture = figures(page)
    for name, value in {
        "Z3.1": 1.489, "A3.1": 0.816, "L": 0.203, "δ3.1": -0.184, "dW3.1.2": -0.14536,
        "δ2.1": -0.1656, "E1.2": -0.24656, "dW1.2.1": -0.12328, "W3.1.1": 0.911224,
        "W2.2.2": 0.81104, "b2.1": 0.11656, "b1.2": 0.074656,
    }.items():  # fmt: skip
        assert lecture[name] == value, (name, lecture[name])
    check_lecture(page)
    page.select_option("#rounding", "exact")
    page.wait_for_timeout(300)
    net = build_network()
    hold(figures(page), expected_figures(net, [0.5, 1.0], 1.0, 0.1))
    page.click("#iterate10")
    page.wait_for_function("() => document.querySelector('#where').textContent.includes('11')")
    for _ in range(9):
        net.fit([[0.5, 1.0]], [1.0], epochs=1, batch_size=1, progress=False)
    hold(figures(page), expected_figures(net, [0.5, 1.0], 1.0, 0.1))


# ------------------------------------------------------------------ training


def points(count, features, classes):
    """Return data of whole multiples of 1/64, which JSON keeps."""
    rng = np.random.default_rng(5)
    x = rng.integers(-64, 65, (count, features)) / 64
    return x, rng.integers(0, classes, count)


def trainings():
    """Yield networks as the page's worker takes them, and as Python does."""
    adam = {"kind": "adam", "learningRate": 0.01, "momentum": 0}
    sgd = {"kind": "sgd", "learningRate": 0.1, "momentum": 0.9}

    def dense(units, activation, **more):
        return {"kind": "dense", "units": units, "activation": activation, **more}

    softmax, cross = dense(3, "softmax"), "categorical_crossentropy"
    yield (
        "dense",
        ([2], [dense(8, "tanh"), dense(1, "sigmoid")], "binary_crossentropy", sgd),
        (2, [Dense(8, "tanh"), Dense(1, "sigmoid")], optimizers.SGD(0.1, momentum=0.9)),
    )
    yield (
        "dropout, Adam, penalties",
        ([4], [dense(9, "relu", l2=0.01), {"kind": "dropout", "rate": 0.3}, softmax], cross, adam),
        (4, [Dense(9, "relu", l2=0.01), Dropout(0.3), Dense(3, "softmax")], optimizers.Adam(0.01)),
    )
    normalization = {"kind": "batch_norm", "activation": "gelu"}
    yield (
        "batch normalization",
        ([4], [dense(7, "linear"), normalization, softmax], cross, adam),
        (4, [Dense(7), BatchNorm("gelu"), Dense(3, "softmax")], optimizers.Adam(0.01)),
    )  # fmt: skip
    convolution = {"kind": "convolution", "units": 5, "kernel": 3, "activation": "relu"}
    yield (
        "convolution",
        ([8, 8, 1], [convolution, {"kind": "max_pool", "kernel": 2}, softmax], cross, sgd),
        ((8, 8, 1), [Conv2D(5, 3, "relu"), MaxPool2D(2), Flatten(), Dense(3, "softmax")],
         optimizers.SGD(0.1, momentum=0.9)),
    )  # fmt: skip


def trained():
    """Yield each training: its name, what the page's worker takes, the network that Python has."""
    for name, page_has, (inputs, python_layers, python_optimizer) in trainings():
        shape, layers, loss, optimizer = page_has
        x, y = points(100, int(np.prod(shape)), 2 if loss.startswith("binary") else 3)
        setup = {
            "architecture": {"shape": shape, "layers": layers, "loss": loss},
            "optimizer": optimizer, "batchSize": 32, "seed": 7,
            "data": {"x": x.tolist(), "y": y.tolist()},
        }  # fmt: skip
        net = Network(inputs, python_layers, seed=7)
        net.fit(x.reshape(100, *shape), y, epochs=3, optimizer=python_optimizer, progress=False)
        yield name, setup, net


def train(page, setup):
    """Train in the page; return the hash."""
    call(page, "begin", setup, [])
    call(page, "epochs", 3)
    return call(page, "hash")


def check_trainings(page, folder):
    """Train in the page and in Python, from the same seed to the same bits; exchange files."""
    for name, setup, net in trained():
        assert train(page, setup) == digest(net), name
        content = bytes(call(page, "save"))
        path = folder / "page.safetensors"
        path.write_bytes(content)
        back = pycnn.load(path)
        assert digest(back) == digest(net), name
        x = np.array(setup["data"]["x"][:5])
        outputs = call(page, "predict", x.ravel().tolist())
        assert outputs == back.predict(x).ravel().tolist(), name
        back.save(path)
        call(page, "load", list(path.read_bytes()), x.shape[1], [])
        assert call(page, "hash") == digest(net), name


def check_playground(page, folder):
    """Train, and train again by the page's programs; rewind, save, open what is none."""
    page.click("#tab-playground")
    wait_for_hash(page)
    start = page.inner_text("#hash")
    page.fill("#dropout", "0.1")
    page.dispatch_event("#dropout", "change")
    page.check("#batch-norm")
    page.fill("#dropout", "0")
    page.dispatch_event("#dropout", "change")
    page.uncheck("#batch-norm")
    page.wait_for_timeout(500)
    assert page.inner_text("#hash") == start
    page.check("#batch-norm")
    page.select_option("#speed", "fast")
    page.wait_for_timeout(500)
    page.click("#train")
    page.wait_for_timeout(1500)
    page.click("#train")
    page.wait_for_timeout(500)
    wait_for_hash(page)
    trained = page.inner_text("#hash")
    assert "Epoch 0" not in page.inner_text("#status")
    python = save(page, "#save-python", folder)
    done = subprocess.run([sys.executable, python], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == trained, done.stdout
    model = save(page, "#save-model", folder)
    assert digest(pycnn.load(model)) == trained
    source = save(page, "#save-c", folder)
    csrc = HERE.parent / "csrc"
    command = ["cc", "-O1", f"-I{csrc}", *sorted(csrc.glob("*.c")), source, "-pthread", "-lm"]
    content = model.read_bytes()
    model.unlink()
    subprocess.run([*command, "-o", folder / "program"], check=True)
    subprocess.run([folder / "program"], cwd=folder, check=True)
    assert model.read_bytes() == content

    net = pycnn.load(model)
    net.save(model)
    page.set_input_files("#open-model", model)
    page.wait_for_timeout(1000)
    assert page.inner_text("#hash") == trained
    model.write_bytes(b"\xff" * 7 + b"\0" + b'{"a":' * 1000)
    page.set_input_files("#open-model", model)
    page.wait_for_timeout(500)
    assert "no model" in page.inner_text("#problem"), page.inner_text("#problem")
    page.click("#rewind")
    page.wait_for_timeout(500)
    page.click("#one-epoch")
    page.wait_for_timeout(500)
    assert "Epoch 1:" in page.inner_text("#status")
    (folder / "data.csv").write_text("a,b,kind\n0,0,x\n1,1,x\n0,1,y\n1,0,y\n.5,2,z\n")
    page.set_input_files("#csv", folder / "data.csv")
    page.wait_for_timeout(500)
    page.click("#one-epoch")
    page.wait_for_timeout(500)
    assert page.input_value("#loss") == "categorical_crossentropy"
    assert "Epoch 1:" in page.inner_text("#status")


def check_digits(page, folder):
    """Train on the digits as Python does, and open in the page what Python went on with."""
    page.click("#tab-digits")
    wait_for_hash(page, "#digits-hash")
    page.select_option("#digits-kind", "convolution")
    page.wait_for_timeout(500)
    for epoch in (1, 2):
        page.click("#digits-epoch")
        page.wait_for_selector(f"#digits-status:has-text('Epoch {epoch}:')")
    page.wait_for_timeout(300)
    x, y = load_digits()
    x /= 16
    layers = [Conv2D(8, 3, "relu"), MaxPool2D(2), Flatten(), Dense(10, "softmax")]
    net = Network((8, 8, 1), layers, seed=1)
    images, sgd = x.reshape(-1, 8, 8, 1), optimizers.SGD(0.1)
    net.fit(images[:1497], y[:1497], epochs=2, optimizer=sgd, progress=False)
    assert page.inner_text("#digits-hash") == digest(net)
    model = save(page, "#digits-save", folder)
    assert digest(pycnn.load(model)) == digest(net)
    net.fit(images[:1497], y[:1497], epochs=5, optimizer=sgd, progress=False)
    net.save(model)
    page.set_input_files("#digits-open", model)
    page.wait_for_timeout(1000)
    assert page.inner_text("#digits-hash") == digest(net)
    assert page.locator("#filters canvas").count() == 8
    page.fill("#sample", "1500")
    page.dispatch_event("#sample", "change")
    page.wait_for_timeout(300)
    shown = page.eval_on_selector_all("meter", "all => all.map(one => one.value)")
    assert shown == net.predict(images[1500:1501])[0].tolist()
    check_activations(page, net, images[1500])
    assert page.get_attribute("#hidden [role=img]", "aria-label").startswith("Layer 1: activations")
    model.write_bytes(b"no model")
    page.set_input_files("#digits-open", model)
    page.wait_for_selector("#digits-problem:has-text('no model')")
    dense = Network(64, [Dense(12), Dense(10, "softmax")], seed=1)
    dense.save(model)
    page.set_input_files("#digits-open", model)
    page.wait_for_function("() => document.querySelectorAll('#filters canvas').length === 12")
    check_activations(page, dense, x[1500])
    block = [
        Conv2D(4, 3, padding="same"),
        BatchNorm("relu"),
        Residual([Dropout(0.1), Conv2D(4, 1)]),
    ]
    deep = Network((8, 8, 1), [*block, MaxPool2D((2, 4)), Flatten(), Dense(10, "softmax")], seed=1)
    deep.save(model)
    page.set_input_files("#digits-open", model)
    page.wait_for_function("() => document.querySelectorAll('#hidden canvas').length === 16")
    page.wait_for_timeout(300)
    check_activations(page, deep, images[1500])
    sizes = page.eval_on_selector_all("#hidden canvas", "all => all.map(c => [c.height, c.width])")
    assert sizes == [[8, 8]] * 12 + [[4, 2]] * 4
    Network(64, [Dense(10, "softmax")]).save(model)
    page.set_input_files("#digits-open", model)
    page.wait_for_selector("#hidden-title", state="hidden")
    Network(64, [Dense(3, "softmax")]).save(model)
    page.select_option("#language", "de")
    page.set_input_files("#digits-open", model)
    page.wait_for_selector("#digits-problem:has-text('hat 3 Ausgaben, gebraucht werden 10')")
    model.write_bytes(b"no model")
    page.set_input_files("#digits-open", model)
    page.wait_for_selector("#digits-problem:has-text('zu kurz für ihren Kopf')")
    page.select_option("#language", "en")
    page.click("#digits-rewind")
    page.click("#digits-epoch")
    page.wait_for_selector("#digits-status:has-text('Epoch 1:')")
    page.click("#erase")
    page.wait_for_timeout(300)
    blank = page.eval_on_selector_all("#hidden > div", PAINTED)
    page.hover("#pad")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_timeout(300)
    assert page.eval_on_selector_all("#hidden > div", PAINTED) != blank


PAINTED = """layers => layers.map((layer) =>
  [...layer.querySelectorAll("canvas")].map((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return [...data.keys()].filter((i) => i % 4 === 0).map((i) => [...data.slice(i, i + 4)]);
  }))"""


def check_activations(page, net, image):
    """Hold the hidden layers' pictures of a digit, and the numbers in them, to net.trace."""
    traced = net.trace(image[None], [0]).A[1:]
    traced = [a for a, layer in zip(traced, net.layers, strict=True) if type(layer) is not Flatten]
    computed = call(page, "activations", image.ravel().tolist(), [8, 8, 1])
    for layer, a in zip(computed, traced, strict=True):
        assert list(layer["values"]) == a[:, 0].tolist(), layer["shape"]
    painted = page.eval_on_selector_all("#hidden > div", PAINTED)
    for pixels, a in zip(painted, traced[:-1], strict=True):
        pixels = np.array(pixels)  # features, places, colours and opacity
        values = a[:, 0].reshape(-1, len(pixels)).T
        opacity = 255 * np.abs(values) / max(1e-9, np.abs(values).max())
        assert pixels.shape == (*values.shape, 4)
        assert np.abs(pixels[..., 3] - opacity).max() <= 0.5 + 1e-9
        seen = opacity > 20
        warm = pixels[..., 0] > pixels[..., 2]
        assert seen.any()
        assert (warm == (values > 0))[seen].all()


def wait_for_hash(page, place="#hash"):
    """Wait until the page shows one."""
    page.wait_for_selector(f"{place}:text-matches('^[0-9a-f]{{64}}$')")


def save(page, button, folder):
    """Press a button that hands out a file; return where it is."""
    with page.expect_download() as waiting:
        page.click(button)
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def check_unfused(playwright, launch, folder):
    """Train where multiply-adds are not fused, or relaxed SIMD is not there: as plain C does."""
    old = folder / "old.html"
    page_text = (HERE / "dist" / "pycnn.html").read_text(encoding="utf-8")
    assert page_text.count("WebAssembly.validate(") == 1
    old.write_text(page_text.replace("WebAssembly.validate(", "!("), encoding="utf-8")
    for address, flags in (
        (PAGE, ["--js-flags=--no-enable-fma3"]),
        (old.as_uri(), []),
    ):
        browser = playwright.chromium.launch(**launch | {"args": [*launch["args"], *flags]})
        page = browser.new_context(bypass_csp=True, locale="en").new_page()
        page.goto(f"{address}#playground")
        wait_for_hash(page)
        page.click("#one-epoch")
        page.wait_for_timeout(500)
        assert "does not fuse" in page.inner_text("#core")
        program = save(page, "#save-python", folder)
        done = subprocess.run(
            [sys.executable, program],
            env=os.environ | {"PYCNN_ISA": "baseline"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split()[0] == page.inner_text("#hash"), done.stdout
        browser.close()


# ------------------------------------------------------------------ other browsers, other ways


def check_firefox(program, folder):
    """Walk and train in Firefox: the same numbers, the same bits."""
    with Firefox(program) as page:
        page.goto(PAGE)
        check_walk(page)
        check_trainings(page, folder)
        page.click("#tab-playground")
        page.wait_for_selector("#hash:not(:empty)")
        page.click("#one-epoch")
        page.wait_for_function("() => /Epoch 1:/.test(document.querySelector('#status').innerText)")
        print("Firefox:", page.inner_text("#core"))
    # Without relaxed SIMD the plain core runs, and gives the plain core's bits.
    program_text = "import test; print(*(test.digest(net) for _, _, net in test.trained()))"
    plain = subprocess.run(
        [sys.executable, "-c", program_text],
        cwd=HERE,
        env=os.environ | {"PYCNN_ISA": "baseline"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    with Firefox(program, ("javascript.options.wasm_relaxed_simd", "false")) as page:
        page.goto(PAGE)
        page.wait_for_selector("#formula math")
        print("Firefox without relaxed SIMD:", page.inner_text("#core"))
        assert "does not fuse" in page.inner_text("#core")
        assert [train(page, setup) for _, setup, _ in trained()] == plain


def check_command(browser, program, folder):
    """Open the page that `pycnn playground` shows, from what is installed, and train in it."""
    command = [program, "playground", "--no-browser"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        address = process.stdout.readline().split()[0]
        page = browser.new_page(locale="en")
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        answer = page.goto(f"{address}#playground")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        wait_for_hash(page)
        page.click("#one-epoch")
        page.wait_for_selector("#status:has-text('Epoch 1:')")
        page.wait_for_timeout(300)
        trained = page.inner_text("#hash")
        python = save(page, "#save-python", folder)
        done = subprocess.run([sys.executable, python], capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] == trained, done.stdout
        timing = page.evaluate(PAINT)
        print("{bytes:,} bytes, first paint after {paint:.0f} ms".format(**timing))
        page.close()
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=60)
    assert (process.returncode, printed) == (0, ("", "")), printed
    assert all(url.startswith((address, "blob:", "data:")) for url in requests), requests
    assert not errors, errors


PAINT = """() => ({
  bytes: performance.getEntriesByType("navigation")[0].transferSize,
  paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
})"""


# ------------------------------------------------------------------ the page itself


def check_access(page, view):
    """Have axe look: it finds nothing serious."""
    found = page.evaluate(AXE.read_text(encoding="utf-8") + "; axe.run()")
    grave = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert not grave, (view, json.dumps(grave, indent=1)[:3000])


def check_views(browser, pictures):
    """See each view, in all looks and languages: nothing sticks out, axe finds nothing."""
    for scheme, locale in itertools.product(("light", "dark"), ("en", "de")):
        for size, (width, height) in SIZES.items():
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                locale=locale,
                bypass_csp=True,
            )
            page = context.new_page()
            ready = {"walk": "#next", "playground": "#units canvas", "digits": "#filters canvas"}
            trained = {"walk": "#next", "playground": "#one-epoch", "digits": "#digits-epoch"}
            for view in ready:
                page.goto(f"{PAGE}#{view}")
                page.reload()
                page.wait_for_selector(ready[view])
                page.click(trained[view])
                if view == "walk":
                    figures(page)
                    sticks_out = (
                        "all => all.filter(one => one.scrollWidth > one.clientWidth).length"
                    )
                    assert page.eval_on_selector_all(".figure", sticks_out) == 0
                page.wait_for_timeout(500)
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, (view, size, wide)
                check_access(page, f"{view}, {size}, {scheme}, {locale}")
                if pictures:
                    path = pictures / f"{view}-{size}-{scheme}-{locale}.png"
                    page.screenshot(path=path, full_page=True)
            context.close()


def main():
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--browser", default="/usr/bin/chromium", help="Chromium's program")
    parser.add_argument("--command", help="pycnn's, installed with pycnn-playground")
    parser.add_argument("--firefox", help="its program")
    parser.add_argument("--zig", help="the command")
    parser.add_argument("--pictures", type=Path, help="where screenshots go")
    arguments = parser.parse_args()
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    check_words()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        launch = {"executable_path": arguments.browser, "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**launch)
        if arguments.zig:
            check_kernels(browser, shlex.split(arguments.zig), Path(name))
        page = browser.new_page(viewport={"width": 1280, "height": 900}, locale="en")
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.goto(PAGE)
        check_walk(page)
        check_trainings(page, Path(name))
        check_playground(page, Path(name))
        check_digits(page, Path(name))
        print(page.inner_text("#core"))
        outside = [url for url in requests if not url.startswith((PAGE, "blob:", "data:"))]
        assert not outside, outside
        assert not errors, errors
        check_unfused(playwright, launch, Path(name))
        if arguments.command:
            check_command(browser, arguments.command, Path(name))
        if arguments.firefox:
            check_firefox(arguments.firefox, Path(name))
        check_views(browser, arguments.pictures)
        browser.close()
    print("all is well")


if __name__ == "__main__":
    main()
