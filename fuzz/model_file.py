"""Model files: whatever the bytes, `pycnn.load` reads a network or raises `ModelFileError`.

    python fuzz/model_file.py FOLDER_OF_INPUTS -max_total_time=60

What is read can be predicted with and saved, and then reads the same again. The first byte of an
input tells whether the rest is a file, or only the header of one: then a length, and numbers for
the tensors, are put around it. The checksum in the files is that of any file, so that an altered
file gets past it.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import runpy
import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import numpy as np


class Constant:
    """A hash that is the same for everything."""

    def __init__(self, content=b""):
        pass

    def update(self, content):
        """Take more content."""

    def hexdigest(self):
        """Return the hash."""
        return 64 * "0"


hashlib.sha256 = Constant
folder = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
path, again = os.path.join(folder, "model"), os.path.join(folder, "again")

with atheris.instrument_imports(include=["pycnn"]):
    import pycnn
    from pycnn.exceptions import ModelFileError, PycnnError

    # Modules that are imported when they are needed are instrumented too.
    net = pycnn.Network(2, [pycnn.Dense(2), pycnn.BatchNorm(), pycnn.Dense(2, "softmax")], seed=0)
    net.fit(np.eye(2), ["a", "b"], epochs=1)
    net.save(path, training_state=True)
    pycnn.load(path)

warnings.simplefilter("ignore")
ENDS = re.compile(rb'"data_offsets":\s*\[\d+,\s*(\d{1,5})\]')


def framed(header):
    """Return a file with this header, as long as the header says."""
    size = max((int(end) for end in ENDS.findall(header)), default=0)
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + bytes(size)


alter = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "fuzz_model_files.py"))["alter"]


def mutate(data, most, seed):
    """Change a header, or what it describes, as JSON; else, or now and then, change bytes."""
    rng = random.Random(seed)
    if data[:1] == b"h" and rng.random() < 0.8:
        with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
            header = json.loads(data[1:])
            if rng.random() < 0.3:
                alter(rng, header)
            else:
                description = json.loads(header["__metadata__"]["pycnn"])
                alter(rng, description)
                header["__metadata__"]["pycnn"] = json.dumps(description)
            altered = b"h" + json.dumps(header).encode()
            if len(altered) <= most:
                return altered
    return atheris.Mutate(data, most)


def read(data):
    """Load a file of these bytes, and use what it holds."""
    with open(path, "wb") as file:
        file.write(framed(data[1:]) if data[:1] == b"h" else data[1:])
    try:
        net = pycnn.load(path)
    except ModelFileError as error:
        if not str(error).isprintable():
            raise AssertionError(ascii(str(error))) from error
        return
    with contextlib.suppress(PycnnError):
        net.predict(np.ones((1, net.inputs)))
    net.save(again)
    assert pycnn.load(again).parameters.tobytes() == net.parameters.tobytes()


if __name__ == "__main__":
    pycnn.set_num_threads(1)
    atheris.Setup(sys.argv, read, custom_mutator=mutate)
    atheris.Fuzz()
