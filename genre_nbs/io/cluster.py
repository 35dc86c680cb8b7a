"Work for several processes, here or on a Dask cluster, with a progress bar."

import signal
import threading
from contextlib import contextmanager

SECURITY = (
    "tls:// needs certificates: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and "
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY to their files, here and on the cluster"
)


def run_tasks(
    tasks: list,  # of `joblib.delayed` calls
    jobs: int = 1,  # processes on this machine
    scheduler: str | None = None,  # address of a Dask scheduler; None: work here
    ordered: bool = True,  # whether results come in the order of the tasks, or as they are done
):  # yields the results
    "Carry out tasks here or on a cluster. Raises `ValueError` when no scheduler answers, or when it is lost."
    import joblib

    kind = "generator" if ordered else "generator_unordered"
    if scheduler is None:
        with interrupts_ignored(jobs > 1):  # workers that start now leave Ctrl-C to this process
            results = joblib.Parallel(n_jobs=jobs, return_as=kind)(tasks)
        yield from results
        return
    with dask_client(scheduler), lost_scheduler(scheduler), joblib.parallel_config(backend="dask"):
        yield from joblib.Parallel(return_as=kind)(tasks)


@contextmanager
def interrupts_ignored(
    wanted: bool = True,  # whether to do anything at all
):
    "For a moment Ctrl-C does nothing here, and for ever in processes that are started meanwhile."
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def dask_client(
    scheduler: str,  # address, such as "tcp://127.0.0.1:8786" or "tls://127.0.0.1:8786"
):
    """A connection to a Dask cluster. Raises `ValueError` when dask is not installed or nothing answers there.

    Whoever reaches a scheduler's port can run programs on the cluster. So either nobody else reaches it (localhost, a network of
    one's own), or the address is `tls://` with certificates, which Dask reads from its configuration.
    """
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ValueError("a cluster needs the extra: pip install 'genre_nbs[cluster]'") from error
    try:
        return Client(scheduler, timeout="15s", set_as_default=True)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        why = SECURITY if scheduler.startswith("tls://") else type(error).__name__
        raise ValueError(f"no Dask scheduler answers at {scheduler} ({why})") from error


def check_scheduler(
    scheduler: str | None,  # its address; None: no cluster
):
    "Ask, before anything is read, whether a scheduler answers. Raises `ValueError` as `dask_client` does."
    if scheduler is not None:
        dask_client(scheduler).close()


@contextmanager
def lost_scheduler(
    scheduler: str,  # its address, for the error
):
    "Raises `ValueError` in our words when the connection to the cluster is lost."
    from concurrent.futures import CancelledError

    from distributed.comm import CommClosedError

    try:
        yield
    except (CommClosedError, CancelledError, TimeoutError, ConnectionError) as error:
        raise ValueError(f"the Dask scheduler at {scheduler} was lost; what is done is kept, and the same command goes on") from error


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
