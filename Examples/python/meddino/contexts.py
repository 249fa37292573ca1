"""The root of all state, and what stops runs."""

from __future__ import annotations

import ctypes
from typing import Any, Callable, List, Optional

from ._handles import Handle
from ._library import library as _library_of
from ._structs import _ContextOptions, _LogFn


class Context(Handle):
    """The root of all state. threads: 0 takes all processors. max_bytes: limit of all buffers, None for no limit.

    log(level, message) is called from any thread for messages up to `log_level` (1 error … 4 debug). What it raises is kept, and the
    first is raised from `check_log`; a KeyboardInterrupt or SystemExit stops the run and is raised from its call.
    """

    _release = "context_release"

    def __init__(self, threads: int = 0, max_bytes: Optional[int] = None, log: Optional[Callable[[int, str], None]] = None, log_level: int = 2,
                 library: Optional[str] = None) -> None:
        keeps: List[Any] = []
        super().__init__(_library_of(library), keeps)
        self._log_failures: List[BaseException] = []
        failures, interrupts = self._log_failures, self._library.interrupts
        options = _ContextOptions()
        self._library.context_options_init(ctypes.byref(options), ctypes.sizeof(options))
        options.threads, options.log_level, options.max_bytes = threads, log_level, max_bytes or 0
        if log is not None:
            sink = log

            def forward(_user: Any, level: int, message: bytes) -> None:  # several threads at once, so no `guarded`
                try:
                    sink(level, message.decode("utf-8", "replace"))
                except Exception as failure:  # must not pass through C
                    failures.append(failure)
                except BaseException as failure:
                    interrupts.append(failure)

            options.log = _LogFn(forward)
            keeps.append(options.log)
        self._library.check(self._library.context_create(ctypes.byref(options), self._out()))

    def check_log(self) -> None:
        """Raises the first exception that the log function raised since the last call."""
        if self._log_failures:
            first = self._log_failures[0]
            del self._log_failures[:]
            raise first


class Cancel(Handle):
    """Stops runs, from any thread. It stays requested."""

    _release = "cancel_release"

    def __init__(self) -> None:
        super().__init__(_library_of())
        self._library.check(self._library.cancel_create(self._out()))

    def request(self) -> None:
        """Asks every run that was given this object to stop."""
        self._library.cancel_request(self._get())
