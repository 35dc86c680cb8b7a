"The signals that stop a run, and a way to hold them back for a moment."

import signal
import sys
import threading
from contextlib import contextmanager, suppress

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP


def start_trackers():
    """Start the two processes that clean up after workers; they let Ctrl-C through to this process when they start.

    They are told not to warn of what a run that is stopped leaves to them.
    """
    quiet = "ignore::UserWarning"
    sys.warnoptions.append(quiet)  # processes that Python starts are given its options
    try:
        with suppress(ImportError):
            from multiprocessing import resource_tracker

            from joblib.externals.loky.backend.resource_tracker import ensure_running

            resource_tracker.ensure_running()
            ensure_running()
    finally:
        sys.warnoptions.remove(quiet)


@contextmanager
def interrupts_held(
    wanted: bool = True,  # whether to do anything at all
):
    "For a moment what would stop a run waits here; Ctrl-C and a closed terminal end no process that is started meanwhile."
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    came, mask, before = [], None, {}
    try:
        for number in STOPPING:
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda number, frame: came.append(number))
        if hasattr(signal, "pthread_sigmask"):  # not on Windows
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # which processes inherit that are started now
            start_trackers()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in reversed(before.items()):  # Ctrl-C last: it would leave this loop
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)
