"""Ownership of C handles."""

from __future__ import annotations

import ctypes
from typing import Any, Optional, TypeVar

from ._library import Library

Self = TypeVar("Self", bound="Handle")


class Box:
    """One C handle, and what its C side may still call or read. Released with the last reference: the owner's, or that of a view."""

    def __init__(self, library: Library, release: str, keeps: Any) -> None:
        self.pointer = ctypes.c_void_p()
        self.keeps = keeps
        self._release = getattr(library, release)

    def __del__(self) -> None:
        if self.pointer.value:
            self._release(self.pointer)


class Handle:
    """Owner of a C handle. `close` lets it go early; afterwards the object must not be used, but arrays that view it stay valid."""

    _release = ""

    def __init__(self, library: Library, keeps: Any = None) -> None:
        self._library = library
        self._box: Optional[Box] = Box(library, self._release, keeps)

    def _live(self) -> Box:
        if self._box is None or not self._box.pointer.value:
            raise ValueError("this %s is closed" % type(self).__name__)
        return self._box

    def _out(self) -> Any:
        if self._box is None:
            raise ValueError("this %s is closed" % type(self).__name__)
        return ctypes.byref(self._box.pointer)

    def _get(self) -> ctypes.c_void_p:
        return self._live().pointer

    def close(self) -> None:
        """Lets the handle go; does nothing the second time."""
        self._box = None

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def text(value: Optional[bytes]) -> Optional[str]:
    """A string of C's."""
    return None if value is None else value.decode("utf-8", "replace")
