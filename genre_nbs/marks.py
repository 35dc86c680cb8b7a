"""Marks on cells: `#| data`, `#| slow`, `#| cuda` and `#| online` say what a cell needs.

Where that is missing, *Run all* passes over the cell with a sentence and goes on, so that every notebook runs to its end.
"""

import os
import re
import socket

MARK = re.compile(r"^#\|[ \t]*(data|slow|cuda|online)\b", re.MULTILINE)


def _online():
    "Whether the internet answers, within a second."
    try:
        socket.create_connection(("librosa.org", 443), 1).close()
    except OSError:
        return False
    return True


def _gpu():
    "Whether there is a GPU."
    import torch

    return torch.cuda.is_available()


NEEDS = {  # mark -> (whether it can run here, what to say where it cannot)
    "data": (lambda: bool(os.environ.get("GENRE_NBS_DATA")), "it needs real songs; lesson 05 says how to fetch them"),
    "slow": (lambda: bool(os.environ.get("GENRE_NBS_SLOW")), "it takes minutes or hours; delete its line '#| slow' to run it all the same"),
    "cuda": (_gpu, "it needs a GPU"),
    "online": (_online, "it needs the internet"),
}


def missing(
    source: str,  # of a cell
) -> str:  # a sentence; '' when the cell can run
    "What a marked cell lacks here."
    reasons = (words for mark, (there, words) in NEEDS.items() if mark in MARK.findall(source) and not there())
    reason = next(reasons, "")
    return f"This cell was passed over: {reason}." if reason else ""


def pass_over(
    lines: list,  # of a cell
) -> list:  # the same, or a line that says why the cell is not run
    "An input transformer of IPython."
    reason = missing("".join(lines))
    return [f"print({reason!r})\n"] if reason else lines


def respect_marks(
    shell,  # IPython's, in which a notebook runs
):
    "From the next cell on, pass over marked cells that cannot run here."
    if pass_over not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(pass_over)
