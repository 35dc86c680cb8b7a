"A limit on the time that a call may take, for what has none of its own."

import threading


def within(
    seconds: float,  # the longest that is waited
    function,  # what is called, with the further words
    *args,
    **kwargs,
):  # what it returns
    """Call a function, and wait `seconds` at most. Raises what it raises, and `TimeoutError` where it takes longer.

    It is called in a thread of its own, since Python cannot end a call from outside: one that takes longer goes on there,
    nobody waits for it, and what it returns is thrown away.
    """
    came = []

    def call():
        try:
            came.append((function(*args, **kwargs), None))
        except BaseException as error:  # of any kind: it is raised where somebody waits
            came.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if not came:
        raise TimeoutError(f"no answer in {seconds:g} s")
    result, error = came[0]
    if error is not None:
        raise error
    return result
