"Work for several processes, here or on a Dask cluster, with a progress bar."

import joblib


def run_tasks(
    tasks: list,  # of `joblib.delayed` calls
    jobs: int = 1,  # processes on this machine
    scheduler: str | None = None,  # address of a Dask scheduler; None: work here
    ordered: bool = True,  # whether results come in the order of the tasks, or as they are done
):  # yields the results
    "Carry out tasks here or on a cluster. Raises `ValueError` when no scheduler answers."
    kind = "generator" if ordered else "generator_unordered"
    if scheduler is None:
        yield from joblib.Parallel(n_jobs=jobs, return_as=kind)(tasks)
        return
    with dask_client(scheduler), joblib.parallel_config(backend="dask"):
        yield from joblib.Parallel(return_as=kind)(tasks)


def dask_client(
    scheduler: str,  # address, such as "tcp://127.0.0.1:8786"
):
    "A connection to a Dask cluster. Raises `ValueError` when dask is not installed or nothing answers there."
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ValueError("a cluster needs the extra: pip install 'genre_nbs[cluster]'") from error
    try:
        return Client(scheduler, timeout="15s", set_as_default=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {scheduler} ({type(error).__name__})") from error


def progress_bar(
    items,  # what is counted as it comes
    total: int,  # how many there will be
    title: str,  # what stands before the bar
):  # the same items
    "A bar with the time left, on standard error, so that standard output stays clean."
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, title, total=total, console=console, transient=True, disable=not console.is_terminal)
