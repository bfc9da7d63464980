"""Measure the page: a training's steps beside TensorFlow.js and native code, and its smoothness.

    npm install --no-save --prefix FOLDER @tensorflow/tfjs @tensorflow/tfjs-backend-wasm
    python web/benchmark.py [--tensorflow FOLDER] [--rounds N] [--browser PROGRAM]

Steps are those of gradient descent on mini-batches of 32, on one thread each; the rounds take
turns, and the best one counts. What is told is CPU time, of all threads of the program or of the
browser's page, which other programs on the machine hardly change. Of smoothness it tells how long
the page's main thread is busy at a time while networks train, by the clock and in CPU time.
"""

import argparse
import json
import mimetypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
PAGE = (HERE / "dist" / "pycnn.html").as_uri()
ROWS = {"digits 64-32-10": 640, "LeNet": 160}  # of the data that a network is trained on
BATCH = 32

# The networks as each of them wants to be told, and a function that trains some epochs. The data
# are the same: what a step takes depends on no value.
PAGE_TRAINING = """
async ([network, rows, batch]) => {
  const dense = (units, activation) => ({ kind: "dense", units, activation });
  const convolution = (units) => ({ kind: "convolution", units, kernel: 5, activation: "relu" });
  const pool = { kind: "max_pool", kernel: 2 };
  const [shape, layers] = network === "LeNet"
    ? [[28, 28, 1], [convolution(6), pool, convolution(16), pool, dense(120, "relu"),
                     dense(84, "relu"), dense(10, "softmax")]]
    : [[64], [dense(32, "relu"), dense(10, "softmax")]];
  const inputs = shape.reduce((product, n) => product * n);
  const x = Array.from({ length: rows }, (_, i) =>
    Array.from({ length: inputs }, (_, k) => ((i * 7 + k * 3) % 17) / 16));
  const y = x.map((_, i) => i % 10);
  await pycnn.call("begin", {
    architecture: { shape, layers, loss: "categorical_crossentropy" },
    optimizer: { kind: "sgd", learningRate: 0.01, momentum: 0 },
    batchSize: batch, seed: 0, data: { x, y },
  }, new Float64Array());
  window.train = (epochs) => pycnn.call("epochs", epochs).then(() => null);
}
"""
TENSORFLOW_TRAINING = """
async ([network, rows, batch, backend]) => {
  if (backend === "wasm") tf.wasm.setWasmPaths("/wasm/");
  await tf.setBackend(backend);
  await tf.ready();
  const { dense, conv2d, maxPooling2d, flatten } = tf.layers;
  const convolution = (filters, more) =>
    conv2d({ filters, kernelSize: 5, activation: "relu", ...more });
  const full = (units, activation, more) => dense({ units, activation, ...more });
  const pool = () => maxPooling2d({ poolSize: 2 });
  const [shape, layers] = network === "LeNet"
    ? [[28, 28, 1], [convolution(6, { inputShape: [28, 28, 1] }), pool(), convolution(16), pool(),
                     flatten(), full(120, "relu"), full(84, "relu"), full(10, "softmax")]]
    : [[64], [full(32, "relu", { inputShape: [64] }), full(10, "softmax")]];
  const inputs = shape.reduce((product, n) => product * n);
  const values = Float32Array.from({ length: rows * inputs }, (_, at) =>
    ((Math.floor(at / inputs) * 7 + (at % inputs) * 3) % 17) / 16);
  const x = tf.tensor(values, [rows, ...shape]);
  const y = tf.oneHot(tf.tensor1d(Array.from({ length: rows }, (_, i) => i % 10), "int32"), 10);
  const model = tf.sequential({ layers });
  model.compile({ optimizer: tf.train.sgd(0.01), loss: "categoricalCrossentropy" });
  const settings = { batchSize: batch, shuffle: true, yieldEvery: "never", verbose: 0 };
  window.train = (epochs) => model.fit(x, y, { ...settings, epochs }).then(() => null);
  window.backend = tf.getBackend();
}
"""
NATIVE_TRAINING = """
import sys, time
import numpy as np
from pycnn import Conv2D, Dense, Flatten, MaxPool2D, Network, SGD, config
network, rows, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
shape, layers = ((28, 28, 1), [Conv2D(6, 5, "relu"), MaxPool2D(2), Conv2D(16, 5, "relu"),
    MaxPool2D(2), Flatten(), Dense(120, "relu"), Dense(84, "relu"), Dense(10, "softmax")]
) if network == "LeNet" else (64, [Dense(32, "relu"), Dense(10, "softmax")])
net = Network(shape, layers, seed=0)
i, k = np.arange(rows), np.arange(net.inputs)
x = ((7 * i[:, None] + 3 * k) % 17 / 16).reshape(rows, *net.input_shape)
print(config()["isa"], flush=True)
for line in sys.stdin:
    start = time.process_time()
    net.fit(x, i % 10, epochs=int(line), batch_size=batch, optimizer=SGD(0.01), progress=False)
    print(time.process_time() - start, flush=True)
"""


def trainer(browser, page):
    """Return a function that trains in a page, and returns the CPU time of the browser's pages.

    All but this one are at rest.
    """
    session = browser.new_browser_cdp_session()

    def spent():
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        return sum(one["cpuTime"] for one in processes if one["type"] == "renderer")

    def train(epochs):
        before = spent()
        page.evaluate("(epochs) => train(epochs)", epochs)
        return spent() - before

    return train


def open_page(browser, network):
    """Return a function that trains in the page."""
    page = browser.new_page()
    page.goto(PAGE)
    page.wait_for_selector("#formula math")
    page.evaluate(PAGE_TRAINING, [network, ROWS[network], BATCH])
    return trainer(browser, page)


def open_tensorflow(browser, folder, network, backend):
    """Return a function that trains in TensorFlow.js."""
    modules = folder / "node_modules" / "@tensorflow"
    wasm = modules / "tfjs-backend-wasm" / "dist"

    def answer(route):
        name = route.request.url.rpartition("/")[2]
        if not name:
            route.fulfill(body="<!doctype html>", content_type="text/html")
            return
        path = wasm / name
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        route.fulfill(body=path.read_bytes(), content_type=kind)

    page = browser.new_page()
    page.route("http://tensorflow.test/**", answer)
    page.goto("http://tensorflow.test/")
    page.add_script_tag(path=modules / "tfjs" / "dist" / "tf.min.js")
    page.add_script_tag(path=wasm / "tf-backend-wasm.min.js")
    page.set_default_timeout(0)
    page.evaluate(TENSORFLOW_TRAINING, [network, ROWS[network], BATCH, backend])
    assert page.evaluate("backend") == backend
    return trainer(browser, page)


def open_native(network):
    """Return a function that trains in Python, with AVX2's kernels."""
    command = [sys.executable, "-c", NATIVE_TRAINING, network, str(ROWS[network]), str(BATCH)]
    one = os.environ | {"PYCNN_ISA": "avx2", "PYCNN_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=one, **pipes)
    assert process.stdout.readline().strip() == "avx2"

    def train(epochs):
        process.stdin.write(f"{epochs}\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    train.end = process.stdin.close
    return train


def compare(browser, tensorflow, rounds):
    """Print what a step takes."""
    for network, rows in ROWS.items():
        programs = {"native, AVX2": open_native(network), "page": open_page(browser, network)}
        # TensorFlow.js's WebAssembly has no gradient of a convolution.
        backends = ("wasm", "cpu") if network != "LeNet" else ("cpu",)
        for backend in backends if tensorflow else ():
            name = f"TensorFlow.js, {backend}"
            programs[name] = open_tensorflow(browser, tensorflow, network, backend)
        steps = rows // BATCH
        epochs, best = {}, {}
        for name, train in programs.items():
            train(1)
            epochs[name] = max(1, min(200, round(0.5 / max(train(1), 1e-4))))
        for _ in range(rounds):
            for name, train in programs.items():
                took = 1000 * train(epochs[name]) / (epochs[name] * steps)
                best[name] = min(best.get(name, took), took)
        programs["native, AVX2"].end()
        for name, took in best.items():
            print(f"{network:16} {name:20} {took:8.4f} ms of CPU a step", flush=True)


# ------------------------------------------------------------------ the main thread


def tasks(trace):
    """Return what the page's main thread was busy with: (clock, CPU) of each task in ms."""
    events = json.loads(trace)["traceEvents"]
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        (event["dur"] / 1000, event.get("tdur", event["dur"]) / 1000)
        for event in events
        if event["name"] == "RunTask" and (event["pid"], event["tid"]) in main and "dur" in event
    ]


def smoothness(browser):
    """Print how long the main thread is busy at a time while networks train."""
    for view, button in ("playground", "#train"), ("digits", "#digits-train"):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{PAGE}#{view}")
        page.wait_for_selector(f"#{view} [id$=hash]:text-matches('^[0-9a-f]{{64}}$')")
        if view == "playground":
            page.select_option("#speed", "fast")
        page.click(button)
        page.wait_for_timeout(1000)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            wanted = ["toplevel", "disabled-by-default-devtools.timeline", "__metadata"]
            browser.start_tracing(page=page, path=path, categories=wanted)
            page.wait_for_timeout(5000)
            browser.stop_tracing()
            found = tasks(path.read_text(encoding="utf-8"))
        page.close()
        for what, times in zip(("clock", "CPU"), zip(*found, strict=True), strict=True):
            # Most tasks do next to nothing: it is those that do something whose length is told.
            busy = sorted(time for time in times if time >= 0.1)
            below = sum(time < 16 for time in busy) / len(busy)
            print(
                f"{view:12} {what:6} {len(busy):5} tasks of 0.1 ms and more; "
                f"{below:.1%} below 16 ms; 95 % below {busy[int(0.95 * len(busy))]:.1f} ms; "
                f"longest {busy[-1]:.1f} ms",
                flush=True,
            )


def paints(browser):
    """Print how soon the page is seen, and the main thread's CPU time until all of it is there."""
    for _ in range(5):
        page = browser.new_context().new_page()
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(PAGE)
        page.wait_for_selector("#formula math")
        first = page.evaluate("performance.getEntriesByType('paint').at(-1).startTime")
        whole = page.evaluate("performance.now()")
        metrics = session.send("Performance.getMetrics")["metrics"]
        busy = next(one["value"] for one in metrics if one["name"] == "TaskDuration")
        print(f"first paint {first:.0f} ms, all there {whole:.0f} ms, CPU {1000 * busy:.0f} ms")
        page.context.close()


def main():
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--browser", default="/usr/bin/chromium", help="Chromium's program")
    parser.add_argument("--tensorflow", type=Path, help="where TensorFlow.js is installed")
    parser.add_argument("--rounds", type=int, default=10, help="how often all take turns")
    arguments = parser.parse_args()
    print("load:", *(f"{load:.1f}" for load in os.getloadavg()))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=arguments.browser, args=["--no-sandbox"]
        )
        paints(browser)
        smoothness(browser)
        compare(browser, arguments.tensorflow, arguments.rounds)
        browser.close()
    print("load:", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
