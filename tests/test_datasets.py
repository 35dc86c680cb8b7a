"Readers of collections, and the quarantine."

import hashlib
import os
import shutil
import signal
import unicodedata

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from PIL import Image

from genre_nbs.datasets import DataError, Representation, folder_tracks, load_arrays, load_examples, manifest_tracks, read_tracks
from genre_nbs.io.decode import save_audio

SR = 8000
SUMMARY = Representation("summary", sr=SR, seconds=0.5)
rng = np.random.default_rng(0)
NOTE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(SR) / SR) + 0.01 * rng.standard_normal(SR)).astype(np.float32)


def wav_bytes(path, y=NOTE, **kwargs):
    sf.write(path, y, SR, **kwargs)
    return path.read_bytes()


def bad_ways(folder):
    "Twenty ways in which a file can be bad: name -> (suffix, function that writes it)."
    good = wav_bytes(folder / "good.wav")
    flac = wav_bytes(folder / "good.flac")
    mp3 = wav_bytes(folder / "good.mp3")
    au = wav_bytes(folder / "good.au")
    png = folder / "good.png"
    Image.fromarray(rng.integers(0, 255, (128, 60), dtype=np.uint8)).save(png)
    png_bytes = png.read_bytes()

    def written(data):
        return lambda path: path.write_bytes(data)

    def sound(y, **kwargs):
        return lambda path: sf.write(path, y, SR, **kwargs)

    return {
        "empty": (".wav", written(b"")),
        "text": (".wav", written(b"this is not music")),
        "web page": (".mp3", written(b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 20)),
        "cut off wav": (".wav", written(good[: len(good) // 2])),
        "header only": (".wav", written(good[:44])),
        "half a header": (".wav", written(good[:20])),
        "no samples": (".wav", sound(np.zeros(0))),
        "silent": (".wav", sound(np.zeros(SR))),
        "not a number": (".wav", sound(np.full(SR, np.nan, np.float32), subtype="FLOAT")),
        "infinite": (".wav", sound(np.where(np.arange(SR) == 5, np.inf, NOTE), subtype="FLOAT")),
        "too short": (".wav", sound(NOTE[:100])),
        "zeros as bytes": (".wav", written(bytes(5000))),
        "noise as bytes": (".ogg", written(rng.bytes(5000))),
        "cut off flac": (".flac", written(flac[: len(flac) // 2])),
        "cut off au": (".au", written(au[: len(au) // 2])),
        "first bytes of an mp3": (".mp3", written(mp3[:60])),
        "macOS note": (".wav", written(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(195))),
        "a picture where songs are": (".png", written(png_bytes)),
        "cut off picture": (".png", written(png_bytes[: len(png_bytes) // 2])),
        "a wav that says 0 Hz": (".wav", written(good[:24] + bytes(4) + good[28:])),
    }


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    "1,000 files in two genres, of which 60 are bad in 20 different ways."
    folder = tmp_path_factory.mktemp("damaged")
    ways = bad_ways(tmp_path_factory.mktemp("ways"))
    songs = {genre: wav_bytes(folder / "note.wav", NOTE * scale) for genre, scale in (("blues", 1), ("rock", 0.5))}
    (folder / "note.wav").unlink()
    for genre, song in songs.items():
        (folder / genre).mkdir()
        for i in range(470):
            (folder / genre / f"{genre}.{i:05}.wav").write_bytes(song)
        for way, (suffix, write) in ways.items():
            for copy in range(2 if genre == "blues" else 1):
                write(folder / genre / f"{'._' if way == 'macOS note' else ''}bad {way} {copy}{suffix}")
    return folder


def test_sixty_bad_files_of_a_thousand(damaged):
    "The case that the issue names: 940 tracks are left, and a table of 60 reasons."
    tracks = folder_tracks(damaged)
    assert len(tracks) == 994 and len(tracks.attrs["skipped"]) == 6  # pictures beside songs are no tracks, and are named all the same
    examples = load_examples(damaged, SUMMARY)
    assert len(np.unique(examples.track)) == 940 and len(examples) == 1880
    assert examples.summary().tracks.tolist() == [470, 470]
    assert len(examples.bad) == 60 and examples.bad.path.str.contains("bad ").all() and examples.bad.path.is_unique
    assert examples.bad.reason.str.len().between(5, 200).all() and not examples.bad.reason.str.contains("Traceback|\n").any()
    assert not examples.bad.reason.str.contains(str(damaged), regex=False).any()  # the path has a column of its own
    assert np.isfinite(examples.x).all()


WORDS = {
    "empty": "is empty (0 bytes)",
    "text": "cannot be decoded",
    "cut off wav": "is cut off",
    "cut off au": "is cut off",
    "silent": "is silent",
    "not a number": "not finite",
    "infinite": "not finite",
    "too short": "shorter than the 0.5 s needed",
    "macOS note": "a note that macOS left beside a song (AppleDouble, 211 bytes)",
    "a picture where songs are": "is a picture beside songs",
}


@pytest.mark.parametrize("way", WORDS)
def test_each_reason_says_what_is_wrong(damaged, way):
    bad = load_examples(
        folder_tracks(damaged).loc[lambda t: t.path.str.contains(f"bad {way} ")].head(1).pipe(with_one_good, damaged), SUMMARY
    ).bad
    assert WORDS[way] in bad[bad.path.str.contains(f"bad {way} ")].reason.iloc[0]


def with_one_good(tracks, folder):
    return pd.concat([tracks, folder_tracks(folder).loc[lambda t: ~t.path.str.contains("bad ")].head(1)], ignore_index=True)


def test_two_processes_give_the_same(damaged):
    tracks = folder_tracks(damaged).iloc[440:520]
    one, two = load_examples(tracks, SUMMARY), load_examples(tracks, SUMMARY, jobs=2)
    assert np.array_equal(one.x, two.x) and one.bad.equals(two.bad) and np.array_equal(one.track, two.track)


def test_the_known_broken_file_of_gtzan_is_named(tmp_path):
    (tmp_path / "jazz").mkdir()
    (tmp_path / "jazz" / "jazz.00054.wav").write_bytes(rng.bytes(1000))
    save_audio(tmp_path / "jazz" / "jazz.00053.wav", NOTE, SR)
    reason = load_examples(tmp_path, SUMMARY).bad.reason[0]
    assert reason.startswith("cannot be decoded") and reason.endswith("GTZAN's known broken file")


def test_nothing_usable(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read_tracks(tmp_path / "missing")
    with pytest.raises(DataError, match="no songs or pictures in genre folders"):
        read_tracks(tmp_path)
    (tmp_path / "blues").mkdir()
    (tmp_path / "blues" / "a.wav").write_text("no")
    with pytest.raises(DataError, match="none of the 1 files can be used; the first, .*a.wav: cannot be decoded"):
        load_examples(tmp_path, SUMMARY)
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(DataError, match="neither a folder nor a manifest"):
        read_tracks(tmp_path / "x.txt")


def test_folders_at_any_depth_and_names_that_clash(tmp_path):
    for name in ("Hip Hop/album/a.wav", "hiphop2/a.wav", "Hip Hop/a.wav", "Hip Hop/a.flac", "Hip Hop/.hidden.wav", ".trash/x.wav"):
        save_audio(tmp_path / name, NOTE, SR)
    tracks = folder_tracks(tmp_path)
    assert tracks.track.tolist() == ["Hip Hop/a.flac", "Hip Hop/a.wav", "Hip Hop/album/a", "hiphop2/a"]
    assert tracks.genre.tolist() == ["hiphop"] * 3 + ["hiphop2"]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "cannot be read as a table"),
        ("a,b\n1,2\n", "path and genre not found$"),
        ("path;genre\na.wav;blues\n", "not found; its columns must be divided by commas"),
        ("path\tgenre\na.wav\tblues\n", "not found; its columns must be divided by commas"),
        ("path,genre\n", "holds no rows"),
        ("path,genre\na.wav,\n", "row 2 lacks"),
        ("path,genre\nx.wav,blues\n,rock\n", "row 3 lacks"),
        ("path,genre,track\na.wav,blues,x\nb.wav,rock,x\n", "'x' is listed twice"),
        ("path,genre,track\na.wav,blues,1\na.wav,rock,1\n", "'a.wav' is listed twice"),
        ("path,genre\na.wav,!!\n", "no genre name"),
    ],
)
def test_manifests_that_do_not_serve(tmp_path, text, complaint):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        manifest_tracks(tmp_path / "m.csv")


def test_a_manifest_of_other_bytes(tmp_path):
    (tmp_path / "m.csv").write_bytes("path,genre\na.wav,blues\n".encode("utf-16"))
    with pytest.raises(DataError, match="is not UTF-8; save"):
        manifest_tracks(tmp_path / "m.csv")


def test_a_manifest_brings_artist_split_and_group(tmp_path):
    for name in ("a", "b"):
        save_audio(tmp_path / f"{name}.wav", NOTE, SR)
    (tmp_path / "manifest.csv").write_text("path,genre,artist,split,group\na.wav,Blues,Ann,train,1\nb.wav,Rock,Bob,valid,1\n")
    examples = load_examples(tmp_path, SUMMARY)
    assert examples.artist.tolist() == ["Ann", "Ann", "Bob", "Bob"] and examples.split.tolist() == ["train"] * 2 + ["valid"] * 2
    part = examples.take(np.array([3, 0]))
    assert part.group.tolist() == ["1", "1"] and part.artist.tolist() == ["Bob", "Ann"] and part.split.tolist() == ["valid", "train"]
    (tmp_path / "manifest.csv").write_text("path,genre,artist\na.wav,Blues,Ann\nb.wav,Rock,\n")
    gap = load_examples(tmp_path, SUMMARY)
    assert gap.artist.tolist() == ["Ann", "Ann", "unknown (b)", "unknown (b)"]  # might be anybody's, so it stays alone
    assert gap.notes == ["1 of 2 tracks name no artist: each counts as an artist of its own"]
    (tmp_path / "manifest.csv").write_text("path,genre,artist\na.wav,Blues,NA\nb.wav,Rock,\n")
    assert load_examples(tmp_path, SUMMARY).artist is None


def manifest(folder, text):
    for name in ("a", "b", "c", "d"):
        save_audio(folder / f"{name}.wav", NOTE, SR)
    (folder / "manifest.csv").write_text(text)
    return folder


@pytest.mark.parametrize("gap", ["", "nan", "NA", " "])
def test_an_empty_track_cell_takes_the_name_of_the_file(tmp_path, gap):
    data = manifest(tmp_path, f"path,genre,track\na.wav,blues,one\nb.wav,blues,{gap}\nc.wav,rock,{gap}\nd.wav,rock,four\n")
    assert read_tracks(data).track.tolist() == ["one", "b", "c", "four"]
    assert set(load_examples(data, SUMMARY).track) == {"one", "b", "c", "four"}
    table = pd.DataFrame({"path": [str(tmp_path / "a.wav")], "genre": ["blues"], "track": [np.nan]})
    assert set(load_examples(table, SUMMARY).track) == {str(tmp_path / "a.wav")}


@pytest.mark.parametrize("numbers", ["1,2,1,2", "01,02,01,02", "1/2,2/2,1/2,2/2", "1,,1,2"])
def test_numbers_that_begin_anew_with_each_album_are_no_names(tmp_path, numbers):
    rows = zip("abcd", ("blues", "blues", "rock", "rock"), numbers.split(","))
    data = manifest(tmp_path, "path,genre,track\n" + "".join(f"{name}.wav,{genre},{number}\n" for name, genre, number in rows))
    assert read_tracks(data).track.tolist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("name", ["None", "NA", "null", "nan"])
def test_a_genre_may_be_called_none(tmp_path, name):
    data = manifest(tmp_path, f"path,genre,tempo\na.wav,{name},120\nb.wav,{name},\nc.wav,rock,NA\nd.wav,rock,90.5\n")
    tracks = read_tracks(data)
    assert tracks.genre.tolist() == [name.lower()] * 2 + ["rock"] * 2
    assert tracks.tempo[0] == 120 and tracks.tempo.isna().tolist() == [False, True, True, False]


@pytest.mark.parametrize("labels", [np.array([-1, 1, -1, 1]), np.array(["-1", "1", "-1", "1"])])
def test_labels_that_differ_in_sign_are_two_genres(tmp_path, labels):
    examples = load_arrays(arrays(tmp_path, np.zeros((4, 26)), labels), SUMMARY)
    assert examples.genres == ("1", "minus_1") and examples.y.tolist() == [1, 0, 1, 0]


def test_arrays_bring_split_and_group_and_gaps(tmp_path):
    more = {"tracks": ["a", "", "b", "b"], "artists": ["Ann", "None", "Bob", "Bob"], "splits": ["Training", "val", "TEST", "test"], "groups": list("xxyy")}
    arrays(tmp_path, np.zeros((4, 26)), np.array(["blues", "rock"] * 2), **{name: np.array(values) for name, values in more.items()})
    examples = load_arrays(tmp_path, SUMMARY)
    assert examples.track.tolist() == ["a", "row 1", "b", "b"] and examples.artist.tolist() == ["Ann", "unknown (row 1)", "Bob", "Bob"]
    assert examples.split.tolist() == ["train", "valid", "test", "test"] and examples.group.tolist() == list("xxyy")
    assert examples.notes == ["1 of 3 tracks name no artist: each counts as an artist of its own"]


def test_letters_that_do_not_exist_are_one_line(tmp_path):
    arrays(tmp_path, np.zeros((2, 26)), np.array(["jazz", "rock"]))
    data = bytearray((tmp_path / "labels.npy").read_bytes())
    data[-1] = 0x7F  # a code point beyond the last one
    (tmp_path / "labels.npy").write_bytes(data)
    with pytest.raises(DataError, match="labels.npy: cannot be read as a plain array .it holds letters that do not exist"):
        load_arrays(tmp_path, SUMMARY)
    for labels in (np.array(["jazz", "ro\ud800ck"]), np.array([b"jazz", b"\xff"])):
        with pytest.raises(DataError, match="labels.npy: cannot be read as a plain array"):
            load_arrays(arrays(tmp_path, np.zeros((2, 26)), labels), SUMMARY)
    assert load_arrays(arrays(tmp_path, np.zeros((2, 26)), np.array([b"jazz", b"fr\xc3\xbch"])), SUMMARY).genres == ("jazz", "früh")


def failing(error):
    def open_file(path, *args, **kwargs):
        if "victim" in str(path):
            raise error
        return open(path, *args, **kwargs)

    return open_file


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_the_system_does_not_give_is_named(tmp_path, monkeypatch, error):
    from genre_nbs.io import finding

    for name in ("blues/a", "blues/victim", "rock/b"):
        save_audio(tmp_path / f"{name}.wav", NOTE, SR)
    monkeypatch.setattr(finding, "open", failing(error), raising=False)
    bad = load_examples(tmp_path, SUMMARY).bad
    assert bad.path.tolist() == [str(tmp_path / "blues" / "victim.wav")] and bad.reason[0] == f"cannot be read ({error.strerror})"


def test_a_zero_byte_in_a_name(tmp_path):
    save_audio(tmp_path / "a.wav", NOTE, SR)
    paths = [str(tmp_path / "a.wav"), str(tmp_path / "a.wav") + "\0b"]
    examples = load_examples(pd.DataFrame({"path": paths, "genre": ["blues", "rock"], "track": ["a", "b"]}), SUMMARY)
    assert examples.bad.reason.tolist() == ["has a zero byte in its name"] and set(examples.track) == {"a"}


class Deadly(Representation):
    "Reading a certain file makes the system kill the process."

    def of_file(self, path):
        if "deadly" in str(path):
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full((2, 26), len(str(path)), np.float32)


@pytest.mark.slow
def test_a_killed_worker_costs_its_file_and_nothing_else(tmp_path):
    tracks = pd.DataFrame({"path": [f"{i}{' deadly' if i in (7, 40) else ''}" for i in range(60)], "genre": "blues", "track": [f"t{i}" for i in range(60)]})
    examples = load_examples(tracks, Deadly(), jobs=2)
    assert examples.bad.path.tolist() == ["7 deadly", "40 deadly"] and "killed by the system" in examples.bad.reason[0]
    assert list(dict.fromkeys(examples.track)) == [f"t{i}" for i in range(60) if i not in (7, 40)]


def arrays(folder, x, labels, **more):
    for name, array in {"X": x, "labels": labels, **more}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def test_arrays(tmp_path):
    x = rng.normal(size=(6, 26))
    x[2, 3] = np.inf
    folder = arrays(tmp_path, x, np.array(["rock", "Blues"] * 3))
    examples = load_arrays(folder, SUMMARY)
    assert examples.x.dtype == np.float32 and len(examples) == 5 and examples.genres == ("blues", "rock")
    assert not examples.songs_known and "row 2" in examples.bad.path[0]
    arrays(tmp_path, x, np.array(["rock", "blues"] * 3), tracks=np.repeat(["a", "b", "c"], 2), artists=np.array(["z"] * 6))
    known = load_examples(folder, SUMMARY)
    assert known.songs_known and known.track.tolist() == ["a", "a", "b", "c", "c"] and known.artist.tolist() == ["z"] * 5


@pytest.mark.parametrize(
    "x, labels, complaint",
    [
        (np.zeros((3, 26)), np.array(["a", "b"]), "do not hold the same examples"),
        (np.zeros((0, 26)), np.array([], dtype=str), "do not hold the same examples"),
        (np.zeros(3), np.array(["a", "b", "c"]), "do not hold the same examples"),
        (np.zeros((2, 13)), np.array(["a", "b"]), "this recipe takes"),
        (np.full((2, 26), "x"), np.array(["a", "b"]), "not numbers"),
        (np.full((2, 26), np.nan), np.array(["a", "b"]), "no row of X.npy is finite"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, x, labels, complaint):
    with pytest.raises(DataError, match=complaint):
        load_arrays(arrays(tmp_path, x, labels), SUMMARY)


def test_pickles_are_never_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "evil"), "w")

    folder = arrays(tmp_path, np.zeros((2, 26)), np.array(["a", "b"]))
    np.save(folder / "labels.npy", np.array([Evil(), Evil()]), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read as a plain array"):
        load_arrays(folder, SUMMARY)
    assert not (tmp_path / "evil").exists()


def test_a_genre_that_a_model_does_not_know(tmp_path):
    folder = arrays(tmp_path, np.zeros((2, 26)), np.array(["blues", "polka"]))
    with pytest.raises(ValueError, match="unknown genre 'polka'"):
        load_examples(folder, SUMMARY, genres=("blues", "rock"))


def test_reading_changes_nothing(damaged, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(damaged / "rock", folder / "rock", ignore=lambda d, names: [n for n in names if "bad" not in n])
    before = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(DataError):
        load_examples(folder, SUMMARY)
    assert before == {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("head", ["Path,GENRE,Artist,Split", " path , genre,artist ,split "])
def test_columns_are_found_however_they_are_spelled(tmp_path, head):
    data = manifest(tmp_path, head + "\n" + "".join(f"{name}.wav,{genre},{name},train\n" for name, genre in zip("abcd", ["blues", "rock"] * 2)))
    assert list(read_tracks(data)) == ["path", "genre", "track", "artist", "split"]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("path,genre,genre\na.wav,blues,rock\n", "has two columns called genre"),
        ("path,genre,split,Split\na.wav,blues,train,test\n", "has two columns called split"),
        ("path,genre\na.wav,blues,x\nb.wav,rock,x\n", "its rows have more cells than its first line"),
        ("path,genre\na.wav,???\n", r"manifest.csv: '\?\?\?' is no genre name"),
    ],
)
def test_manifests_that_could_be_read_in_two_ways_are_refused(tmp_path, text, complaint):
    with pytest.raises(DataError, match=complaint):
        read_tracks(manifest(tmp_path, text))


def test_rows_of_nothing_are_no_rows(tmp_path):
    data = manifest(tmp_path, "path,genre,tempo\na.wav,blues,1\n,,\nb.wav,rock,2\n , ,\n")
    assert read_tracks(data).track.tolist() == ["a", "b"]
    with pytest.raises(DataError, match="row 5 lacks"):
        read_tracks(manifest(tmp_path, "path,genre,tempo\na.wav,blues,1\n,,\nb.wav,rock,2\n,rock,\n"))


def test_files_are_found_however_a_manifest_writes_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a b.wav", "sub/c.wav", unicodedata.normalize("NFD", "é.wav"), "d.wav"):
        save_audio(tmp_path / name, NOTE, SR)
    cells = [" a b.wav ", "sub\\c.wav", unicodedata.normalize("NFC", "é.wav"), "~/d.wav", ".", "none.wav"]
    (tmp_path / "manifest.csv").write_text("path,genre\n" + "".join(f"{cell},rock\n" for cell in cells))
    bad = load_examples(tmp_path / "manifest.csv", SUMMARY).bad
    assert bad.reason.tolist() == ["is a folder, not a song", "no such file"]


def test_genres_of_a_manifest_may_differ_in_sign(tmp_path):
    data = manifest(tmp_path, "path,genre\na.wav,-1\nb.wav,1\nc.wav,0\n")
    assert read_tracks(data).genre.tolist() == ["minus_1", "1", "0"]


@pytest.mark.parametrize("column", ["set", "Subset", "partition"])
def test_a_split_may_be_called_otherwise(tmp_path, column):
    tracks = read_tracks(manifest(tmp_path, f"path,genre,{column}\na.wav,blues,train\nb.wav,rock,TEST\n"))
    assert tracks.split.tolist() == ["train", "test"] and tracks.attrs["notes"] == [f"the column {column} names training and other songs, so it is the data's own split"]
    assert "split" not in read_tracks(manifest(tmp_path, f"path,genre,{column}\na.wav,blues,train\nb.wav,rock,small\n"))


def test_spellings_of_an_artist_are_one_artist(tmp_path):
    names = ["The Ann & Bob", "ann and bob ", "!!!", "???"]
    tracks = read_tracks(manifest(tmp_path, "path,genre,artist\n" + "".join(f"{file}.wav,rock,{name}\n" for file, name in zip("abcd", names))))
    assert tracks.artist.tolist() == ["The Ann & Bob", "The Ann & Bob", "!!!", "???"]
