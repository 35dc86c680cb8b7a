"Where `genre-nbs` begins: Ctrl-C (and SIGTERM, SIGHUP) end it in one line from the first moment on, before anything is imported."

import os
import signal
import sys
import threading
from contextlib import suppress

from genre_nbs.io.signals import STOPPING

received = []  # signals that have come


def stop():
    "End at once, in one line, with the workers that wait for more to do."
    pools = sys.modules.get("joblib.externals.loky.reusable_executor")
    for number in list(getattr(getattr(pools, "_executor", None), "_processes", None) or ()):
        with suppress(OSError):
            os.kill(number, signal.SIGTERM)
    with suppress(OSError):  # a terminal that is closed
        os.write(2, b"stopped\n")
    os._exit(128 + received[0])


def open_closed():
    """Where standard input, output or error is closed, open it on nothing.

    Else the first files that are opened take their numbers, and what a library writes to number 2 would stand in a model file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def interrupt(number, frame):
    """What Ctrl-C does, and what asks a process to end (`kill`, `timeout`, a batch system, a terminal that is closed).

    An import would swallow the exception where it expects another (`except: pass`), so it is not left to it.
    """
    received.append(number)
    threading.excepthook = lambda args: None  # threads that serve workers may stumble when these are taken from them
    while frame is not None:
        if "importlib._bootstrap" in frame.f_code.co_filename:
            stop()
        frame = frame.f_back
    raise KeyboardInterrupt


def main():
    "Run the command line."
    open_closed()
    for number in STOPPING:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):  # else it is ignored, as nohup and a shell's background jobs have it
            signal.signal(number, interrupt)
    from genre_nbs.app.cli import main as command_line

    try:
        command_line()
    except SystemExit as end:
        if end.code and received:  # whatever else failed on the way, such as a bar on a terminal that is closed
            end.code = 128 + received[0]
        raise
    except KeyboardInterrupt:  # a second signal, while the first was reported
        sys.exit(128 + received[0])
    finally:  # all is said and done: what comes while Python ends changes nothing
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
