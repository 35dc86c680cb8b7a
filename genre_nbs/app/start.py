"Where `genre-nbs` begins: Ctrl-C ends it in one line from the first moment on, before anything is imported."

import os
import signal
import sys


def stop(*_):
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


def main():
    "Run the command line."
    open_closed()
    before = signal.signal(signal.SIGINT, stop)
    from genre_nbs.app.cli import main as command_line

    signal.signal(signal.SIGINT, before)
    try:
        command_line()
    finally:  # all is said and done: Ctrl-C while Python ends changes nothing
        signal.signal(signal.SIGINT, signal.SIG_IGN)
