"""Tables: whatever the bytes, `pycnn train` and `pycnn predict` do it, or say in a line why not.

    python fuzz/table.py FOLDER_OF_INPUTS -max_total_time=60

An input is a CSV file, whose last column is the target; its first byte chooses options. It fails if
anything but an exit status comes out, or a status that is none of pycnn's.
"""

import contextlib
import io
import os
import sys
import tempfile
import warnings
from unittest import mock

import atheris

with atheris.instrument_imports(include=["pycnn"]):
    import pycnn
    import pycnn.__main__

folder = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
path, model = os.path.join(folder, "table.csv"), os.path.join(folder, "model.safetensors")
OPTIONS = (
    [],
    ["--decimal", ",", "--delimiter", ";"],
    ["--thousands", "'"],
    ["--encoding", "latin-1"],
    ["--na", "-", "--na", "9"],
    ["--text", "a"],
    ["--date", "a"],
    ["--delimiter", "tab"],
    ["--task", "regression"],
    ["--class-weight", "balanced"],
)


def call(*arguments):
    """Return the exit status of a command, and what it has printed."""
    with (
        mock.patch.object(sys, "argv", ["pycnn", *arguments]),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        status = pycnn.__main__.main()
    assert status in (0, 1, 2), status
    said = out.getvalue() + errors.getvalue()
    assert "Traceback" not in said, said
    return status, said


def read(data):
    """Train on a table of these bytes, and predict for its rows."""
    options = OPTIONS[data[0] % len(OPTIONS)] if data else []
    with open(path, "wb") as file:
        file.write(data[1:])
    header = data[1:].decode("utf-8", "replace").splitlines()[:1] or [""]
    sign = options[options.index("--delimiter") + 1] if "--delimiter" in options else ","
    target = header[0].split("\t" if sign == "tab" else sign)[-1].strip('"\ufeff').replace("\0", "")
    train = ["train", path, "--target=" + target, "--out", model, "--no-plot", "--quiet"]
    status, said = call(*train, "--hidden", "none", "--epochs", "1", *options)
    if status == 0:
        status, said = call("predict", model, path)
    elif "\n" not in said:
        raise AssertionError("it failed and did not say why")


with atheris.instrument_imports(include=["pycnn"]):
    read(b"\0a,b\n" + b"1,x\n2,y\n3,x\n" * 4)  # imports what is imported when it is needed

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    pycnn.set_num_threads(1)
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
