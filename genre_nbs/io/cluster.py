"Work for several processes, here or on a Dask cluster, with a progress bar."

import asyncio
import logging
import pickle
import ssl
import time
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import partial

from genre_nbs.io.deadlines import within
from genre_nbs.io.signals import interrupts_held

PATIENCE = 60.0  # seconds without any worker, after which a cluster is given up
CONNECT = 30.0  # seconds in which a cluster answers, or is given up
LARGE = 1_000_000  # bytes of an object that goes to a cluster once instead of with every task

SECURITY = (
    "tls:// needs certificates: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and "
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY to their files, here and on the cluster"
)


def run_tasks(
    tasks: list,  # of `joblib.delayed` calls
    jobs: int = 1,  # processes on this machine
    scheduler: str | None = None,  # address of a Dask scheduler; None: work here
    ordered: bool = True,  # whether results come in the order of the tasks, or as they are done
    lost=None,  # on a cluster: takes the number of a task that kills its workers, and gives what stands in for its result
):  # yields the results
    """Carry out tasks here or on a cluster.

    Raises `ValueError` when no scheduler answers, when it or all workers are lost, and for a task that kills its workers where `lost` is None.
    """
    if scheduler is not None:
        yield from on_cluster(tasks, scheduler, ordered, lost)
        return
    import joblib

    kind = "generator" if ordered else "generator_unordered"
    with interrupts_held(jobs > 1):  # workers that start now leave Ctrl-C to this process
        results = joblib.Parallel(n_jobs=jobs, return_as=kind)(tasks)
    yield from results


def on_cluster(tasks, scheduler, ordered, lost):
    "The results of tasks that the workers of a Dask cluster carry out."
    waiting, first = {}, 0
    with quiet("distributed"), dask_client(scheduler) as client, lost_scheduler(scheduler):
        for number, result in numbered_results(client, tasks, lost or partial(refuse, scheduler)):
            if not ordered:
                yield result
                continue
            waiting[number] = result
            while first in waiting:
                yield waiting.pop(first)
                first += 1


def numbered_results(client, tasks, lost):
    "The number of each task with its result, as they are done; tasks whose workers were killed come last, tried once more."
    futures = submitted(client, tasks)
    numbers, killed = {future.key: number for number, future in enumerate(futures)}, []
    for future, result in as_they_end(client, futures):
        if killed_workers(future):
            killed.append(numbers[future.key])
        else:
            yield numbers[future.key], result_or_error(future, result)
    for number in killed:  # one at a time: of the tasks on a worker that dies one alone killed it
        [(future, result)] = as_they_end(client, submitted(client, [tasks[number]]))
        yield number, lost(number) if killed_workers(future) else result_or_error(future, result)


def killed_workers(future):
    "Whether a task was given up since several workers died of it."
    from dask.distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def result_or_error(future, result):
    "What a task gave; its error is raised, and `CancelledError` where an object that it needs is lost."
    if future.status == "error":
        raise future.exception()
    if future.cancelled():
        raise CancelledError(future.key)
    return result


def submitted(client, tasks):
    "Tasks as futures. A large object that all of them are given, such as data, goes to the cluster once."
    arguments = [{id(value): value for value in args} for _, args, _ in tasks]
    common = [value for key, value in arguments[0].items() if all(key in others for others in arguments)] if len(tasks) > 1 else []
    large = [value for value in common if len(pickle.dumps(value)) > LARGE]
    if large:
        wait_for_worker(client)
    with reply_expected():
        there = dict(zip(map(id, large), client.scatter(large, broadcast=True, hash=False), strict=True)) if large else {}
    return [client.submit(do, *[there.get(id(value), value) for value in args], **named, pure=False) for do, args, named in tasks]


@contextmanager
def reply_expected():
    "Raises `ConnectionError` where a scheduler does not answer; Dask raises an `OSError` of any kind, as the tasks may, too."
    try:
        yield
    except OSError as error:
        raise ConnectionError(str(error)) from error


def has_worker(client):
    "Whether the cluster has a worker now."
    with reply_expected():
        return bool(client.nthreads())


def wait_for_worker(client):
    "Wait until the cluster has a worker. Raises `ValueError` when it has had none for `PATIENCE` seconds."
    begin = time.monotonic()
    while not has_worker(client):
        check_patience(client, begin)
        time.sleep(0.1)


def check_patience(client, since):
    "Raises `ValueError` when the cluster has had no worker for too long, since a time of the monotonic clock."
    if time.monotonic() - since > PATIENCE:
        where = client.scheduler.address
        start = f"start one with the same packages as here (dask worker {where})"
        raise ValueError(f"the cluster at {where} has had no worker for {PATIENCE:g} s; {start}, and the same command goes on")


def as_they_end(client, futures):
    "Futures with their results, as they end. Raises `ValueError` when the cluster has had no worker for `PATIENCE` seconds."
    from dask.distributed import as_completed

    queue, asked, seen = as_completed(futures, with_results=True, raise_errors=False), 0.0, time.monotonic()
    while not queue.is_empty():
        if queue.has_ready():
            yield from queue.next_batch(block=False)
            continue
        time.sleep(0.02)
        if (now := time.monotonic()) - asked < 1:
            continue
        asked = now
        if has_worker(client):
            seen = now
        check_patience(client, seen)


def refuse(scheduler, number):
    "Raises `ValueError` for a task that kills its workers."
    raise ValueError(f"task {number + 1} kills the workers of the cluster at {scheduler}; too little memory there?")


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
    client = Client.__new__(Client)  # so that it can be closed where it does not get through its beginning
    try:
        within(CONNECT, client.__init__, scheduler, timeout="15s", set_as_default=True)  # its own limit is for a part of the way
        return client
    except (OSError, ValueError, TypeError, RuntimeError, AssertionError) as error:  # the last: Dask's own, now and then, where nobody listens
        with suppress(Exception):  # else it does so when it is thrown away, and waits for ever there for the lock of another that begins
            client.close(timeout=2)
        raise ValueError(f"no Dask scheduler answers at {scheduler} ({why_none(scheduler, error)})") from error


def why_none(scheduler, error):
    "Why no connection came about, from the causes of Dask's error."
    causes = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return f"its certificate was not signed by the authority of the file given here; {SECURITY}"
    secured = scheduler.startswith("tls://")
    aside = (ssl.SSLError, ConnectionResetError) if secured else ssl.SSLError  # on whom it does not trust, a scheduler may simply hang up
    known = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, aside)]
    if secured and not known:
        return SECURITY
    said = known[-1:] or [str(cause) for cause in causes if str(cause)] or ["no answer"]
    return f"{said[0]}; is it tcp:// or tls://?"


@contextmanager
def quiet(
    name: str,  # of a logger
):
    "Nothing that a logger has to say is printed: errors reach the caller as exceptions."
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


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
    "Raises `ValueError` in our words when the connection to the cluster is lost, or when it lacks a package."
    from distributed.comm import CommClosedError

    try:
        yield
    except (CommClosedError, CancelledError, TimeoutError, asyncio.TimeoutError, ConnectionError) as error:  # noqa: UP041 (two in Python 3.10)
        raise ValueError(f"the Dask scheduler at {scheduler} was lost; what is done is kept, and the same command goes on") from error
    except (ImportError, RuntimeError) as error:
        missing = error if isinstance(error, ImportError) else error.__cause__
        if not isinstance(missing, ImportError):
            raise
        raise ValueError(f"the cluster at {scheduler} lacks what is installed here ({missing}); scheduler and workers need the same packages") from error


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
