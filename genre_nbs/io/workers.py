"Work on many files in several processes, of which the system may kill one: the rest is done all the same."

from concurrent.futures.process import BrokenProcessPool

from genre_nbs.io.cluster import run_tasks

KILLED = "the process that read it was killed by the system; too little memory?"
ALONE = 8  # items after a killed process that are tried one by one, each in a process of its own, for each process that was at work


def run_each(
    function,  # takes an item; can be pickled
    items,  # what to work on
    jobs: int = 1,  # processes
    lost=None,  # takes an item whose process was killed, and gives what stands in for its result
):  # yields a result for each item, in order
    """Work on items in order. When a process is killed, the item that does it is found and given to `lost`.

    With one process there is nobody to notice; a run that was killed is then to be started again.
    """
    from joblib import delayed

    items, done, tried = list(items), 0, -1
    while done < len(items):
        try:
            for result in run_tasks([delayed(function)(item) for item in items[done:]], jobs):
                yield result
                done += 1
        except BrokenProcessPool:
            if lost is None or jobs == 1:
                raise
            stop = min(len(items), done + ALONE * jobs) if tried < done else len(items)
            while done < stop:
                yield alone(function, items[done], lost)
                done += 1
            tried = done


def alone(function, item, lost):
    "One item in a process of its own."
    from joblib import delayed

    try:
        return next(run_tasks([delayed(function)(item)], jobs=2))
    except BrokenProcessPool:
        return lost(item)
