"""A file or folder takes the place of another in one step, so that no moment is without one of the two."""

import ctypes
import errno
import os
import shutil
from pathlib import Path

AT_FDCWD, EXCHANGE = -100, 2


def put(new: Path, path: Path) -> None:
    """`new` stands at `path`; what was there stands at `new`, or is gone.

    A file replaces a file in one step anywhere; a folder cannot be renamed over another, and the two are exchanged,
    in one step where the system can do so. Elsewhere the old one is moved aside first, to where `standing` finds it.

    Raises:
        OSError: neither could be done; what was at `path` is there still.
    """
    try:
        new.replace(path)
    except OSError:
        if not (path.is_dir() or new.is_dir()) or not os.path.lexists(path):
            raise
        if not _exchange(new, path):
            _by_way_of(_aside(path), new, path)
    remove(_aside(path))


def standing(path: Path) -> Path:
    """The path, or where the old result stands if a writer was killed between two moves."""
    return _aside(path) if not path.exists() and _aside(path).exists() else path


def remove(path: Path) -> None:
    """A file or a folder, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.stem}.old{path.suffix}")


def _by_way_of(aside: Path, new: Path, path: Path) -> None:
    remove(aside)  # of a writer that was killed after its moves
    path.replace(aside)
    try:
        new.replace(path)
    except BaseException:
        aside.replace(path)
        raise


def _exchange(new: Path, path: Path) -> bool:
    """Both change places by Linux' renameat2; whether there was such a call that could."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if call is None:
        return False
    if call(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(path), EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # a file system without it
        return False
    raise OSError(number, os.strerror(number), str(path))
