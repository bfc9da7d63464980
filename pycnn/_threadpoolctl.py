"""Makes the core's threads known to threadpoolctl, where that is installed.

`backend.c` imports this as it loads the core, at the first network or `config`. threadpoolctl sees
the libraries that are loaded when it is called, so this is as early as it can see the core at all;
and whatever imports threadpoolctl later finds the core registered.
"""

from __future__ import annotations

import os

from threadpoolctl import LibController, register

from pycnn._native import __file__ as native_file
from pycnn._native import lib
from pycnn._threads import get_num_threads, set_num_threads
from pycnn._version import __version__


class Controller(LibController):
    """Shows and sets the limit of `set_num_threads`, which is the whole process's.

    The library is found by its file's name. Others may bear that name too: only ours gets the
    symbol that is looked for, which the file itself hides.
    """

    user_api = "pycnn"
    internal_api = "pycnn"
    filename_prefixes = ("_native.",)
    check_symbols = ("pycnn_threads_create",)

    def set_additional_attributes(self) -> None:
        """Let the core's calls stand for the file's symbols, if it is the core's file."""
        paths = {os.path.normcase(os.path.realpath(p)) for p in (self.filepath, native_file)}
        if len(paths) == 1:
            self.dynlib = lib

    def get_num_threads(self) -> int:
        """Return the most threads that the core will use."""
        return get_num_threads()

    def set_num_threads(self, num_threads: int) -> None:
        """Set the most threads that the core will use."""
        set_num_threads(num_threads)

    def get_version(self) -> str:
        """Return the core's version."""
        return __version__


register(Controller)
