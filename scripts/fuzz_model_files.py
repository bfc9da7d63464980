"""Alters model files at random and loads them: an altered file is an error, and a cheap one.

    python scripts/fuzz_model_files.py --count 200000 --processes 2

Each execution takes a file that pycnn wrote, alters it (its bytes, its header, or what it describes
with the checksum made to fit, the training state too), and loads it. What is read is also used:
predicted with, saved, loaded again, pickled, trained on. It fails if anything but `ModelFileError`
comes out of `load`, or anything but `PycnnError` out of the rest; if it takes more than 16 times
the file's size and 64 MB of memory, or more than two seconds; or if the process dies. The same seed
and number make the same file: ``--only 4711`` repeats one execution, ``--keep FOLDER`` keeps the
files that fail.
"""

import argparse
import collections
import contextlib
import copy
import io
import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PER_BYTE, FREE = 16, 64 << 20  # of memory
SECONDS = 2.0
HANGS = 60  # seconds without an answer
REPORT = 200  # executions between two reports of a worker

# ------------------------------------------------------------------ files to start from


def trainings():
    """Yield names, trained networks, and what goes on with their training."""
    import numpy as np

    import pycnn
    from pycnn import (
        GRU,
        LSTM,
        BatchNorm,
        Bidirectional,
        Dense,
        Dropout,
        LayerNorm,
        Network,
        PositionEmbedding,
        Reshape,
        Residual,
        TransformerBlock,
        callbacks,
        losses,
        schedules,
    )

    X = np.sin(np.arange(36.0)).reshape(12, 3)
    index = np.arange(12) % 3
    letters = np.array(["ant", "bee", "\u00e9\u4e2d"])
    columns = {"table": {"columns": [{"name": "a", "mean": 0.5}, {"name": "b", "kinds": ["x"]}]}}

    def stop(network, epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    def fit(net, y, **settings):
        def go_on(other, **more):
            hooks = [callbacks.EarlyStopping("loss"), callbacks.ReduceLROnPlateau("loss")]
            if isinstance(settings.get("optimizer"), pycnn.LBFGS):
                hooks.pop()
            hooks += more.pop("callbacks", [])
            rest = {"epochs": 4, "batch_size": 5} | settings | more
            return other.fit(X, y, callbacks=hooks, **rest)

        with contextlib.suppress(KeyboardInterrupt):
            go_on(net, callbacks=[stop])
        return net, lambda other: go_on(other, resume=True)

    plain = Network(3, [Dense(4, "relu", l2=0.1), Dense(3, "softmax")], seed=7)
    plain.metadata = columns | {"note": "\U0001f600", "scale": [0.5, 2, None, True]}
    plain.feature_names = ("a", "b", "\u00e9")
    yield "labels", *fit(plain, letters[index])
    for name, labels in {
        "dates": np.array(["2001-02-03", "2004-05-06", "2030-01-01"], dtype="datetime64[D]"),
        "bytes": np.array([b"\x00a", b"\xffb", b"\xffc"]),
        "unsigned": np.array([1, 2**53 + 1, 2**64 - 1], dtype=np.uint64),
        "halves": np.array([0.5, 1.5, 2.5], dtype=np.float16),
    }.items():
        yield name, *fit(Network(3, [Dense(3, "softmax")], seed=7), labels[index])
    layers = [Dense(4), BatchNorm("tanh"), Dropout(0.25), LayerNorm(), Dense(1, "sigmoid")]
    normal = Network(3, layers, seed=2**70, l1=0.1)
    yield "normal", *fit(normal, index > 0, optimizer=pycnn.Adam(schedules.StepDecay(0.02)))
    block = Residual([Dense(4), BatchNorm("relu"), Dropout(0.1), Dense(2)], shortcut=Dense(2))
    deep = Network(3, [block, Residual([Residual([Dense(2)])]), Dense(1)], seed=1)
    yield "residual", *fit(deep, X[:, 0])
    huber = Network(3, [Dense(2, "gelu"), Dense(1)], loss=losses.Huber(0.5), seed=1)
    yield "huber", *fit(huber, X[:, 0], optimizer=pycnn.SGD(0.1, momentum=0.9))
    scaled = Network(3, [Dense(2)], seed=1)
    yield "scaled", *fit(scaled, 1e5 * X[:, :2], scale_targets=True, optimizer="adam")
    steps = [Reshape((3, 1)), Dense(4), PositionEmbedding(), TransformerBlock(2, dropout=0.1)]
    steps += [Bidirectional(LSTM(2, return_sequences=True)), GRU(3), Dense(1)]
    yield "sequences", *fit(Network(3, steps, seed=2), X[:, 0], optimizer="adam")
    small = Network(3, [Dense(1)], seed=3)
    yield "lbfgs", *fit(small, X[:, 0], batch_size=None, optimizer=pycnn.LBFGS())
    part = Network(3, [Dense(1, "linear")], loss="hinge", seed=0)
    part.partial_fit(X, index > 0, optimizer="adam")
    yield "partial", part, lambda other: other.partial_fit(X, index > 0)


class Sample:
    """A model file, taken apart."""

    def __init__(self, name, net, go_on, folder):
        net.save(folder / name, training_state=True)
        self.name, self.go_on = name, go_on
        self.content = (folder / name).read_bytes()
        self.header, self.data = apart(self.content)
        self.description = json.loads(self.header["__metadata__"]["pycnn"])
        self.order = [tensor.full_name for tensor in net.architecture.tensors]


def apart(content):
    """Return a safetensors file's header, and its bytes behind that."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def together(header, data):
    """Return a safetensors file; `header` may be a text."""
    text = header if isinstance(header, str) else json.dumps(header)
    text = text.encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


# ------------------------------------------------------------------ what is altered


def nested(depth):
    """Return lists in lists."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = (
    *(0, 1, 2, 3, -1, 255, 2**31, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, -(10**30)),
    *(0.0, -0.0, 0.5, 1.5, 1e308, 5e-324, -1e-300, True, False, None),
    *("", "x", "\ud800", "\x1b[31m", "\0", "nan", "inf", "1", "a" * 300, "dense", "dropout"),
    *(
        "batch_norm",
        "layer_norm",
        "residual",
        "relu",
        "softmax",
        "sigmoid",
        "linear",
        "mse",
        "custom",
        "hinge",
    ),
    *("adam", "lbfgs", "sgd", "fit", "partial_fit", "zeros", "constant", "__class__"),
    *("<f8", "<i8", "|b1", "<U3", "<U262144", "|S999999", "<M8[D]", "<M8[7ns]", "<M8", "O", "|V8"),
    *("i4,i4", "(2,3)i4", "<U3,", "F64", "F32", "I64", "BOOL", "U8", "BF16", "F8_E4M3"),
    *([], {}, [[]], [{}], [0] * 500, ["a"] * 3, [1, 2, 3], ["", "a", "b"], nested(40), nested(120)),
    *([None], [1.5, 2.5, 3.5], {"x": 1}, {"name": "custom"}, {"name": "huber", "delta": 1e-300}),
    *({"kind": "dropout", "rate": 0.5}, {"name": "adam"}, {"kind": "constant", "rate": 1.0}),
    *([5 * 10**7, 0], [0, 0], [2**40, 2**40, 0], [2**62], [1] * 40, [2**31, 2**31, 2**31, 0]),
)


def a_value(rng):
    """Return a value of JSON that may be altered again."""
    return copy.deepcopy(rng.choice(VALUES))


TEXTS = (
    *("", "NaN", "-Infinity", "1e999", " ", "\\ud800", "\U0001f600", '"x": 1, ', "{}", "\0", "-0"),
    *("[" * 3000, "9" * 5000, "[" + "[], " * 9999 + "[]]", '{"": ' * 200, '"\\u005b' * 50),
)


def places(value, found=None):
    """Return each (container, key) of a JSON value."""
    found = [] if found is None else found
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        found.append((value, key))
        if isinstance(item, (dict, list)):
            places(item, found)
    return found


def alter(rng, value):
    """Change something within a JSON value, in place."""
    found = places(value)
    if not found:
        return
    outer, key = rng.choice(found)
    item = outer[key]
    way = rng.randrange(10)
    if way < 4:
        outer[key] = a_value(rng)
    elif way == 4 and isinstance(item, (int, float)) and not isinstance(item, bool):
        outer[key] = rng.choice((item + 1, item - 1, -item, 2 * item, item * 1e300, float(item)))
    elif way == 4 and isinstance(item, str) and item:
        at = rng.randrange(len(item))
        outer[key] = item[:at] + rng.choice(("", "x", "\ud800", "\x1b", item)) + item[at + 1 :]
    elif way == 5:
        del outer[key]
    elif way == 6:
        other, name = rng.choice(found)
        outer[key] = copy.deepcopy(other[name])
    elif way == 7 and isinstance(outer, list):
        count = rng.choice((1, 2, 10, 300, 3000))
        outer[key:key] = [copy.deepcopy(item) for _ in range(count)]
    elif way == 7:
        outer[rng.choice(("x", "kind", "name", "units", "", "\ud800", key + "x"))] = item
    elif way == 8 and isinstance(outer, list):
        rng.shuffle(outer)
    elif isinstance(item, list):
        item.append(a_value(rng))
    elif isinstance(item, dict):
        item[rng.choice(("x", "rate", "l2", "arrays", "plain"))] = a_value(rng)
    else:
        outer[key] = a_value(rng)


def times(rng):
    """Return how often a file is altered: mostly once."""
    return rng.choice((1, 1, 1, 2, 2, 3, 8))


def alter_bytes(rng, sample, samples):
    """Change bytes anywhere."""
    content = bytearray(sample.content)
    for _ in range(times(rng)):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((1, 1, 2, 8, 40, 400)))
        way = rng.randrange(7)
        if way == 0:
            content[at:end] = rng.randbytes(end - at)
        elif way == 1:
            del content[at:end]
        elif way == 2:
            content[at:at] = content[at:end] * rng.choice((1, 2, 50))
        elif way == 3:
            del content[at:]
        elif way == 4:
            other = rng.choice(samples).content
            content[at:end] = other[at:end]
        elif way == 5 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        else:
            number = rng.choice((0, 1, 2, 2**31, 2**63 - 1, 2**63, 2**64 - 1, len(content)))
            content[at : at + 8] = struct.pack("<Q", number)
        content = content or bytearray(b"\0")
    return bytes(content)


def alter_header(rng, sample, samples):
    """Change the header: the tensors' dtypes, shapes and places, and the metadata's text."""
    header = copy.deepcopy(sample.header)
    for _ in range(times(rng)):
        way = rng.randrange(4)
        if way == 0:
            text = header.get("__metadata__", {})
            text = text.get("pycnn", "") if isinstance(text, dict) else ""
            if isinstance(text, str) and text:
                at, end = sorted(rng.randrange(len(text)) for _ in range(2))
                end = min(end, at + 9)
                new = rng.choice((*TEXTS, text[at:end] * 2))
                header["__metadata__"] = {"pycnn": text[:at] + new + text[end:]}
        elif way == 1:  # a tensor of another shape or dtype in the same bytes
            entries = [entry for entry in header.values() if isinstance(entry, dict)]
            entry = rng.choice([e for e in entries if "shape" in e] or [{}])
            shapes = [], [0], [5 * 10**7, 0], [1, -1], [2, 2], [2**62, 4, 0], 8, [1] * 40, [True]
            entry["shape"] = rng.choice(shapes)
        else:
            alter(rng, header)
    text = json.dumps(header)
    if rng.randrange(10) == 0:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(("NaN", "[" * 5000, '"a":1,', " ", "\x00")) + text[at:]
    return together(text, sample.data + (rng.randbytes(8) if rng.randrange(20) == 0 else b""))


def sealed(sample, description, tensors, rng):
    """Return a file with a checksum that fits; or an unsealed one, where there is none."""
    import numpy as np

    from pycnn._io import model_file, safetensors_file

    if isinstance(description, dict):
        description.pop("sha256", None)
        parts = [tensors[name].ravel() for name in sample.order if name in tensors]
        others = {name: t for name, t in tensors.items() if name.startswith("training.")}
        with contextlib.suppress(RecursionError, ValueError):
            values = np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)
            description["sha256"] = model_file._checksum(description, values, others)
    text = json.dumps(description, sort_keys=rng.randrange(50) > 0)
    if rng.randrange(2):  # as pycnn 0.1 did
        return b"".join(safetensors_file.write(tensors, {"pycnn": text}))
    return b"".join(model_file._seal(tensors, text))


def tensors_of(sample):
    """Return a file's tensors by name."""
    from pycnn._io import safetensors_file

    return safetensors_file.read(io.BytesIO(sample.content), len(sample.content))[1]


def alter_description(rng, sample, samples):
    """Change what the metadata describe; the checksum fits."""
    description = copy.deepcopy(sample.description)
    tensors = tensors_of(sample)
    if rng.randrange(2):
        del description["training"]
        tensors = {name: t for name, t in tensors.items() if not name.startswith("training.")}
    for _ in range(times(rng)):
        part = rng.choice([*(p for p in description if p != "training"), None])
        inner = description[part] if part is not None else None
        alter(rng, inner if isinstance(inner, (dict, list)) else description)
        if rng.randrange(12) == 0:
            alter_tensor(rng, tensors, [name for name in tensors if name in sample.order])
    return sealed(sample, description, tensors, rng)


def alter_training(rng, sample, samples):
    """Change the training state; the checksum fits."""
    description = copy.deepcopy(sample.description)
    tensors = tensors_of(sample)
    for _ in range(times(rng)):
        if rng.randrange(3):
            alter(rng, {"training": description["training"]})
        else:
            alter_tensor(rng, tensors, [name for name in tensors if name not in sample.order])
        if not isinstance(description["training"], dict):
            break
    return sealed(sample, description, tensors, rng)


def alter_tensor(rng, tensors, names):
    """Change a tensor, or its name."""
    import numpy as np

    if not names:
        return
    name = rng.choice(names)
    tensor = tensors[name]
    way = rng.randrange(8)
    if way == 0:
        del tensors[name]
    elif way == 1:
        tensors[name + "x"] = tensors.pop(name)
    elif way == 2:
        shape = rng.choice(((5 * 10**7, 0), (0,), (), (2, 3), (0, 2**40), (1,), (999,), (3, 1, 1)))
        tensors[name] = np.zeros(shape)
    elif way == 3:
        dtype = rng.choice((np.float32, np.float16, np.int64, np.uint8, np.bool_))
        with np.errstate(all="ignore"):
            tensors[name] = np.asarray(np.nan_to_num(tensor), dtype)
    elif way == 4:
        tensors[name] = tensor.reshape(-1)
    elif way == 5:
        tensors[name] = np.concatenate([tensor.ravel()] * 2)
    elif tensor.size and tensor.dtype == np.float64:
        tensor = tensor.copy()
        value = rng.choice((np.nan, np.inf, -np.inf, 1e308, -1.0, 0.0, 5e-324))
        tensor.flat[rng.randrange(tensor.size)] = value
        tensors[name] = tensor


WAYS = (alter_bytes, alter_header, alter_description, alter_description, alter_training)


def make(seed, number, samples):
    """Return the way, the sample and the content of an execution."""
    rng = random.Random(f"{seed} {number}")
    way, sample = rng.choice(WAYS), rng.choice(samples)
    with contextlib.suppress(RecursionError, OverflowError, TypeError, ValueError):
        return way.__name__, sample, way(rng, sample, samples)
    return "alter_bytes", sample, alter_bytes(rng, sample, samples)  # what JSON cannot write


# ------------------------------------------------------------------ what is done with it


def use(path, sample, out):
    """Load a file and do all that one does with a network; return what came of it."""
    import numpy as np

    import pycnn
    from pycnn.exceptions import ModelFileError, PycnnError

    try:
        net = pycnn.load(path)
    except ModelFileError as error:
        text = str(error)
        if len(text) > 1000 or not text.isprintable():
            raise AssertionError("its message is no short printable line") from error
        return "refused"
    with contextlib.suppress(PycnnError):
        net.predict(np.ones((1, net.inputs)))
    repr(net)
    pickle.loads(pickle.dumps(net))
    training = net.training_record.last is not None
    net.save(out, training_state=training)
    again = pycnn.load(out)
    assert again.parameters.tobytes() == net.parameters.tobytes()
    if training:
        with contextlib.suppress(PycnnError):
            sample.go_on(net)
            return "trained on"
    return "loaded"


class Meter:
    """Measures the memory that a call takes, and bounds it where the system can."""

    def __init__(self):
        self.known = os.path.exists("/proc/self/clear_refs")
        self.page = os.sysconf("SC_PAGE_SIZE") if self.known else 0

    def start(self, size):
        """Begin: from here on `PER_BYTE` times the size and `FREE` bytes are to be had."""
        if not self.known:
            return
        import resource

        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the highest mark begins anew
        pages, resident = map(int, Path("/proc/self/statm").read_text().split()[:2])
        self.before = resident * self.page
        # Address space beside memory: what the allocator reserves at a time.
        bound = pages * self.page + PER_BYTE * size + FREE + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (bound, resource.RLIM_INFINITY))

    def stop(self):
        """Return the most bytes that were in use meanwhile."""
        if not self.known:
            return 0
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return max(0, 1024 * int(line.split()[1]) - self.before)
        return 0


def execute(path, sample, content, meter, out):
    """Return what came of one file, its memory in bytes, its seconds, and what is wrong."""
    path.write_bytes(content)
    fault, result = None, "failed"
    if hasattr(signal, "alarm"):
        signal.alarm(HANGS)  # which ends the process
    meter.start(len(content))
    started = time.process_time()
    try:
        result = use(path, sample, out)
    except BaseException:
        fault = traceback.format_exc(limit=-6)
    seconds = time.process_time() - started
    memory = meter.stop()
    if fault is None and memory > PER_BYTE * len(content) + FREE:
        fault = f"{memory:,} bytes of memory for a file of {len(content):,}"
    if fault is None and seconds > SECONDS:
        fault = f"{seconds:.1f} seconds"
    return result, memory, seconds, fault


def work(arguments, numbers):
    """Do some executions in this process; print what comes of them as lines of JSON."""
    import pycnn

    pycnn.set_num_threads(1)
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(1000)
    meter = Meter()
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # no disk to wait for
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        samples = [Sample(*training, folder) for training in trainings()]
        path, out = folder / "altered", folder / "again"
        for (
            sample
        ) in samples:  # what is not altered is read; and all that is imported late is there
            if use(folder / sample.name, sample, out) != "trained on":
                raise SystemExit(f"{sample.name} does not even load unaltered")
        counts, most, longest, done = collections.Counter(), 0, 0.0, 0
        for number in numbers:
            print(json.dumps({"at": number}), flush=True)
            way, sample, content = make(arguments.seed, number, samples)
            result, memory, seconds, fault = execute(path, sample, content, meter, out)
            counts[f"{way}: {result}"] += 1
            most, longest, done = max(most, memory), max(longest, seconds), done + 1
            if fault is not None:
                report = {"fault": fault, "number": number, "way": way, "sample": sample.name}
                print(json.dumps(report), flush=True)
                keep(arguments, number, content)
            if done % REPORT == 0 or number == numbers[-1]:
                report = {"counts": counts, "memory": most, "seconds": longest}
                print(json.dumps(report), flush=True)
                counts.clear()
    return 0


def keep(arguments, number, content):
    """Keep a file that has failed."""
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        (arguments.keep / f"{arguments.seed}-{number}").write_bytes(content)


# ------------------------------------------------------------------ the processes


def follow(arguments, first, tell):
    """Let processes do every so-many-th execution from `first` on: a new one where one dies."""
    at, step = first - arguments.processes, arguments.processes
    while (begin := at + step) < arguments.count:
        command = [sys.executable, __file__, *sys.argv[1:], "--begin", f"{begin}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                report = json.loads(line)
                at = report.get("at", at)
                tell(report)
        if process.returncode == 0:
            return
        tell({"fault": f"the process died: {process.returncode}", "number": at})
        at = max(at, begin)


def main():
    """Do what the command line asks for; return 1 where something has failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="executions")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that fail")
    parser.add_argument("--only", type=int, help="number of the one execution to do, in detail")
    parser.add_argument("--begin", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.begin is not None:
        return work(arguments, range(arguments.begin, arguments.count, arguments.processes))
    if arguments.only is not None:
        return work(arguments, [arguments.only])
    counts, most, faults = collections.Counter(), {"memory": 0, "seconds": 0.0}, []

    def tell(report):
        counts.update(report.get("counts", {}))
        for name in most:
            most[name] = max(most[name], report.get(name, 0))
        if "fault" in report:
            faults.append(report)
            print(*(f"{key}: {value}" for key, value in report.items()), sep="\n", flush=True)

    with ThreadPoolExecutor(arguments.processes) as pool:
        list(pool.map(lambda first: follow(arguments, first, tell), range(arguments.processes)))
    for name, count in sorted(counts.items()):
        print(f"{count:8,}  {name.replace('_', ' ')}")
    print(f"{sum(counts.values()):8,}  executions, {len(faults)} faults, seed {arguments.seed}")
    print(f"at most {most['memory'] / 2**20:.1f} MiB of memory and {most['seconds']:.2f} seconds")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
