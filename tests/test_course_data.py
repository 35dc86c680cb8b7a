"The data folder of the lessons, built from stand-ins for its three sources on a web server of this machine."

import hashlib
import json
import shutil
import tarfile

import numpy as np
import pytest
from website import Website

from genre_nbs import collections
from genre_nbs.app import course_data
from genre_nbs.app.course_data import fetch_data_folder, track_picture
from genre_nbs.audio import load_audio
from genre_nbs.collections import gtzan_checksums, load_collection, read_artists
from genre_nbs.datasets import Representation
from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.io.decode import save_audio
from genre_nbs.io.pictures import read_picture
from genre_nbs.splitting import list_split

TRAIN = ["blues/blues.00000", "blues/blues.00007", "jazz/jazz.00054", "rock/rock.00050"]
VALID = ["jazz/jazz.00001"]
TEST = ["rock/rock.00002"]
BROKEN = "rock/rock.00050"


def packed(folder, path):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(folder, "genres")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A folder with stand-ins: six songs of 30 s, one of them broken, the lists, the index, the clips."
    folder, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    for track in [*TRAIN, *VALID, *TEST]:
        beat = np.sin(np.arange(30 * 22050) / rng.integers(20, 2000)).astype(np.float32)
        save_audio(folder / "genres" / f"{track}.wav", beat * rng.uniform(0.001, 0.3, len(beat)).astype(np.float32), 22050)
    (folder / "genres" / f"{BROKEN}.wav").write_bytes(b"RIFF" + bytes(3000))
    packed(folder / "genres", folder / "genres.tar.gz")
    for name, tracks in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        (folder / f"{name}_filtered.txt").write_text("".join(f"{track}.wav\n" for track in tracks))
    names = [f"{genre}.{i:05}.wav ::: Artist {i // 4} of {genre} ::: A song" for genre in GTZAN_GENRES for i in range(100)]
    (folder / "GTZANindex.txt").write_text("\n".join(names))
    for part, n in (("train", 12), ("val", 8)):
        (folder / part / "mfccs").mkdir(parents=True)
        np.save(folder / part / "mfccs/X.npy", rng.standard_normal((n, 26)))
        np.save(folder / part / "mfccs/labels.npy", np.array(["blues", "rock_metal_hardrock"] * (n // 2)))
    return folder


@pytest.fixture
def site(made, tmp_path, monkeypatch):
    "Serves the stand-ins, whose checksums take the place of the known ones."
    monkeypatch.setenv("GENRE_NBS_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "web").mkdir()
    for path in made.iterdir():
        if path.name != "genres":
            (tmp_path / "web" / path.name).symlink_to(path, target_is_directory=path.is_dir())
    lists = {}
    for name, tracks in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        lists[f"{name}_filtered.txt"] = len(tracks), hashlib.sha256("\n".join(sorted(tracks)).encode()).hexdigest()
    arrays = {name: np.load(made / name) for name in course_data.ATHENS}
    texts = {name: "\n".join(x.tolist()).encode() if name.endswith("labels.npy") else x.astype("<f8").tobytes() for name, x in arrays.items()}
    monkeypatch.setattr(collections, "GTZAN_LISTS", lists)
    monkeypatch.setattr(course_data, "GTZAN_LISTS", lists)
    monkeypatch.setattr(course_data, "ATHENS", {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()})
    with Website(tmp_path / "web") as site:
        yield site


def replace(site, name, content):
    "Serve something else there."
    path = site.folder / name
    if "/" in name:
        folder = site.folder / name.split("/")[0]
        real = folder.resolve()
        folder.unlink()
        path.parent.mkdir(parents=True)
        for other in real.rglob("*.npy"):
            (folder / other.relative_to(real)).write_bytes(other.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def holds(folder):
    "Name and content of each file."
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


WHOLE = {
    *(f"athens_mfcc/{part}/mfccs/{name}.npy" for part in ("train", "val") for name in ("X", "labels")),
    *(f"gtzan_lists/{name}" for name in ("GTZANindex.txt", "train_filtered.txt", "valid_filtered.txt", "test_filtered.txt")),
    *(f"gtzan_audio/{track}.wav" for track in ("blues/blues.00000", "jazz/jazz.00001", "rock/rock.00002")),
    *(f"gtzan_mel/{track}.png" for track in ("blues/blues.00000", "blues/blues.00007", "jazz/jazz.00001")),
    *(f"gtzan/songs/genres/{track}.wav" for track in (*TRAIN, *VALID, *TEST)),
    "gtzan/faults.txt",
}


def test_whole(site, tmp_path, genre_nbs_cli):
    done = genre_nbs_cli("fetch", "course-data", tmp_path / "data", "--url", site.url, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["missing"] == {} and (result["pictures"], result["excerpts"]) == (3, 3)
    assert result["songs"] == {"missing": 994, "other bytes": 5, "broken": 1} and result["wrong"][0][0] == BROKEN
    first = holds(tmp_path / "data")
    assert set(first) == WHOLE
    assert first["gtzan_audio/jazz/jazz.00001.wav"] == first["gtzan/songs/genres/jazz/jazz.00001.wav"]
    song = load_audio(tmp_path / "data/gtzan_audio/blues/blues.00000.wav")
    np.testing.assert_array_equal(read_picture(tmp_path / "data/gtzan_mel/blues/blues.00000.png"), track_picture(*song))
    asked, times = len(site.asked), {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*.*")}
    again = genre_nbs_cli("fetch", "course-data", tmp_path / "data", "--url", site.url)
    assert again.returncode == 0 and "3 pictures" in again.stdout and f"{BROKEN}: " in again.stderr
    assert len(site.asked) == asked and times == {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*.*")}


def test_the_lessons_can_read_it(site, tmp_path):
    folder = tmp_path / "data"
    fetch_data_folder(folder, site.url)
    mel = load_collection(folder / "gtzan_mel", Representation("mel"), artists=folder / "gtzan_lists/GTZANindex.txt")
    assert mel.x.shape[1:] == (21, 128) and len(set(mel.track)) == 3
    train, valid = list_split(mel.track, folder / "gtzan_lists")
    assert set(mel.track[valid]) == set(VALID) and set(mel.track[train]) == {"blues/blues.00000", "blues/blues.00007"}
    assert load_collection(folder / "athens_mfcc/train/mfccs", Representation("summary")).x.shape == (12, 26)
    assert len(read_artists(folder / "gtzan_lists/GTZANindex.txt")) == 1000


def test_cut_off_and_resumed(site, tmp_path):
    fetch_data_folder(tmp_path / "whole", site.url)
    site.asked.clear()
    site.cuts = {"genres.tar.gz": 1_000_000, "train/mfccs/X.npy": 700}
    result = fetch_data_folder(tmp_path / "data", site.url, tries=1, wait=0)
    assert set(result["missing"]) == {"gtzan", "athens"} and "what came is kept" in result["missing"]["gtzan"]
    assert (tmp_path / "data/gtzan_lists/train_filtered.txt").is_file() and not (tmp_path / "data/gtzan_mel").exists()
    assert fetch_data_folder(tmp_path / "data", site.url, tries=1, wait=0)["missing"] == {}
    assert ("genres.tar.gz", f"bytes={1_000_000 // 65536 * 65536}-") in site.asked
    assert holds(tmp_path / "data") == holds(tmp_path / "whole")


def test_the_half_files_of_a_killed_run_are_swept(site, tmp_path):
    fetch_data_folder(tmp_path / "data", site.url)
    (tmp_path / "data/gtzan_mel/blues/.blues.00007-0123456789ab.png").write_bytes(b"half")
    (tmp_path / "data/gtzan/gtzan.tar.gz").write_bytes(b"unpacked already")
    fetch_data_folder(tmp_path / "data", site.url)
    assert set(holds(tmp_path / "data")) == WHOLE


def test_clips_with_a_wrong_checksum(site, tmp_path):
    np.save(tmp_path / "other.npy", np.load(site.folder / "val/mfccs/X.npy") + 1e-9)
    replace(site, "val/mfccs/X.npy", (tmp_path / "other.npy").read_bytes())
    result = fetch_data_folder(tmp_path / "data", site.url)
    assert list(result["missing"]) == ["athens"] and "X.npy: its values have not the checksum" in result["missing"]["athens"]
    assert not (tmp_path / "data/athens_mfcc/val/mfccs/X.npy").exists() and result["pictures"] == 3


@pytest.mark.parametrize(
    "source, name, gone",
    [
        ("gtzan-lists", "valid_filtered.txt", "gtzan_lists/valid"),
        ("GTZANindex.txt", "GTZANindex.txt", "gtzan_lists/GTZANindex"),
        ("athens", "val/mfccs/X.npy", "athens_mfcc/val"),
        ("gtzan", "genres.tar.gz", "gtzan"),
    ],
)
@pytest.mark.parametrize("content", [None, b"another file"])
def test_a_source_that_is_gone_or_another_leaves_the_rest(site, tmp_path, genre_nbs_cli, source, name, gone, content):
    replace(site, name, content)
    done = genre_nbs_cli("fetch", "course-data", tmp_path / "data", "--url", site.url, "--json")
    assert done.returncode == 2 and f"Error: {source} could not be fetched; what came is kept" in done.stderr
    assert "Traceback" not in done.stderr and ("404" in done.stderr) == (content is None)
    assert list(json.loads(done.stdout)["missing"]) == [source]
    here = set(holds(tmp_path / "data"))
    assert not [path for path in here if path.startswith(gone + ("/" if gone == "gtzan" else ""))]
    lost = {"gtzan": "gtzan", "gtzan-lists": ("gtzan_lists/valid", "gtzan_lists/test", "gtzan_mel/jazz")}.get(source, gone)
    kept = {path for path in WHOLE if not path.startswith(lost)} | {path for path in WHOLE if source == "gtzan" and path.startswith("gtzan_lists")}
    assert kept <= here, kept - here


def test_one_song_with_a_wrong_checksum(site, made, tmp_path, monkeypatch):
    known = gtzan_checksums().set_index("track").md5
    for track in [*TRAIN, *VALID, *TEST]:
        known[track] = hashlib.md5((made / "genres" / f"{track}.wav").read_bytes()).hexdigest()
    known[VALID[0]] = "0" * 32
    monkeypatch.setattr(collections, "gtzan_checksums", lambda: known.reset_index())
    result = fetch_data_folder(tmp_path / "data", site.url)
    assert result["songs"] == {"missing": 994, "as known": 4, "broken": 1, "wrong checksum": 1}
    assert [VALID[0], "has not the known checksum"] in result["wrong"]
    assert {f"gtzan_mel/{VALID[0]}.png", f"gtzan_audio/{VALID[0]}.wav"} == WHOLE - set(holds(tmp_path / "data"))


def test_what_was_damaged_is_made_again_and_nothing_else(site, tmp_path):
    folder = tmp_path / "data"
    fetch_data_folder(folder, site.url)
    first = holds(folder)
    damaged = ("gtzan_mel/blues/blues.00000.png", "gtzan_audio/jazz/jazz.00001.wav", "gtzan_lists/valid_filtered.txt")
    for name in (*damaged, "gtzan_lists/GTZANindex.txt", "athens_mfcc/val/mfccs/X.npy"):
        (folder / name).write_bytes(first[name][: len(first[name]) // 2])
    site.asked.clear()
    fetch_data_folder(folder, site.url)
    assert holds(folder) == first
    assert {name for name, _ in site.asked} == {"valid_filtered.txt", "GTZANindex.txt", "val/mfccs/X.npy"}
    (folder / "gtzan/songs/genres/jazz/jazz.00001.wav").write_bytes(b"RIFF")  # comes from the archive only
    site.asked.clear()
    fetch_data_folder(folder, site.url)
    assert holds(folder) == first and [name for name, _ in site.asked] == ["genres.tar.gz"]


def test_without_the_whole_collection_nothing_is_fetched_again(site, tmp_path, monkeypatch):
    "Whoever needs the room may throw the songs of GTZAN away once all is made."
    usable = [track for track in TRAIN if track != BROKEN]
    monkeypatch.setattr(course_data, "EXCERPTS", ("blues/blues.00000", "jazz/jazz.00001", "rock/rock.00002"))
    monkeypatch.setitem(collections.GTZAN_LISTS, "train_filtered.txt", (3, hashlib.sha256("\n".join(usable).encode()).hexdigest()))
    replace(site, "train_filtered.txt", "".join(f"{track}.wav\n" for track in usable).encode())
    first = fetch_data_folder(tmp_path / "data", site.url)
    shutil.rmtree(tmp_path / "data/gtzan")
    site.asked.clear()
    again = fetch_data_folder(tmp_path / "data", site.url)
    assert site.asked == [] and all(here[name] == 3 for here in (first, again) for name in ("excerpts", "pictures"))


def test_it_goes_where_the_lessons_look(site, tmp_path, monkeypatch, genre_nbs_cli):
    monkeypatch.setenv("GENRE_NBS_DATA", str(tmp_path / "named"))
    done = genre_nbs_cli("fetch", "course-data", "--url", site.url)
    assert done.returncode == 0 and f"Folder: {tmp_path / 'named'}" in done.stdout and set(holds(tmp_path / "named")) == WHOLE


def test_an_index_that_names_nobody_is_refused(site, tmp_path):
    text = (site.folder / "GTZANindex.txt").read_text()
    replace(site, "GTZANindex.txt", "\n".join(line.split(" ::: ")[0] + " ::: Catalog ::: x" for line in text.splitlines()).encode())
    result = fetch_data_folder(tmp_path / "data", site.url)
    assert "names 1000 tracks by 1 artists" in result["missing"]["GTZANindex.txt"]


@pytest.mark.data
def test_pictures_are_those_of_the_lessons(real_data):
    for song in sorted(real_data.glob("gtzan_audio/*/*.00000.wav")):
        stored = real_data / "gtzan_mel" / song.parent.name / f"{song.stem}.png"
        if stored.is_file():
            difference = np.abs(track_picture(*load_audio(song)).astype(int) - read_picture(stored))
            assert difference.max() <= 1 and (difference > 0).sum() <= 3, (song, difference.max(), (difference > 0).sum())


@pytest.mark.data
def test_the_real_lists_and_clips_are_the_known_ones(real_data):
    for name, checksum in course_data.ATHENS.items():
        assert course_data.fault_of_array(real_data / "athens_mfcc" / name, checksum) == ""
    assert course_data.fault_of_index(real_data / "gtzan_lists/GTZANindex.txt") == ""
    tracks = course_data.listed_tracks(real_data / "gtzan_lists")
    assert set(tracks) == {f"{path.parent.name}/{path.stem}" for path in real_data.glob("gtzan_mel/*/*.png")}
