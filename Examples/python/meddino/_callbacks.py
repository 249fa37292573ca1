"""Python functions that C calls.

ctypes prints and forgets what a callback raises. A `try` in the function is not enough: since Python 3.11 a pending Ctrl-C is raised when a
function is entered, before its `try`. A generator that waits inside a `try` has no such gap. C calls with three arguments and a generator
takes one at a time, so `max(..., key=generator.send)`, which is no Python code, hands them over, and picks what is returned: the first argument,
always 0, goes on; the last one, a pointer and so not 0, stops.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Generator, List


def guarded(prototype: Any, function: Callable[[Any, int], bool], failures: List[BaseException]) -> Any:
    """A C callback of (user, value, pointer), user being NULL. function(value, pointer): True stops. What is raised goes to `failures`; as long as
    one is there, `function` is not asked and C is told to stop."""
    generator = _answers(function, failures)
    next(generator)
    return prototype(functools.partial(max, key=generator.send))


def _answers(function: Callable[[Any, int], bool], failures: List[BaseException]) -> Generator[int, Any, None]:
    arguments: List[Any] = [0, 0, 0]
    last, answer, waiting = 2, 0, False
    while True:
        try:
            while True:
                waiting = True
                value = yield answer
                waiting = False
                last = (last + 1) % 3
                arguments[last] = value
                answer = 0
                if last == 2 and (failures or function(arguments[1], value)):
                    answer = 1
        except GeneratorExit:
            return
        except BaseException as failure:
            failures += [failure]  # no call: it could be interrupted again
            if waiting:  # the argument was handed over, and lost
                last = (last + 1) % 3
            answer = 1 if last == 2 else 0
