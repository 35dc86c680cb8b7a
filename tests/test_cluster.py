"Work on a Dask cluster: where it is done, what is lost with a worker or the scheduler, and who is let in."

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from joblib import delayed

dask = pytest.importorskip("dask", reason="the extra `cluster` is not installed")
distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

from genre_nbs.app.prepare import prepare  # noqa: E402
from genre_nbs.io import cluster as c  # noqa: E402

CLUSTER = {"threads_per_worker": 1, "dashboard_address": None}


@pytest.fixture(scope="module", autouse=True)
def few_deaths():
    "A task is given up with the second worker that dies of it, not with the fourth: starting one takes seconds."
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        yield


@pytest.fixture(scope="module")
def two(few_deaths):
    "The address of a scheduler with two workers."
    with distributed.LocalCluster(n_workers=2, **CLUSTER) as cluster:
        yield cluster.scheduler_address


def fatal(number):
    "Ends the process that carries out task 3."
    if number == 3:
        os._exit(9)
    return -number


class Large:
    "An object of a megabyte and more, which counts how often it is sent."

    sent = 0

    def __init__(self):
        self.content = bytes(2 * c.LARGE)

    def __getstate__(self):
        Large.sent += 1
        return self.__dict__


def test_a_single_core_is_a_cluster_too():
    with distributed.LocalCluster(n_workers=1, **CLUSTER) as cluster:
        assert os.getpid() not in set(c.run_tasks([delayed(os.getpid)() for _ in range(3)], scheduler=cluster.scheduler_address))


def test_results_come_in_order_or_as_they_are_done(two):
    tasks = [delayed(time.sleep)(seconds) for seconds in (0.6, 0.0)] + [delayed(abs)(-5)]
    assert list(c.run_tasks(tasks, scheduler=two)) == [None, None, 5]
    assert next(c.run_tasks([delayed(pow)(2, 3), *tasks[:1]], scheduler=two, ordered=False)) == 8
    assert list(c.run_tasks([], scheduler=two)) == []


def test_a_large_object_goes_there_once(two):
    large, before = Large(), Large.sent
    assert list(c.run_tasks([delayed(isinstance)(large, int) for _ in range(20)], scheduler=two)) == [False] * 20
    assert Large.sent - before < 5  # its size is looked at, and it is sent; before it went with each task


def test_a_task_that_kills_its_workers_stops_no_other(two):
    tasks = [delayed(fatal)(number) for number in range(6)]
    assert list(c.run_tasks(tasks, scheduler=two, lost=lambda number: f"{number} lost")) == [0, -1, -2, "3 lost", -4, -5]
    with pytest.raises(ValueError, match="task 4 kills the workers of the cluster at tcp://"):
        list(c.run_tasks(tasks, scheduler=two))


def test_without_workers_it_says_so(monkeypatch):
    monkeypatch.setattr(c, "PATIENCE", 2.0)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster, pytest.raises(ValueError, match="has had no worker for 2 s"):
        list(c.run_tasks([delayed(abs)(1)], scheduler=cluster.scheduler_address))


def test_a_scheduler_that_goes_away_is_said_in_our_words(capfd):
    cluster = distributed.LocalCluster(n_workers=1, **CLUSTER)
    results = c.run_tasks([delayed(time.sleep)(0.2) for _ in range(200)], scheduler=cluster.scheduler_address)
    next(results)
    threading.Timer(0.5, cluster.close).start()
    with pytest.raises(ValueError, match="the Dask scheduler at tcp://.* was lost; what is done is kept"):
        list(results)
    assert "Traceback" not in capfd.readouterr().err


def test_a_scheduler_that_does_not_answer_in_time_is_lost_and_a_task_that_fails_is_not(monkeypatch):
    def late(self, **more):
        raise OSError("Timed out trying to connect")

    def broken():
        raise OSError("no such file")

    with distributed.LocalCluster(n_workers=1, **CLUSTER) as cluster:
        with pytest.raises(OSError, match="no such file"):
            list(c.run_tasks([delayed(broken)()], scheduler=cluster.scheduler_address))
        monkeypatch.setattr(distributed.Client, "nthreads", late)
        with pytest.raises(ValueError, match="was lost"):
            list(c.run_tasks([delayed(time.sleep)(2)], scheduler=cluster.scheduler_address))


def test_clients_that_did_not_get_through_are_closed_at_once():
    "Else they close when they are thrown away: in the middle of the beginning of another, where that waited for ever."
    code = (
        "import gc\nfrom genre_nbs.io.cluster import check_scheduler\n"
        "def ask():\n    try: check_scheduler('tls://127.0.0.1:1')\n    except ValueError as error: print(str(error)[:24])\n"
        "gc.disable(); ask(); ask()\ngc.enable(); gc.set_threshold(50, 1, 1)\nfor _ in range(3): ask()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25)
    assert done.stdout.splitlines() == ["no Dask scheduler answers"[:24]] * 5 and done.stderr == ""


def test_an_address_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(c, "CONNECT", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(ValueError, match=r"no Dask scheduler answers at .* \(no answer in 3 s"):
        c.check_scheduler(f"tcp://127.0.0.1:{mute.getsockname()[1]}")


def test_an_assertion_of_dask_is_no_answer_and_no_fault_of_ours(monkeypatch):
    "Seen once at an address where nobody listens, an AssertionError without words."

    def no_answer(self, **more):
        raise AssertionError

    monkeypatch.setattr(distributed.Client, "start", no_answer)
    with pytest.raises(ValueError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 \(no answer; is it tcp:// or tls://"):
        c.check_scheduler("tcp://127.0.0.1:1")


def test_what_the_cluster_lacks_is_named():
    with pytest.raises(ValueError, match="the cluster at x lacks what is installed here .*nowhere"), c.lost_scheduler("x"):
        try:
            import nowhere  # noqa: F401
        except ImportError as error:
            raise RuntimeError("Error during deserialization of the task graph.") from error
    with pytest.raises(RuntimeError, match="of a task"), c.lost_scheduler("x"):
        raise RuntimeError("an error of a task is no fault of the cluster")


def test_a_song_that_kills_its_worker_is_named_and_the_others_are_prepared(tones, tmp_path):
    blocked, victim = tmp_path / "kills.py", sorted(tones.rglob("*.wav"))[0]
    blocked.write_text(f"""
import os
from genre_nbs.app import prepare as p
def compute(path, kinds, read=p.compute):
    return os._exit(9) if os.path.samefile(path, {str(victim)!r}) else read(path, kinds)
if p.compute.__module__ == p.__name__: p.compute = compute  # Dask loads this file twice
""")
    with distributed.LocalCluster(n_workers=2, preload=str(blocked), **CLUSTER) as cluster:
        done = prepare(tones, tmp_path / "out", scheduler=cluster.scheduler_address)
    assert done["n"] == 11 and [Path(path).name for path in done["bad"]["path"]] == [victim.name]
    assert "killed by the system" in done["bad"]["reason"].iloc[0]


# --- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    "A folder with an authority's certificate, one that it signed, and a stranger's."
    folder = tmp_path_factory.mktemp("tls")
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    for words in (
        "req -x509 -newkey rsa:2048 -nodes -days 30 -keyout ca.key -out ca.pem -subj /CN=authority",
        "req -newkey rsa:2048 -nodes -keyout mine.key -out mine.csr -subj /CN=mine",
        "x509 -req -in mine.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out mine.pem",
        "req -x509 -newkey rsa:2048 -nodes -days 30 -keyout other.key -out other.pem -subj /CN=stranger",
    ):
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def secured(certificates):
    "The address of a scheduler that lets in whoever shows a certificate of the authority."
    pair = {"cert": str(certificates / "mine.pem"), "key": str(certificates / "mine.key")}
    files = {f"tls_{who}_{what}": path for who in ("scheduler", "worker", "client") for what, path in pair.items()}
    security = distributed.Security(tls_ca_file=str(certificates / "ca.pem"), require_encryption=True, **files)
    with distributed.LocalCluster(n_workers=1, security=security, protocol="tls://", **CLUSTER) as cluster:
        yield cluster.scheduler_address


def prepared(tones, out, scheduler, folder=None, authority="ca", name="mine"):
    "`genre-nbs prepare` with a certificate, or without; its exit code and what it said."
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    given = {f"{tls}CA_FILE": f"{authority}.pem", f"{tls}CLIENT__CERT": f"{name}.pem", f"{tls}CLIENT__KEY": f"{name}.key"} if folder else {}
    env = {key: value for key, value in os.environ.items() if not key.startswith("DASK")} | {key: str(folder / file) for key, file in given.items()}
    words = [sys.executable, "-c", "from genre_nbs.app.cli import main; main()", "prepare", tones, out, "--scheduler", scheduler]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_a_secured_cluster_works_with_the_certificate(tones, tmp_path, certificates, secured):
    assert secured.startswith("tls://")
    code, said = prepared(tones, tmp_path / "there", secured, certificates)
    assert code == 0, said
    prepare(tones, tmp_path / "here")
    there, here = ({path.name: path.read_bytes() for path in (tmp_path / place / "summary").iterdir()} for place in ("there", "here"))
    assert there == here and "X.npy" in here


@pytest.mark.parametrize(
    "given, says",
    [
        ({}, "tls:// needs certificates: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE"),
        ({"authority": "other", "name": "other"}, "was not signed by the authority of the file given here"),
        ({"name": "other"}, "tls:// needs certificates"),
    ],
    ids=["no certificate", "another authority", "a stranger's certificate"],
)
def test_a_secured_cluster_lets_nobody_else_in(tones, tmp_path, certificates, secured, given, says):
    code, said = prepared(tones, tmp_path / "out", secured, certificates if given else None, **given)
    assert code == 2 and said.count("\n") == 1 and says in said, said
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_hangs_up_on_a_stranger():
    "With Python 3.13 the alert of TLS may be lost in a reset of the connection."
    reset = ConnectionResetError(104, "Connection reset by peer")
    assert c.why_none("tls://x:1", reset).startswith("tls:// needs certificates")
    assert c.why_none("tcp://x:1", reset).startswith("Connection reset by peer; is it")
    assert c.why_none("tls://x:1", ConnectionRefusedError(111, "Connection refused")).startswith("Connection refused")


def test_an_address_without_tls_of_a_secured_cluster_is_refused(tones, tmp_path, secured):
    code, said = prepared(tones, tmp_path / "out", secured.replace("tls://", "tcp://"))
    assert code == 2 and said.count("\n") == 1 and "is it tcp:// or tls://?" in said, said
