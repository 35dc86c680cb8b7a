"What the command line prints, and how it ends: results on standard output, everything else in one clear line on standard error."

import gc
import json
import os
import re
import sys
import warnings
from contextlib import contextmanager, suppress

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@contextmanager
def loading():
    """While modules and a model are loaded, Python looks for no garbage; nor does it look through them later.

    PyTorch brings hundreds of thousands of objects, none of them garbage. To look through them again and again was a third
    of a cold `genre-nbs predict`.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def say(line=""):
    "A line for people, on standard error, so that standard output holds the result alone."
    with suppress(OSError):  # a full disk or a closed pipe there stops no work
        print(printable(line).strip(), file=sys.stderr)


def printable(text):
    "Text in one line: control characters in it, as names of files can hold, are shown and not obeyed."
    return CONTROL.sub(lambda sign: sign[0].encode("unicode_escape").decode(), str(text))


def escaped(text):
    "JSON in which control characters stand as escapes, also those that JSON allows as they are."
    return CONTROL.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)


def emit(result, as_json, text):
    "The result: one JSON object, or `text` for people, in signs that the output can show."
    text = escaped(json.dumps(result, ensure_ascii=False, allow_nan=False)) if as_json else "\n".join(map(printable, text.split("\n")))
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:  # a name that is no UTF-8, or a terminal that is none
        text = json.dumps(result, allow_nan=False) if as_json else text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(text, flush=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def say_bad(bad, notes=()):
    "Name the files that were skipped, and what was decided for the user."
    for path, reason in bad.itertuples(index=False):
        say(f"skipped: {path}: {reason}")
    if len(bad):
        say(f"{len(bad)} invalid file{'s' if len(bad) > 1 else ''} skipped")
    say_notes(notes)


def say_notes(notes):
    "What was decided for the user, a line each."
    for note in notes:
        say(f"note: {note}")


def bad_list(bad):
    "The skipped files for JSON."
    return bad.to_dict("records")


def percent(evaluation):
    "Accuracy with its interval in words."
    low, high = evaluation.accuracy_interval
    return f"{evaluation.accuracy:.1%} ({low:.1%} to {high:.1%})"


def score_lines(evaluations):
    "Scores as a few lines of text."
    return "\n".join(f"by {way:<8}accuracy {percent(e)}, macro F1 {e.f1_macro:.3f}, n = {e.n}" for way, e in evaluations.items())


def score_dict(evaluations):
    "Scores for JSON: those of the first way on top, all of them under `scores`."
    first = next(iter(evaluations.values())).to_dict()
    return {**first, "scores": {way: evaluation.to_dict() for way, evaluation in evaluations.items()}}


def shown_settings(classifier) -> dict:
    "Settings for people and tables: all but the split, which stands elsewhere, and the list of checksums."
    return {name: value for name, value in classifier.settings.items() if name not in ("split", "training_tracks")}


def message(error):
    "What to say of an error that the user can mend, in one line; None for an error that nobody foresaw."
    if isinstance(error, EOFError) or isinstance(error.__cause__, EOFError):
        return "a file ends where more was expected"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error.strerror or error)
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"not enough memory{f' ({error})' if str(error) else ''}"
    return None


def ended(error):
    "Say why a command ended, in one line; returns the exit code."
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort" and not isinstance(error.__cause__, EOFError):
        say("stopped")
        return 130
    if text := message(error):
        say(f"Error: {text}")
        return 2
    if hasattr(error, "format_message"):  # click's own errors, whatever module they live in
        if error.format_message():  # empty where the help was shown instead
            say(f"Error: {error.format_message()}")
        return error.exit_code
    if os.environ.get("GENRE_NBS_DEBUG"):
        raise error
    say(f"Error: {type(error).__name__}: {error} (this is a fault of genre-nbs; GENRE_NBS_DEBUG=1 shows where)")
    return 1


def run(command):
    "Run a command line and end the process. What the user can mend ends in one line on standard error and exit code 2."
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # they speak to programmers
            code = command()
        if code == 130:  # Typer turns Ctrl-C into this
            say("stopped")
    except (Exception, KeyboardInterrupt) as error:
        code = ended(error)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # said already; Python would say it again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
