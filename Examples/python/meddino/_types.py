"""Types that several modules name."""

from __future__ import annotations

import os
from typing import Any, Callable, Union

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Path = Union[str, "os.PathLike[str]"]
Progress = Callable[[float, str], object]
"""progress(fraction, stage): False stops the call, what it raises is raised from the call."""


def c_text(text: str, name: str) -> bytes:
    """The bytes of a text for C, which would end at a NUL."""
    if "\0" in text:
        raise ValueError("%s is %r, expected a text without NUL" % (name, text))
    return text.encode()


def c_path(path: Path) -> bytes:
    """The bytes of a path for C, which would end at a NUL."""
    found = os.fsencode(path)
    if b"\0" in found:
        raise ValueError("the path %r holds a NUL" % (path,))
    return found
