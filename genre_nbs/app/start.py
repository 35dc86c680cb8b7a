"Where `genre-nbs` begins: Ctrl-C ends it in one line from the first moment on, before anything is imported."

import os
import signal
import sys


def stop():
    "End at once, in one line."
    os.write(2, b"stopped\n")
    os._exit(130)


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
    "What Ctrl-C does. An import would swallow the exception where it expects another (`except: pass`), so it is not left to it."
    while frame is not None:
        if "importlib._bootstrap" in frame.f_code.co_filename:
            stop()
        frame = frame.f_back
    raise KeyboardInterrupt


def main():
    "Run the command line."
    open_closed()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as nohup and a shell's background jobs have it
        signal.signal(signal.SIGINT, interrupt)
    from genre_nbs.app.cli import main as command_line

    try:
        command_line()
    finally:  # all is said and done: Ctrl-C while Python ends changes nothing
        signal.signal(signal.SIGINT, signal.SIG_IGN)
