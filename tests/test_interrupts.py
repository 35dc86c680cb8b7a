"Ctrl-C: one line and exit code 130, from the first moment on, also while workers start and work."

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genre_nbs.io import signals
from genre_nbs.practice import write_corpus

COMMAND = Path(sys.executable).with_name("genre-nbs")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupts") / "songs"
    write_corpus(folder, songs_per_genre=2, seconds=20.0, genres=("blues", "rock"))
    return folder


def listening():
    "A test run in the background may have been told to ignore Ctrl-C; what it starts is not."
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def interrupted(words, seconds, number=signal.SIGINT, send=os.killpg):
    "What a command ends with, prints and says, when Ctrl-C (or another signal) comes after so many seconds."
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": listening}
    process = subprocess.Popen([COMMAND, *map(str, words)], start_new_session=True, **pipes)
    time.sleep(seconds)
    try:
        send(process.pid, number)
    except ProcessLookupError:  # it was quicker
        pass
    out, err = process.communicate(timeout=60)
    return process.returncode, err, out


@pytest.mark.parametrize("seconds", [0.2, 0.6, 3.0, 4.0])
@pytest.mark.parametrize("command", ["prepare", "corpus"])
def test_ctrl_c_is_one_line(songs, tmp_path, command, seconds):
    words = {"prepare": [songs, tmp_path / "out", "--as", "summary,mel,picture", "--jobs", 2], "corpus": [tmp_path / "out", "--jobs", 2]}
    code, err, out = interrupted([command, *words[command]], seconds)
    while err.startswith("Fatal Python error: init"):  # Python itself was not up yet, on a busy machine
        seconds += 0.2
        code, err, out = interrupted([command, *words[command]], seconds)
    if code == 0:
        pytest.skip("was done before it could be stopped")
    assert (code, err.splitlines(), out) == (130, ["stopped"], "")


def processes_of(group):
    "Numbers of the processes of a group that are at work."
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, of_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            found += [folder.name] if int(of_group) == group and state != "Z" else []
    return found


def until(condition, seconds=60):
    "Wait until a condition holds."
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux")
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_run_that_is_asked_to_end_leaves_nothing(tmp_path, name, send):
    number, pids = getattr(signal, name), []

    def tell(pid, number):
        pids.append(pid)
        until(lambda: len(processes_of(pid)) >= 5)  # two workers and two processes that clean up after them
        send(pid, number)

    code, err, out = interrupted(["corpus", tmp_path / "out", "--jobs", 2, "--songs-per-genre", 100], 0, number, tell)
    assert (code, err.splitlines(), out) == (128 + number, ["stopped"], "")
    until(lambda: not processes_of(pids[-1]))
    assert not [path.name for path in tmp_path.rglob(".*")]  # half files


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux")
def test_a_terminal_that_is_closed_ends_the_run(tmp_path):
    import pty  # which Windows lacks

    pid, terminal = pty.fork()
    if pid == 0:
        listening()
        os.execv(COMMAND, ["genre-nbs", "corpus", str(tmp_path / "out"), "--jobs", "2", "--songs-per-genre", "100"])

    def at_work():
        if select.select([terminal], [], [], 0)[0]:
            os.read(terminal, 4096)  # what is shown there
        return len(processes_of(pid)) >= 5

    until(at_work)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    until(lambda: not processes_of(pid))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux")
def test_workers_that_wait_end_too_when_an_import_is_stopped(tmp_path):
    (tmp_path / "slow.py").write_text("import os, time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    lines = [
        f"import os, sys; sys.path.insert(0, {str(tmp_path)!r}); os.setsid()",
        "import genre_nbs.app.cli as cli, joblib",
        "from genre_nbs.io.cluster import run_tasks",
        "cli.main = lambda: (list(run_tasks([joblib.delayed(abs)(-1)] * 4, 2)), __import__('slow'))",
    ]
    process = started(lines, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "importing\n" and len(processes_of(process.pid)) >= 5
    process.terminate()
    assert (process.communicate(timeout=60)[1], process.returncode) == ("stopped\n", 143)
    until(lambda: not processes_of(process.pid))


def test_trackers_that_cannot_start_leave_the_signals_as_they_were(monkeypatch):
    def fails():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(signals, "start_trackers", fails)
    before = [signal.getsignal(number) for number in signals.STOPPING], signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(BlockingIOError), signals.interrupts_held():
        pass
    assert before == ([signal.getsignal(number) for number in signals.STOPPING], signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_ctrl_c_while_python_ends_changes_nothing(tmp_path):
    late = "import atexit, os, signal\natexit.register(os.kill, os.getpid(), signal.SIGINT)\nimport sys\nsys.argv[1:] = ['--version']\nfrom genre_nbs.app.start import main\nmain()"
    ended = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("genre-nbs")


def started(lines, words=(), **how):
    "Python that runs some lines and then the command line."
    lines = [*lines, "import sys", f"sys.argv = ['genre-nbs', *{list(map(str, words))!r}]", "from genre_nbs.app.start import main", "main()"]
    return subprocess.Popen([sys.executable, "-c", "\n".join(lines)], preexec_fn=listening, text=True, **how)


def test_an_import_does_not_swallow_ctrl_c(tmp_path):
    (tmp_path / "swallows.py").write_text("import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(1)\nexcept BaseException:\n    pass\n")
    lines = [f"import sys; sys.path.insert(0, {str(tmp_path)!r})", "import genre_nbs.app.cli as cli", "cli.main = lambda: __import__('swallows')"]
    process = started(lines, stderr=subprocess.PIPE)
    assert (process.communicate(timeout=60)[1], process.returncode) == ("stopped\n", 130)


def test_ctrl_c_while_workers_start_is_not_lost(tmp_path):
    lines = [
        "import os, signal, joblib",
        "def start(self, tasks, call=joblib.Parallel.__call__):",
        "    results = call(self, tasks)",
        "    os.kill(os.getpid(), signal.SIGINT)",
        "    return results",
        "joblib.Parallel.__call__ = start",
    ]
    words = ["corpus", tmp_path / "out", "--songs-per-genre", 1, "--seconds", 1, "--jobs", 2]
    if (os.cpu_count() or 1) < 2:
        pytest.skip("needs two processors")
    process = started(lines, words, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("", "stopped\n", 130)


@pytest.mark.parametrize("closed", [0, 1, 2, 3], ids=["input", "output", "error", "all"])
def test_closed_streams_change_nothing(songs, tmp_path, closed):
    "Nor does the first file that is opened take the number of one, into which libraries write."
    lines = ["import os", *(f"os.close({number})" for number in ((0, 1, 2) if closed == 3 else (closed,)))]
    code = "\n".join([*lines, "import sys", "sys.stdin = sys.stdout = sys.stderr = None" if closed == 3 else f"sys.{('stdin', 'stdout', 'stderr')[closed]} = None"])
    words = ["prepare", songs, tmp_path / "out"]
    process = started([code], words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == "" and (closed in (1, 3)) == (out == "")
    assert (tmp_path / "out" / "summary" / "X.npy").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_standard_output_is_named_and_a_full_standard_error_stops_nothing(songs, tmp_path):
    with open("/dev/full", "w") as full:
        done = started([], ["prepare", songs, tmp_path / "out"], stdout=full, stderr=subprocess.PIPE)
        assert done.communicate(timeout=60)[1] == "Error: standard output: No space left on device\n" and done.returncode == 2
        (songs / "rock" / "no song.wav").write_text("no song")
        done = started([], ["prepare", songs / "manifest.csv", tmp_path / "out", "--json"], stdout=subprocess.PIPE, stderr=full)
        assert '"n": 4' in done.communicate(timeout=60)[0] and done.returncode == 0
        (songs / "rock" / "no song.wav").unlink()
