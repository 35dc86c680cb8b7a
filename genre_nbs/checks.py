"Checks of the exercises: each says in words what is not right yet, and never the answer."

import re

STATES = ("right", "not yet", "not right")
LINE = re.compile(rf"^(?P<exercise>Exercise \d+): (?P<state>{'|'.join(STATES)})\.(?: (?P<words>.*))?$")


class NotYet(Exception):
    "The place of the answer still holds its placeholder."


class NotRight(Exception):
    "An answer was given; the text says what is wrong with it."


def given(
    *answers, # what the student's code made; `...` and None count as no answer
):
    "Go on when all answers are there. Raises `NotYet` otherwise."
    if any(answer is ... or answer is None for answer in answers):
        raise NotYet


def expect(
    condition, # what holds for a right answer
    words: str, # what is wrong when it does not hold, for the student; not the answer
):
    "Go on when the condition holds. Raises `NotRight` otherwise."
    if not condition:
        raise NotRight(words)


def verdict(
    body, # a function without arguments that calls `given` and `expect`
) -> tuple: # (state, words): "right", "not yet" or "not right", and what to say
    "What a check says. An error in the student's code is said, not raised."
    try:
        body()
    except NotYet:
        return "not yet", "Replace the placeholder and run the cells again."
    except NotRight as wrong:
        return "not right", str(wrong)
    except Exception as error:
        return "not right", f"Your code stops with {type(error).__name__}: {str(error) or 'no text'}".splitlines()[0]
    return "right", ""


def check(
    exercise: str, # such as "Exercise 2"
):
    "Decorator: run the function below as the check of an exercise, at once, and print one line."
    def run(body):
        state, words = verdict(body)
        print(f"{exercise}: {state}. {words}".strip())
    return run


def read_line(
    line: str, # one line that a check printed
) -> dict | None: # exercise, state, words; None for any other line
    "What a check has said."
    match = LINE.match(line)
    return match and {name: text or "" for name, text in match.groupdict().items()}
