"Where `genre-nbs` begins: Ctrl-C ends it in one line from the first moment on, before anything is imported."

import os
import signal


def stop(*_):
    "End at once, in one line."
    os.write(2, b"stopped\n")
    os._exit(130)


def main():
    "Run the command line."
    before = signal.signal(signal.SIGINT, stop)
    from genre_nbs.app.cli import main as command_line

    signal.signal(signal.SIGINT, before)
    try:
        command_line()
    finally:  # all is said and done: Ctrl-C while Python ends changes nothing
        signal.signal(signal.SIGINT, signal.SIG_IGN)
