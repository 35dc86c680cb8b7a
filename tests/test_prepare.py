"Preparing a collection: the same bytes however it was run, interrupted or spread out."

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genre_nbs.app.prepare import picture_names, prepare
from genre_nbs.datasets import DataError, Representation, load_arrays, load_examples
from genre_nbs.io import cluster
from genre_nbs.io.decode import save_audio

KINDS = ("summary", "mel", "picture")
COMMAND = [sys.executable, "-c", "from genre_nbs.app.cli import main; main()"]


def fingerprint(folder):
    "Checksum of every file that a run is for; the cache is not."
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file() and "cache" not in p.relative_to(folder).parts)
    assert not [p for p in files if p.name.startswith(".")], "half-written files are left"
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def undisturbed(tones, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    return out, prepare(tones, out, KINDS)


def test_same_numbers_as_reading_directly(undisturbed, tones):
    out, done = undisturbed
    assert done["n"] == 12 and done["computed"] == dict.fromkeys(KINDS, 12) and done["bad"].empty
    for kind in ("summary", "mel"):
        direct, prepared = load_examples(tones, Representation(kind)), load_arrays(out / kind)
        np.testing.assert_array_equal(direct.x, prepared.x)
        np.testing.assert_array_equal(direct.y, prepared.y)
        assert list(direct.track) == list(prepared.track) and list(direct.artist) == list(prepared.artist)
    assert len(load_examples(out / "picture", Representation("picture", channels=1, size=(128, 64)))) == 12


def test_second_run_computes_nothing(undisturbed, tones):
    out, _ = undisturbed
    before = fingerprint(out)
    assert prepare(tones, out, KINDS)["computed"] == {} and fingerprint(out) == before


def test_renamed_and_added_songs_reuse_the_cache(tones, tmp_path):
    songs = tmp_path / "songs"
    shutil.copytree(tones, songs, ignore=shutil.ignore_patterns("manifest.csv"))
    prepare(songs, tmp_path / "out")
    (songs / "jazz" / "jazz0.wav").rename(songs / "jazz" / "renamed.wav")
    save_audio(songs / "jazz" / "new.wav", np.random.default_rng(1).uniform(-0.5, 0.5, 44100).astype(np.float32), 22050)
    assert prepare(songs, tmp_path / "out")["computed"] == {"summary": 1}
    assert {"jazz/renamed", "jazz/new"} <= set(load_arrays(tmp_path / "out" / "summary").track)


def test_two_processes_give_the_same_bytes(undisturbed, tones, tmp_path):
    prepare(tones, tmp_path, KINDS, jobs=2)
    assert fingerprint(tmp_path) == fingerprint(undisturbed[0])


def test_bad_files_are_listed_and_the_rest_is_done(tones, tmp_path):
    songs = tmp_path / "songs"
    shutil.copytree(tones, songs, ignore=shutil.ignore_patterns("manifest.csv"))
    (songs / "jazz" / "bad.wav").write_text("no music")
    save_audio(songs / "blues" / "short.wav", np.ones(100, np.float32) / 2, 22050)
    done = prepare(songs, tmp_path / "out", ("summary", "picture"))
    assert done["n"] == 12 and len(done["bad"]) == 2 and len(pd.read_csv(tmp_path / "out" / "bad.csv")) == 2


def test_a_folder_and_a_pipe_in_a_manifest_are_put_aside(tones, tmp_path):
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    rows = [(tones / "jazz" / "jazz0.wav", "jazz"), *((tmp_path / f"{name}.wav", "blues") for name in ("folder", "pipe", "missing"))]
    pd.DataFrame(rows, columns=["path", "genre"]).to_csv(tmp_path / "m.csv", index=False)
    done = prepare(tmp_path / "m.csv", tmp_path / "out")
    assert done["n"] == 1
    for reason, word in zip(done["bad"].reason, ("folder", "pipe", "no such file")):
        assert word in reason


def test_half_written_files_of_killed_runs_are_swept(undisturbed, tones, tmp_path):
    prepare(tones, tmp_path, KINDS)
    halves = ["summary/.X-0123456789ab.npy", "mel/.labels-0123456789ab.npy", "picture/jazz/.x-0123456789ab.png", ".bad-0123456789ab.csv"]
    halves.append(f"cache/summary/{next((tmp_path / 'cache' / 'summary').iterdir()).name}/.key-0123456789ab.npy")
    for name in halves:
        (tmp_path / name).write_text("half")
    (tmp_path / ".keep-me").write_text("not ours")
    prepare(tones, tmp_path, KINDS)
    assert [path.name for path in tmp_path.rglob(".*")] == [".keep-me"]
    (tmp_path / ".keep-me").unlink()
    assert fingerprint(tmp_path) == fingerprint(undisturbed[0])


def test_the_files_of_a_run_at_work_are_not_swept(tones, tmp_path):
    from genre_nbs.io.leftovers import only_run

    with only_run(tmp_path) as alone:
        assert alone
        (tmp_path / ".bad-0123456789ab.csv").write_text("of the other run")
        prepare(tones, tmp_path)
        assert (tmp_path / ".bad-0123456789ab.csv").exists()
    prepare(tones, tmp_path)
    assert not (tmp_path / ".bad-0123456789ab.csv").exists()


FULL_DISK = """
mkdir -p {disk} && mount -t tmpfs -o size={size} tmpfs {disk} || exit 77
cd {disk} && PYTHONPATH="$CODE" {python} -c "from genre_nbs.app.cli import main; main()" prepare {songs} {disk}/out --as summary,mel --jobs {jobs}
echo "exit code $?"; find {disk} -name ".*-????????????.*"
"""


@pytest.mark.parametrize("size, jobs", [("700k", 1), ("300k", 1), ("300k", 2)])  # full when the songs are put together; while they are read
def test_a_full_disk_is_one_line(tones, tmp_path, size, jobs):
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    script = FULL_DISK.format(disk=tmp_path / "disk", size=size, songs=tones, jobs=jobs, python=sys.executable)
    code = {"CODE": str(Path(cluster.__file__).parents[2])}
    run = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, env=os.environ | code)
    if run.returncode == 77:
        pytest.skip("no disk can be mounted here")
    assert run.stdout == "exit code 2\n" and "Traceback" not in run.stderr
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"Error: {tmp_path}/disk/out/")  # the file
    assert f"the disk that holds {tmp_path}/disk/out is full" in lines[0]


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_the_system_does_not_give_is_named(tones, tmp_path, monkeypatch, error):
    from genre_nbs.app import prepare as room

    def checksum(path):
        if path.endswith("jazz1.wav"):
            raise error
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()

    monkeypatch.setattr(room, "file_sha256", checksum)
    done = prepare(tones, tmp_path)
    assert done["n"] == 11 and done["bad"].reason.tolist() == [f"cannot be read ({error.strerror})"]


def test_split_and_group_and_gaps_are_kept(tones, tmp_path):
    rows = [(tones / genre / f"{genre}{i}.wav", genre, f"{genre} {i // 2}" if i else "", ("train", "val", "Test")[i % 3], f"g{i}") for genre in ("blues", "jazz") for i in range(4)]
    pd.DataFrame(rows, columns=["path", "genre", "artist", "split", "group"]).to_csv(tmp_path / "m.csv", index=False)
    done = prepare(tmp_path / "m.csv", tmp_path / "out", KINDS)
    assert done["notes"] == ["2 of 8 tracks name no artist: each counts as an artist of its own"]
    prepared = load_arrays(tmp_path / "out" / "summary")
    assert set(prepared.split) == {"train", "valid", "test"} and set(prepared.group) == {"g0", "g1", "g2", "g3"}
    assert sum(name.startswith("unknown (") for name in set(prepared.artist)) == 2
    pictures = load_examples(tmp_path / "out" / "picture", Representation("picture", channels=1, size=(64, 64)))
    assert set(pictures.split) == {"train", "valid", "test"} and len(set(pictures.artist)) == len(set(prepared.artist))
    pd.DataFrame(rows, columns=["path", "genre", "a", "b", "c"])[["path", "genre"]].to_csv(tmp_path / "m.csv", index=False)
    prepare(tmp_path / "m.csv", tmp_path / "out", KINDS)
    assert load_arrays(tmp_path / "out" / "summary").artist is None  # nothing is left of the earlier run


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x"])
def test_no_spreadsheet_takes_a_name_for_a_formula(tones, tmp_path, name):
    rows = [(tones / genre / f"{genre}0.wav", genre, f"{name} {genre}", name) for genre in ("blues", "jazz")]
    pd.DataFrame(rows, columns=["path", "genre", "track", "artist"]).to_csv(tmp_path / "m.csv", index=False)
    prepare(tmp_path / "m.csv", tmp_path / "out", ("picture",))
    table = pd.read_csv(tmp_path / "out" / "picture" / "manifest.csv", dtype=str)
    assert table.track.tolist() == [f"'{name} blues", f"'{name} jazz"] and table.artist.tolist() == [f"'{name}"] * 2
    assert len(load_examples(tmp_path / "out" / "picture", Representation("picture", channels=1, size=(64, 64)))) == 2


def test_refusals_leave_nothing(tones, tmp_path):
    with pytest.raises(ValueError, match="'magic'"):
        prepare(tones, tmp_path / "a", ("magic",))
    (tmp_path / "bad" / "jazz").mkdir(parents=True)
    (tmp_path / "bad" / "jazz" / "x.wav").write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        prepare(tmp_path / "bad", tmp_path / "b")
    with pytest.raises(ValueError, match="no Dask scheduler|cluster needs"):
        cluster.dask_client("tcp://127.0.0.1:9")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_track_names_cannot_leave_the_folder():
    tracks = pd.DataFrame({"genre": ["jazz"] * 5, "track": ["../../etc/x", "jazz/a", "a", "..", "/abs/ü ber"]})
    names = picture_names(tracks)
    assert len(set(names)) == 5 and all(Path("out", name).resolve().is_relative_to(Path("out/jazz").resolve()) for name in names)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    "120 short songs: enough work to be killed in the middle of."
    folder, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(5)
    for genre in ("blues", "jazz"):
        for i in range(60):
            save_audio(folder / genre / f"{i}.wav", (0.2 * rng.standard_normal(5 * 22050)).clip(-1, 1).astype(np.float32), 22050)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_killed_at_random_points_and_resumed(many, tmp_path, jobs):
    "SIGKILL at ten random points: the end is byte for byte that of an undisturbed run, nothing is computed twice, nothing is left behind."
    prepare(many, tmp_path / "whole", KINDS)
    chance, out, kills, done_before = random.Random(0), tmp_path / "killed", 0, set()
    words = [*COMMAND, "prepare", many, out, "--as", ",".join(KINDS), "--jobs", jobs, "--json"]
    for _ in range(10):
        run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for_more(out / "cache", len(done_before) + chance.randint(1, 30), run)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        run.wait()
        done = {p: p.stat().st_mtime_ns for p in out.glob("cache/*/*/[!.]*")}
        assert all(done.get(path) == when for path, when in done_before), "a result was computed twice"
        done_before = set(done.items())
    last = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert kills >= 5 and sum(last["computed"].values()) == 360 - len(done_before)
    assert not list(out.rglob(".*"))
    assert fingerprint(out) == fingerprint(tmp_path / "whole")


def wait_for_more(cache, count, run, patience=60):
    "Wait until the cache holds `count` results or the run has ended."
    end = time.monotonic() + patience
    while time.monotonic() < end and run.poll() is None and len(list(cache.glob("*/*/[!.]*"))) < count:
        time.sleep(0.005)


@pytest.mark.slow
def test_dask_worker_killed_midway(many, tmp_path):
    "Two Dask workers, one of them killed: the job ends complete, with the same bytes."
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    prepare(many, tmp_path / "whole", KINDS)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        victim = next(iter(cluster.workers.values())).pid
        words = [*COMMAND, "prepare", many, tmp_path / "dask", "--as", ",".join(KINDS), "--scheduler", cluster.scheduler_address]
        run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_more(tmp_path / "dask" / "cache", 40, run)
        assert run.poll() is None, "the job ended before the worker could be killed"
        os.kill(victim, signal.SIGKILL)
        assert run.wait(timeout=120) == 0
    assert not list((tmp_path / "dask").rglob(".*"))
    assert fingerprint(tmp_path / "dask") == fingerprint(tmp_path / "whole")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_songs(many, tmp_path):
    "Peak memory of 120 songs against 20 of them, each in a fresh process."
    few = tmp_path / "few.csv"
    pd.DataFrame([(many / g / f"{i}.wav", g) for g in ("blues", "jazz") for i in range(10)], columns=["path", "genre"]).to_csv(few, index=False)
    code = (
        "import resource, sys; from genre_nbs.app.prepare import prepare; prepare(sys.argv[1], sys.argv[2], ('summary', 'mel'));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    peaks = [int(subprocess.check_output([sys.executable, "-c", code, data, tmp_path / name])) for name, data in (("a", few), ("b", many))]
    assert peaks[1] - peaks[0] < 15, peaks  # MiB; the mel windows of the 100 further songs alone are 5 MiB of mapped file


def test_pictures_of_songs_with_long_names_can_be_written(tones, tmp_path):
    for i, name in enumerate(("a" * 120 + "/" + "b" * 120 + "/" + "c" * 100, "é" * 120, "x" * 249 + "!", "x" * 249 + "?")):
        path = tmp_path / "songs" / ("jazz", "blues")[i % 2] / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tones / "jazz" / "jazz0.wav", path)
    assert prepare(tmp_path / "songs", tmp_path / "out", ["picture"])["n"] == 4
    assert len(load_examples(tmp_path / "out" / "picture", Representation("picture", channels=1, size=(64, 64)))) == 4


def test_names_that_no_table_can_hold_are_written_out(tones, tmp_path):
    for name in (b"no \xff utf8", b"a\rreturn", b"line\nend", b"comma, \"quote\""):
        for genre in ("jazz", "metal"):
            (tmp_path / "songs" / genre).mkdir(parents=True, exist_ok=True)
            shutil.copy(tones / genre / f"{genre}0.wav", os.path.join(os.fsencode(tmp_path / "songs" / genre), name + b".wav"))
            (tmp_path / "songs" / genre / "bad\r1.wav").write_bytes(b"no song")
    prepare(tmp_path / "songs", tmp_path / "out", ["summary", "picture"])
    direct, prepared = load_examples(tmp_path / "songs", Representation("summary")), load_arrays(tmp_path / "out" / "summary")
    assert direct.track.tolist() == prepared.track.tolist() and "jazz/no \\udcff utf8" in prepared.track and "metal/a\\rreturn" in prepared.track
    pictures = load_examples(tmp_path / "out" / "picture", Representation("picture", channels=1, size=(64, 64)))
    assert list(pictures.track) == list(dict.fromkeys(direct.track)) and len(pd.read_csv(tmp_path / "out" / "bad.csv")) == 2
