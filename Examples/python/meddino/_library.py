"""Finding and loading the shared library.

It is loaded when the first context is made (or by `load`), never at import. It is looked for at the path given, at the environment variable
MEDDINO_LIBRARY, inside this package, and where the system keeps its libraries.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any, List, Optional, Tuple

from ._prototypes import PROTOTYPES
from .errors import OK, Error, error_of

_NAMES = ("libmeddino.so.1", "libmeddino.so")


class Library:
    """The loaded shared library with typed functions, named as in meddino.h without `meddino_`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.interrupts: List[BaseException] = []  # KeyboardInterrupt and SystemExit from a log function, for the next call to raise
        library = ctypes.CDLL(path)
        for name, (result, arguments) in PROTOTYPES.items():
            try:
                function = getattr(library, "meddino_" + name)
            except AttributeError:
                raise OSError("%s has no meddino_%s: it is not libmeddino, or older than this package" % (path, name)) from None
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:  # for type checkers: the functions are set one by one
        raise AttributeError(name)

    def error(self, status: int) -> Error:
        """The exception of this thread's last call, which gave `status`."""
        length = self.last_error(None, 0)
        buffer = ctypes.create_string_buffer(length + 1)
        self.last_error(buffer, length + 1)
        return error_of(status, self.status_name(status).decode(), buffer.value.decode("utf-8", "replace"))

    def check(self, status: int) -> None:
        """Raises what a call that gave `status` has to raise."""
        error = None if status == OK else self.error(status)
        if self.interrupts:
            raise self.interrupts.pop(0) from error
        if error is not None:
            raise error


_loaded: Optional[Library] = None
_loading = threading.Lock()


def load(path: Optional[str] = None) -> str:
    """Loads the library and returns its path. Raises OSError when it is not found, ValueError when another one is already loaded."""
    return library(path).path


def library(path: Optional[str] = None) -> Library:
    """The library of this process, loaded at the first call."""
    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = Library(_find(path))
        elif path is not None and os.path.realpath(path) != os.path.realpath(_loaded.path):
            raise ValueError("meddino is already loaded from %s" % _loaded.path)
        return _loaded


def _find(path: Optional[str]) -> str:
    if path is not None:
        return path
    named = os.environ.get("MEDDINO_LIBRARY")
    if named:
        return named
    package = os.path.dirname(os.path.abspath(__file__))
    for name in _NAMES:
        if os.path.exists(os.path.join(package, name)):
            return os.path.join(package, name)
    return _NAMES[0]  # the dynamic linker knows where


def version() -> Tuple[int, int, int]:
    """Major, minor and patch of the library that runs."""
    number = library().version()
    return (number >> 16, number >> 8 & 255, number & 255)


def build_info() -> str:
    """Version, kernels in use and thread back end, in one line."""
    text: bytes = library().build_info()
    return text.decode()
