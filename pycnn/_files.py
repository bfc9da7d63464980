"""A file is there as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["write_whole"]


def write_whole(path: Path, pieces: Iterable[Any]) -> None:
    """Write bytes beside `path`, sync, rename: a crash leaves the old file or the new one."""
    if path.exists() and not path.is_file():  # a device or a pipe holds nothing to keep
        with open(path, "wb") as file:
            file.writelines(pieces)
        return
    target = path.resolve()  # through a link: the file behind it is replaced, not the link
    temporary = os.fspath(
        target.with_name(f".{target.name[:32]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    )
    try:
        # 0o666 less the umask, as any new file; a file that is replaced keeps its permissions.
        with open(temporary, "xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(temporary, target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException as error:
        # Nothing else is called before, so that no second Ctrl-C comes first.
        try:  # noqa: SIM105
            os.unlink(temporary)
        except OSError:  # there is none yet, or it has been renamed already
            pass
        if isinstance(error, OSError) and error.filename == temporary:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
    if os.name == "posix":  # the rename itself must reach the disk too
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
