"""Types that several modules name."""

from __future__ import annotations

import os
from typing import Any, Callable, Union

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Path = Union[str, "os.PathLike[str]"]
Progress = Callable[[float, str], object]
"""progress(fraction, stage): False stops the call, what it raises is raised from the call."""
