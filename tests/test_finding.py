"What is found in a folder, by every command alike, and that the rest is said."

import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from genre_nbs.app.prepare import prepare
from genre_nbs.collections import collection_root, load_collection, read_collection
from genre_nbs.datasets import DataError, Representation
from genre_nbs.io.decode import save_audio

rng = np.random.default_rng(0)
SUMMARY = Representation("summary")


def song(path, seconds=1.2):
    return save_audio(path, (0.2 * rng.standard_normal(round(seconds * 22050))).astype(np.float32), 22050)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (128, 100), dtype=np.uint8)).save(path)


def two_genres(folder, n=2):
    for genre in ("blues", "rock"):
        for i in range(n):
            song(folder / genre / f"{genre}.{i:05}.wav")
    return folder


def said(data):
    "name -> reason of everything that is not used."
    return {os.path.basename(path): reason for path, reason in read_collection(data).attrs["skipped"]}


# ---- where a collection begins

FMA = """,artist,artist,set,set,track
,id,name,split,subset,genre_top
track_id,,,,,
2,1,Ann,training,small,Blues
3,2,Bob,training,small,Rock
5,,,validation,small,Rock
6,,,validation,small,Blues
7,4,Eve,test,small,
"""


def fma(home):
    (home / "fma_metadata").mkdir(parents=True)
    (home / "fma_metadata" / "tracks.csv").write_text(FMA)
    for i in (2, 3, 5, 6, 7):
        song(home / "fma_small" / "000" / f"{i:06}.mp3")
    return home


def kaggle(home):
    two_genres(home / "Data" / "genres_original")
    for genre in ("blues", "rock"):
        picture(home / "Data" / "images_original" / genre / f"{genre}00000.png")
    (home / "Data" / "features_30_sec.csv").write_text("filename,label\n")
    return home


WAYS = {  # how a collection lies in a folder, and what is named of it
    "fma above": (fma, "", ""),
    "fma clips": (fma, "", "fma_small"),
    "fma two above": (fma, "a/b", ""),
    "fma beside others": (fma, "a", ""),
    "kaggle": (kaggle, "", ""),
    "kaggle's Data": (kaggle, "", "Data"),
    "kaggle three above": (kaggle, "gtzan/versions/1", ""),
    "kaggle beside others": (kaggle, "archive", ""),
    "fetch gtzan": (two_genres, "songs/genres", ""),
}


@pytest.mark.parametrize("way", WAYS)
def test_prepare_finds_what_train_finds(way, tmp_path):
    make, where, named = WAYS[way]
    home = tmp_path / "home"
    make(home / where)
    (home / "train_filtered.txt").write_text("blues.00000.wav")
    if "beside" in way:
        (home / "models").mkdir()
    data = home / named
    examples = load_collection(data, SUMMARY)
    done = prepare(data, tmp_path / "out")
    assert len(set(examples.track)) == done["n"] == 4 and examples.genres == ("blues", "rock")
    prepared = load_collection(tmp_path / "out" / "summary", SUMMARY)
    assert prepared.track.tolist() == examples.track.tolist() and np.array_equal(prepared.x, examples.x)
    for name in ("artist", "split"):
        assert np.array_equal(getattr(prepared, name), getattr(examples, name))


def test_fma_clips_without_their_table_are_no_genres(tmp_path):
    shutil.rmtree(fma(tmp_path) / "fma_metadata")
    for data in (tmp_path, tmp_path / "fma_small"):
        with pytest.raises(DataError, match="clips of the Free Music Archive, whose folders are no genres"):
            read_collection(data)
        with pytest.raises(DataError, match="Free Music Archive"):
            prepare(data, tmp_path / "out")


def test_fma_tracks_without_artist_and_without_genre(tmp_path):
    tracks = read_collection(fma(tmp_path)).set_index("track")
    assert tracks.artist.tolist() == ["1 Ann", "2 Bob", "unknown (000005)", "unknown (000006)"]
    assert said(tmp_path)["fma_small"].startswith("1 of its clips are not used")


@pytest.mark.parametrize("genre", ["blues", "Hip-Hop", "indie rock", "R&B soul", "jazz"])
def test_one_genre_with_folders_of_artists_is_one_genre(tmp_path, genre):
    for artist in ("Ann", "Bob"):
        song(tmp_path / genre / artist / "a.wav")
    assert collection_root(tmp_path) == tmp_path
    assert read_collection(tmp_path).genre.nunique() == 1


@pytest.mark.parametrize("wrap", ["songs", "my music", "GTZAN", "rock and more", "1"])
def test_a_wrapping_folder_is_no_genre(tmp_path, wrap):
    two_genres(tmp_path / wrap)
    assert read_collection(tmp_path).genre.unique().tolist() == ["blues", "rock"]


# ---- what is not used


def test_covers_are_no_spectrograms(tmp_path):
    two_genres(tmp_path)
    for name in ("cover.jpg", "AlbumArt_{1}_Large.jpg", "Folder.JPG", "album/back.png", "band photo.png"):
        picture(tmp_path / "blues" / name)
    picture(tmp_path / "rock" / "scans" / "page 1.jpeg")
    assert len(read_collection(tmp_path)) == 4
    assert set(said(tmp_path)) == {"band photo.png", "page 1.jpeg"}
    assert len(load_collection(tmp_path, Representation("picture", size=(64, 64), channels=1))) == 4


def test_pictures_without_songs_are_spectrograms(tmp_path):
    for name in ("blues/a.png", "blues/more/b.jpg", "rock/cover.png"):
        picture(tmp_path / name)
    (tmp_path / "rock" / "c.webp").write_bytes(b"RIFF")
    assert len(read_collection(tmp_path)) == 3 and "of a kind that is not read (.webp)" in said(tmp_path)["c.webp"]


def test_everything_that_is_not_used_is_said(tmp_path):
    two_genres(tmp_path)
    outside = song(tmp_path / "outside.wav")
    for name in ("blues/ringtone.mid", "blues/video.RMVB", "rock/deep/album.ape"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(outside.read_bytes())
    for name in ("blues/notes.txt", "blues/.hidden.wav", "rock/Thumbs.db"):
        (tmp_path / name).write_text("x")
    (tmp_path / "jazz").mkdir()
    (tmp_path / "pop" / "album").mkdir(parents=True)
    (tmp_path / "metal").mkdir()
    (tmp_path / "metal" / "readme.md").write_text("x")
    os.mkfifo(tmp_path / "blues" / "pipe.wav")
    os.mkfifo(tmp_path / "blues" / "nameless pipe")
    (tmp_path / "blues" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    reasons = said(tmp_path)
    expected = {
        "outside.wav": "lies outside the genre folders", "ringtone.mid": "not read (.mid)", "video.RMVB": "not read (.rmvb)",
        "album.ape": "not read (.ape)", "jazz": "is an empty folder", "album": "is an empty folder", "metal": "holds no song or picture",
        "pipe.wav": "a device or a pipe", "nameless pipe": "a device or a pipe", "gone.wav": "a link that leads nowhere",
    }  # fmt: skip
    assert set(reasons) == set(expected)
    for name, reason in expected.items():
        assert reason in reasons[name]
    bad = load_collection(tmp_path, SUMMARY).bad
    assert len(bad) == len(expected) == len(prepare(tmp_path, tmp_path.with_name("out"))["bad"])
    with pytest.raises(DataError, match="no songs or pictures in genre folders here.*only.mid is audio or video of a kind that is not read"):
        (tmp_path / "alone" / "pop").mkdir(parents=True)
        (tmp_path / "alone" / "pop" / "only.mid").write_text("x")
        read_collection(tmp_path / "alone")


def test_linked_folders_are_followed_once(tmp_path):
    data = two_genres(tmp_path / "data")
    elsewhere = tmp_path / "elsewhere"
    song(elsewhere / "more.wav")
    (elsewhere / "loop").symlink_to(elsewhere)
    (data / "blues" / "linked").symlink_to(elsewhere)
    (data / "rock" / "again").symlink_to(elsewhere)
    (data / "blues" / "a look at rock").symlink_to(data / "rock")
    (data / "rock" / "up").symlink_to(data)
    (data / "rock" / "over").symlink_to(tmp_path)
    (data / "jazz").symlink_to(song(tmp_path / "jazz songs" / "j.wav").parent)
    tracks = read_collection(data)
    assert tracks.genre.value_counts().to_dict() == {"blues": 3, "rock": 2, "jazz": 1}
    assert set(said(data)) == {"loop", "again", "a look at rock", "up", "over"}
    assert all("is a link to a folder that is read already" in reason for reason in said(data).values())


def test_a_folder_that_cannot_be_opened_is_said(tmp_path, monkeypatch):
    two_genres(tmp_path)
    song(tmp_path / "rock" / "private" / "a.wav")
    scan = os.scandir

    def refusing(folder):
        if os.path.basename(folder) == "private":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    assert len(read_collection(tmp_path)) == 4
    assert said(tmp_path) == {"private": "is a folder that cannot be opened (Permission denied)"}


def test_songs_beside_the_collection_are_said(tmp_path):
    kaggle(tmp_path)
    song(tmp_path / "my own" / "a.wav")
    assert said(tmp_path) == {"my own": "holds 1 songs that are not used, since the collection was found in Data/genres_original"}


def test_songs_that_a_manifest_does_not_list_are_said(tmp_path):
    two_genres(tmp_path)
    (tmp_path / "manifest.csv").write_text("path,genre\nblues/blues.00000.wav,blues\nrock/rock.00000.wav,rock\n")
    assert said(tmp_path) == {"manifest.csv": "does not list 2 songs that lie in this folder, such as blues/blues.00001.wav"}
    assert read_collection(tmp_path / "manifest.csv").attrs["skipped"] == []


def test_folders_of_subsets_are_a_split_and_no_genres(tmp_path):
    for subset, n in (("Train", 2), ("val", 1), ("testing", 1)):
        two_genres(tmp_path / subset, n)
    song(tmp_path / "Train" / "stray.wav")
    tracks = read_collection(tmp_path)
    assert tracks.genre.unique().tolist() == ["blues", "rock"] and tracks.split.value_counts().to_dict() == {"Train": 4, "val": 2, "testing": 2}
    assert said(tmp_path) == {"stray.wav": "lies outside the genre folders"}
    assert set(load_collection(tmp_path, SUMMARY).split) == {"train", "valid", "test"}
    song(tmp_path / "extra" / "rock" / "c.wav")
    assert set(load_collection(tmp_path, SUMMARY).split) == {"train", "valid", "test", "extra"}
    shutil.rmtree(tmp_path / "extra")
    shutil.rmtree(tmp_path / "Train")
    assert read_collection(tmp_path).genre.unique().tolist() == ["testing", "val"]  # nothing to train on, so these may be names


@pytest.mark.parametrize("name", ["!!!", "___", "\U0001f3b8"])
def test_a_folder_whose_name_is_no_genre_is_put_aside(tmp_path, name):
    two_genres(tmp_path)
    song(tmp_path / name / "a.wav")
    assert len(read_collection(tmp_path)) == 4 and "cannot be that of a genre" in said(tmp_path)["a.wav"]


def test_one_genre_in_two_spellings_of_unicode(tmp_path):
    for form, name in (("NFC", "a"), ("NFD", "b")):
        song(tmp_path / unicodedata.normalize(form, "café") / f"{name}.wav")
    assert read_collection(tmp_path).genre.unique().tolist() == ["café"]


def test_genres_of_unknown_names_are_said(tmp_path):
    for artist in ("Ann", "Bob"):
        song(tmp_path / artist / "a.wav")
    assert read_collection(tmp_path).attrs["notes"] == ["no name of a genre is a well-known one; taken for genres: ann, bob"]
    song(tmp_path / "rock" / "a.wav")
    assert "notes" not in read_collection(tmp_path).attrs


def test_archives_and_songs_outside_are_said(tmp_path):
    two_genres(tmp_path / "songs")
    song(tmp_path / "beside.wav")
    for name in ("film.avi", "songs/all.zip", "songs/rock/album.tar.gz"):
        (tmp_path / name).write_bytes(b"x")
    reasons = said(tmp_path)
    assert set(reasons) == {"beside.wav", "film.avi", "all.zip", "album.tar.gz"}
    assert reasons["beside.wav"] == "is not used, since the collection was found in songs"
    assert "not read (.avi)" in reasons["film.avi"] and "is an archive" in reasons["all.zip"] and "is an archive" in reasons["album.tar.gz"]


def test_what_is_not_read_beside_a_manifest_is_said(tmp_path):
    two_genres(tmp_path)
    (tmp_path / "manifest.csv").write_text("path,genre\n" + "".join(f"{g}/{g}.0000{i}.wav,{g}\n" for g in ("blues", "rock") for i in (0, 1)))
    (tmp_path / "rock" / "live.avi").write_bytes(b"x")
    os.mkfifo(tmp_path / "rock" / "pipe.wav")
    assert said(tmp_path) == {
        "live.avi": "is audio or video of a kind that is not read (.avi); convert it to .wav, .flac or .mp3",
        "pipe.wav": "is a device or a pipe, not a song",
    }


# ---- the Free Music Archive as it is really unpacked


def test_fma_table_in_its_archive_or_above(tmp_path):
    home = fma(tmp_path)
    expected = read_collection(home / "fma_small")
    shutil.make_archive(str(home / "fma_metadata"), "zip", home, "fma_metadata")
    (home / "fma_metadata" / "tracks.csv").rename(home / "tracks.csv")
    (home / "fma_metadata").rmdir()
    assert read_collection(home / "fma_small").equals(expected)
    (home / "tracks.csv").unlink()
    assert read_collection(home / "fma_small").equals(expected) and read_collection(home).equals(expected)
    (home / "fma_metadata.zip").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="fma_metadata.zip: cannot be read as the tracks.csv of FMA"):
        read_collection(home)


def test_fma_clips_in_a_second_folder_or_converted(tmp_path):
    home = fma(tmp_path)
    (home / "fma_small").rename(home / "inner")
    (home / "fma_small").mkdir()
    (home / "inner").rename(home / "fma_small" / "fma_small")
    song(home / "fma_small" / "fma_small" / "000" / "000002.wav")
    (home / "fma_small" / "fma_small" / "000" / "000002.mp3").unlink()
    tracks = read_collection(home)
    assert len(tracks) == 4 and all(os.path.exists(path) for path in tracks.path) and tracks.path[0].endswith(".wav")


@pytest.mark.parametrize("change", [("\n3,2", "\nx,2"), ("\n3,2", "\n2.5,2"), ("\n3,2", "\n2,2"), ("\n3,2", "\n,,,,,\n2,2")])
def test_rows_of_fma_without_a_number_cost_themselves_alone(tmp_path, change):
    fma(tmp_path)
    (tmp_path / "fma_metadata" / "tracks.csv").write_text(FMA.replace(*change))
    tracks = read_collection(tmp_path)
    assert tracks.track.tolist() == ["000002", "000005", "000006"] and tracks.artist[0] == "1 Ann"
    assert "of its rows are not used" in said(tmp_path)["tracks.csv"]


def test_what_was_prepared_inside_a_collection_is_no_genre(tmp_path):
    two_genres(tmp_path / "songs")
    expected = read_collection(tmp_path).track.tolist()
    for out in (tmp_path / "features", tmp_path / "songs" / "features"):
        prepare(tmp_path, out, ["picture"])
    assert read_collection(tmp_path).track.tolist() == expected
    assert said(tmp_path) == {"features": "was written by genre-nbs prepare"}
    examples = load_collection(tmp_path, Representation("picture", size=(64, 64), channels=1))
    assert examples.genres == ("blues", "rock")
    assert len(read_collection(tmp_path / "features" / "picture")) == 4


def test_subsets_inside_genre_folders_are_a_split(tmp_path):
    for genre in ("blues", "rock"):
        for subset in ("train", "test"):
            song(tmp_path / genre / subset / "a.wav")
    tracks = read_collection(tmp_path)
    assert tracks.genre.tolist() == ["blues"] * 2 + ["rock"] * 2 and tracks.split.tolist() == ["test", "train"] * 2
    song(tmp_path / "rock" / "The Band" / "a.wav")  # so these are names of artists
    assert "split" not in read_collection(tmp_path)


@pytest.mark.parametrize("private", ["jazz", "rock/live"])
def test_a_folder_that_lets_nobody_in_costs_itself_alone(tmp_path, monkeypatch, private):
    "As for a user who is not root: to look at what lies in the folder is refused too."
    two_genres(tmp_path)
    song(tmp_path / private / "a.wav")
    inside = f"{tmp_path / private}{os.sep}"

    def refusing(function):
        def call(path, *args, **kwargs):
            if f"{os.fspath(path)}".startswith(inside) or function is scan and os.fspath(path) == inside[:-1]:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *args, **kwargs)

        return call

    scan, look = os.scandir, os.stat
    for name, function in (("scandir", scan), ("stat", look), ("listdir", os.listdir)):
        monkeypatch.setattr(os, name, refusing(function))
    assert len(read_collection(tmp_path)) == 4
    assert list(said(tmp_path).values()) == ["is a folder that cannot be opened (Permission denied)"]


@pytest.mark.parametrize(
    "name, reason",
    [
        ("a.wave", "is audio or video of a kind that is not read (.wave); convert it to .wav, .flac or .mp3"),
        ("a.MPGA", "is audio or video of a kind that is not read (.mpga); convert it to .wav, .flac or .mp3"),
        ("a.wav ", "has blanks or dots after its ending .wav; rename it"),
        ("a.mp3.", "has blanks or dots after its ending .mp3; rename it"),
    ],
)
def test_endings_that_are_nearly_those_of_songs_are_said(tmp_path, name, reason):
    two_genres(tmp_path)
    (tmp_path / "rock" / name).write_bytes(b"x")
    assert said(tmp_path) == {name: reason}
