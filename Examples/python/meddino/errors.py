"""What failed calls raise: `Error`, and one class under it for every status that a caller may want to catch alone."""

from __future__ import annotations

from typing import Any, Dict, Tuple, Type

OK, E_INVALID, E_CANCELLED, E_NOMEM, E_IO, E_FORMAT, E_SHAPE, E_UNSUPPORTED, E_STATE, E_TIMEOUT, E_INTERNAL = range(11)


class Error(Exception):
    """A failed call: `code` is one of the E_ numbers, `name` such as "MEDDINO_E_FORMAT", the text says what was wrong."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.name = name

    def __reduce__(self) -> Tuple[Any, ...]:
        return (type(self), (self.code, self.name, str(self)))


class InvalidError(Error, ValueError):
    """An argument is out of range or contradicts another."""


class CancelledError(Error):
    """A progress function or a `Cancel` stopped the call."""


class NoMemoryError(Error, MemoryError):
    """The system or max_bytes did not allow the memory."""


class FileError(Error, OSError):
    """The system refused to open, read or write a file."""


class FormatError(Error, ValueError):
    """A file is truncated, corrupt or not what its name says."""


class ShapeError(Error, ValueError):
    """Sizes of two things that belong together differ."""


class UnsupportedError(Error, NotImplementedError):
    """Valid, but not done by this version or this processor."""


class StateError(Error, RuntimeError):
    """The object cannot do this now."""


_CLASSES: Dict[int, Type[Error]] = {
    E_INVALID: InvalidError, E_CANCELLED: CancelledError, E_NOMEM: NoMemoryError, E_IO: FileError, E_FORMAT: FormatError, E_SHAPE: ShapeError,
    E_UNSUPPORTED: UnsupportedError, E_STATE: StateError}


def error_of(code: int, name: str, text: str) -> Error:
    """The exception of a status."""
    return _CLASSES.get(code, Error)(code, name, text)
