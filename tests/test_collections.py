"Real collections: GTZAN, FMA, Kaggle's tables, artists, and the one door."

import hashlib
import io
import json
import sys
import tarfile
import threading
import types
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest

from genre_nbs import collections as sources
from genre_nbs.classifier import GenreClassifier
from genre_nbs.collections import (
    MFCC_COLUMNS,
    adapt_representation,
    artists_for,
    check_gtzan,
    collection_root,
    fetch_gtzan,
    fetch_gtzan_lists,
    fetch_kaggle,
    fma_tracks,
    gtzan_checksums,
    gtzan_track,
    is_feature_table,
    load_collection,
    load_table,
    read_artists,
    read_collection,
    table_summaries,
)
from genre_nbs.datasets import DataError, Representation
from genre_nbs.io.decode import save_audio
from genre_nbs.io.downloads import ArchiveError, DownloadError
from genre_nbs.splitting import SplitError, split_examples

rng = np.random.default_rng(0)
SUMMARY = Representation("summary")


def song(path, seconds=1.5):
    return save_audio(path, (0.2 * rng.standard_normal(round(seconds * 22050))).astype(np.float32), 22050)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENRE_NBS_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve(tmp_path):
    "Starts a web server for a folder; returns its address."
    servers = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    def start(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# ---- GTZAN


def test_checksums_are_those_of_the_real_files(real_data):
    known = gtzan_checksums().set_index("track").md5
    assert len(known) == 1000 and known.index.is_unique and known.str.fullmatch("[0-9a-f]{32}").all()
    for path in (real_data / "gtzan_audio").glob("*/*.00000.wav"):
        assert hashlib.md5(path.read_bytes()).hexdigest() == known[gtzan_track(path)]


@pytest.mark.parametrize(
    "name, track",
    [
        ("rock/rock.00099.wav", "rock/rock.00099"),
        ("hiphop.00000.au", "hiphop/hiphop.00000"),
        ("C:\\x\\Metal00012.PNG", "metal/metal.00012"),
        ("pop.00012.9.wav", "pop/pop.00012"),
        ("pop.00012", "pop/pop.00012"),
        ("pop.0012.wav", None),
        ("pop.00012.9.9.wav", None),
        ("polka.00012.wav", None),
        ("my pop.00012.wav", None),
        ("._pop.00012.wav", None),
    ],
)
def test_names_of_gtzan(name, track):
    assert gtzan_track(name) == track


@pytest.fixture
def gtzan(tmp_path):
    "A small GTZAN as it comes in archives: songs, a broken one, a note of macOS, a stranger."
    folder = tmp_path / "made" / "genres"
    for genre in ("blues", "jazz", "rock"):
        for i in range(3):
            song(folder / genre / f"{genre}.{i:05}.wav", 30 if genre == "blues" and i < 2 else 2)
    (folder / "jazz" / "jazz.00054.wav").write_bytes(rng.bytes(3000))
    (folder / "blues" / "._blues.00000.wav").write_bytes(b"\x00\x05\x16\x07" + bytes(207))
    song(folder / "rock" / "extra.wav", 2)
    return folder


def test_check_says_what_is_wrong_with_each(gtzan, monkeypatch):
    first = hashlib.md5((gtzan / "blues" / "blues.00000.wav").read_bytes()).hexdigest()
    broken = hashlib.md5((gtzan / "jazz" / "jazz.00054.wav").read_bytes()).hexdigest()
    known = gtzan_checksums().set_index("track").md5
    known["blues/blues.00000"], known["jazz/jazz.00054"] = first, broken
    monkeypatch.setattr(sources, "gtzan_checksums", lambda: known.reset_index())
    table = check_gtzan(gtzan).set_index("track")
    assert table.state["blues/blues.00000"] == "as known"
    assert table.state["blues/blues.00001"] == "other bytes" and table.reason["blues/blues.00001"] == "lasts 30.00 s"
    assert table.reason["jazz/jazz.00000"] == "lasts 2.00 s instead of 30"
    assert table.state["jazz/jazz.00054"] == "broken" and "it is broken everywhere" in table.reason["jazz/jazz.00054"]
    counts = table.state.value_counts().to_dict()
    assert counts == {"missing": 990, "broken": 8, "no song of GTZAN": 2, "as known": 1, "other bytes": 1}


def packed(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


def test_fetch_unpacks_checks_and_is_done_once(gtzan, tmp_path, serve):
    packed(gtzan, tmp_path / "served" / "genres.tar.gz") if (tmp_path / "served").mkdir() is None else None
    url = serve(tmp_path / "served") + "/genres.tar.gz"
    table = fetch_gtzan(tmp_path / "in", url, progress=False, wait=0)
    assert table.state.value_counts()["missing"] == 990 and sorted(p.name for p in (tmp_path / "in").iterdir()) == ["songs"]
    (tmp_path / "served" / "genres.tar.gz").unlink()
    assert fetch_gtzan(tmp_path / "in", url, progress=False, wait=0).equals(table)
    with pytest.raises(DownloadError, match="404"):
        fetch_gtzan(tmp_path / "other", url, progress=False, wait=0)
    assert not list((tmp_path / "other").iterdir())


def test_fetch_refuses_a_hostile_archive(tmp_path, serve):
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served" / "genres.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../evil.wav"))
    with pytest.raises(ArchiveError, match="leads out of its folder"):
        fetch_gtzan(tmp_path / "deep" / "in", serve(tmp_path / "served") + "/genres.tar.gz", progress=False, wait=0)
    assert not list(tmp_path.rglob("evil.wav")) and not (tmp_path / "deep" / "in" / "songs").exists()


def test_fetched_lists_are_the_right_ones(tmp_path, serve, real_data):
    (tmp_path / "served").mkdir()
    for path in (real_data / "gtzan_lists").glob("*_filtered.txt"):
        (tmp_path / "served" / path.name).write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # other bytes, the same lists
    url = serve(tmp_path / "served")
    assert len(list(fetch_gtzan_lists(tmp_path / "lists", url, wait=0).iterdir())) == 3
    (tmp_path / "served" / "test_filtered.txt").write_text("blues/blues.00000.wav\n")
    with pytest.raises(DataError, match="test_filtered.txt is another list, with 1 tracks instead of 290"):
        fetch_gtzan_lists(tmp_path / "other", url, wait=0)
    assert not (tmp_path / "other" / "test_filtered.txt").exists()


def test_roots_are_found(tmp_path, gtzan):
    assert collection_root(gtzan.parent) == gtzan and collection_root(gtzan) == gtzan
    kaggle = tmp_path / "kaggle"
    for name in ("genres_original", "images_original"):
        (kaggle / "Data" / name / "blues").mkdir(parents=True)
        song(kaggle / "Data" / name / "blues" / "blues.00000.wav")
    assert collection_root(kaggle) == kaggle / "Data" / "genres_original"
    assert read_collection(kaggle).track.tolist() == ["blues/blues.00000"]
    (tmp_path / "one" / "blues").mkdir(parents=True)
    song(tmp_path / "one" / "blues" / "a.wav")
    assert collection_root(tmp_path / "one") == tmp_path / "one"  # a single genre is no wrapping folder


def test_a_zip_of_songs_is_a_collection(gtzan, tmp_path):
    with zipfile.ZipFile(tmp_path / "songs.zip", "w") as archive:
        for path in gtzan.rglob("*.wav"):
            archive.write(path, f"x/{path.relative_to(gtzan)}")
    examples = load_collection(tmp_path / "songs.zip", SUMMARY)
    assert examples.summary().tracks.to_dict() == {"blues": 3, "jazz": 3, "rock": 4}
    reasons = dict(zip([path.rsplit("/", 1)[-1] for path in examples.bad.path], examples.bad.reason, strict=True))
    assert "known broken file" in reasons["jazz.00054.wav"] and "AppleDouble, 211 bytes" in reasons["._blues.00000.wav"]


# ---- artists

INDEX = """## Bob L. Sturm, 2012
blues.00000.wav ::: John Lee Hooker ::: One Bourbon, One Scotch And One Beer
blues.00001.wav ::: ::: 
jazz.00000.wav ::: Earth, Wind & Fire ::: September
jazz.00001.wav :::  The Earth Wind and Fire ::: Fantasy
"""


def test_artists_of_an_index(tmp_path):
    (tmp_path / "index.txt").write_text(INDEX)
    artists = read_artists(tmp_path / "index.txt")
    assert artists["blues/blues.00001"] == "" and len(artists) == 4
    tracks = ["blues/blues.00000", "blues/blues.00001", "blues/blues.00099", "jazz/jazz.00000", "jazz/jazz.00001"]
    named = artists_for(tracks, ["blues", "blues", "blues", "jazz", "jazz"], artists)
    assert named.tolist() == ["John Lee Hooker", "unknown (blues)", "unknown (blues)", "Earth, Wind & Fire", "Earth, Wind & Fire"]
    with pytest.raises(DataError, match="names none of these tracks"):
        artists_for(["a"], ["blues"], artists)


@pytest.mark.parametrize("text", ["", "no index\n", "blues.00000.wav ::: A\n", INDEX + "and a line of something else\n"])
def test_other_files_are_no_index(tmp_path, text):
    (tmp_path / "index.txt").write_text(text)
    with pytest.raises(DataError, match="is no index of GTZAN"):
        read_artists(tmp_path / "index.txt")


def test_artists_of_a_table(tmp_path, gtzan):
    with pytest.raises(DataError, match="no such file"):
        read_artists(tmp_path / "missing.csv")
    (tmp_path / "a.csv").write_text("track,who\nx,y\n")
    with pytest.raises(DataError, match="needs the columns track and artist"):
        read_artists(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("track,artist\nblues/blues.00000,Ann\nrock/rock.00001,Bob\n")
    gtzan = gtzan.parent
    examples = load_collection(gtzan, SUMMARY, artists=tmp_path / "a.csv")
    assert set(examples.artist) == {"Ann", "Bob", "unknown (blues)", "unknown (jazz)", "unknown (rock)"}


# ---- tables


def table(tmp_path, pieces=10, name="features_3_sec.csv", drop=(), length=66149):
    genres = ("blues", "jazz", "rock")
    rows = pd.DataFrame(rng.normal(size=(3 * 4 * pieces, 26)) ** 2, columns=MFCC_COLUMNS)
    suffix = [f".{piece}" if pieces > 1 else "" for piece in range(pieces)]
    rows.insert(0, "filename", [f"{genre}.{song:05}{end}.wav" for genre in genres for song in range(4) for end in suffix])
    rows.insert(1, "length", length)
    rows["tempo"] = 120.0
    rows["label"] = [name.split(".")[0] for name in rows.filename]
    rows.drop(columns=list(drop)).to_csv(tmp_path / name, index=False)
    return tmp_path / name


def test_three_second_rows_are_grouped_by_song(tmp_path):
    examples = load_collection(table(tmp_path), adapt_representation(SUMMARY, tmp_path / "features_3_sec.csv"))
    assert len(examples) == 120 and np.unique(examples.track).size == 12 and examples.songs_known
    train, valid = split_examples(examples, "track")
    assert not set(train.track) & set(valid.track)
    assert examples.track[0] == "blues/blues.00000"  # so that lists and index fit


def test_without_file_names_it_is_refused_by_song(tmp_path):
    path = table(tmp_path, drop=["filename"])
    examples = table_summaries(path)
    for how in ("track", "hash"):
        with pytest.raises(SplitError, match="does not say which rows were cut from the same song .a column filename"):
            split_examples(examples, how)
    assert len(split_examples(examples, "random")[0]) == 84


def test_other_file_names_do_not_pretend(tmp_path):
    path = table(tmp_path)
    rows = pd.read_csv(path)
    rows["filename"] = [f"my song {i}.wav" for i in range(len(rows))]
    rows.to_csv(path, index=False)
    assert not table_summaries(path).songs_known


def test_summaries_are_means_and_standard_deviations(tmp_path):
    path = table(tmp_path, pieces=1, name="features_30_sec.csv", length=661794)
    rows = pd.read_csv(path)
    examples = load_collection(path, adapt_representation(SUMMARY, path))
    assert np.allclose(examples.x[:, 0], rows.mfcc1_mean) and np.allclose(examples.x[:, 25] ** 2, rows.mfcc13_var, rtol=1e-5)
    assert load_table(path).x.shape == (12, 27)  # with tempo
    with pytest.raises(DataError, match="summaries of 30 s, but this model takes 1 s"):
        load_collection(path, SUMMARY)
    with pytest.raises(DataError, match="this recipe takes a mel"):
        load_collection(path, Representation("mel"))


def test_the_real_table_agrees_with_our_own_summaries(real_data):
    from genre_nbs.audio import load_audio
    from genre_nbs.features import mfcc_summary

    path = real_data / "gtzan_features" / "features_30_sec.csv"
    examples = load_collection(path, adapt_representation(SUMMARY, path))
    for row, track in zip(examples.x, examples.track, strict=True):
        ours = mfcc_summary(*load_audio(real_data / "gtzan_audio" / f"{track}.wav"))
        assert np.abs(ours - row).max() < 0.5  # another librosa, up to 0.05 on most; their spread is 10 to 100


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda rows: rows.drop(columns="mfcc5_var"), "lacks the columns mfcc5_var"),
        (lambda rows: rows.head(0), "holds no rows"),
        (lambda rows: rows.assign(mfcc1_mean="x"), "no row holds numbers only"),
    ],
)
def test_tables_that_do_not_serve(tmp_path, change, complaint):
    path = table(tmp_path)
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(DataError, match=complaint):
        table_summaries(path)


def test_bad_rows_are_put_aside(tmp_path):
    path = table(tmp_path)
    rows = pd.read_csv(path)
    rows["mfcc2_mean"] = rows.mfcc2_mean.astype(object)
    rows.loc[3, "mfcc2_mean"], rows.loc[5, "label"], rows.loc[7, "mfcc1_mean"] = "?", None, np.inf
    rows.to_csv(path, index=False)
    examples = table_summaries(path)
    assert len(examples) == 117 and [name.rsplit(" ", 1)[1] for name in examples.bad.path] == ["5", "7", "9"]


def test_a_manifest_is_no_feature_table(tmp_path):
    (tmp_path / "m.csv").write_text("path,genre,label\n")
    assert not is_feature_table(tmp_path / "m.csv") and not is_feature_table(tmp_path) and is_feature_table(table(tmp_path))


# ---- FMA

TRACKS = """,album,artist,artist,set,set,track,track
,id,id,name,split,subset,genre_top,title
track_id,,,,,,,
2,1,1,Ann,training,small,Hip-Hop,Food
5,1,1,Ann,training,small,Hip-Hop,This World
133297,9,7,Bob,validation,small,Rock,Cut
140,6,54,Alec,training,medium,Folk,Queen
141,6,54,Alec,test,medium,Folk,Ohio
1000,6,54,Alec,test,large,,No top genre
1001,6,55,Eve,test,large,Folk,Ohio
2000,6,55,Eve,validation,full,Rock,Long
"""


@pytest.fixture
def fma(tmp_path):
    home = tmp_path / "fma"
    (home / "fma_metadata").mkdir(parents=True)
    (home / "fma_metadata" / "tracks.csv").write_text(TRACKS)
    for size, ids in (("fma_small", (2, 5)), ("fma_medium", (2, 5, 140, 141)), ("elsewhere", (141,))):
        for i in ids:
            song(home / size / f"{i:06}"[:3] / f"{i:06}.mp3")
    (home / "fma_small" / "133").mkdir()
    (home / "fma_small" / "133" / "133297.mp3").write_bytes(bytes(1752))
    return home


@pytest.mark.parametrize("subset, n", [("small", 3), ("medium", 5), ("large", 6), ("full", 7)])
def test_subsets_of_fma_hold_the_smaller_ones(fma, subset, n):
    tracks = fma_tracks(fma / "fma_small", subset)
    assert len(tracks) == n and "001000" not in set(tracks.track)  # it has no top genre
    assert tracks.split.isin(["train", "valid", "test"]).all()


def test_fma_is_read_with_artists_split_and_broken_clips(fma):
    examples = load_collection(fma / "fma_small", SUMMARY)
    assert examples.genres == ("hiphop",) and set(examples.artist) == {"1 Ann"} and set(examples.split) == {"train"}
    assert "three known clips without sound" in examples.bad.reason[0]
    medium = load_collection(fma / "fma_medium", SUMMARY)
    assert medium.bad.reason.str.contains("no such file").sum() == 1  # 133297 is missing there
    assert set(medium.split) == {"train", "test"}
    assert fma_tracks(fma / "elsewhere").track.tolist() == ["000141"]  # no known size: what is there
    assert len(read_collection(fma)) == 5  # the folder above: its largest size


def test_fma_without_its_metadata(fma, tmp_path):
    (fma / "fma_metadata" / "tracks.csv").write_text("track_id,genre\n1,2\n")
    with pytest.raises(DataError, match="two header rows lack set/split"):
        fma_tracks(fma / "fma_small")
    (fma / "fma_metadata" / "tracks.csv").unlink()
    with pytest.raises(DataError, match="no FMA collection here"):
        fma_tracks(fma / "fma_small")


# ---- Kaggle, and the command line


def test_kaggle_needs_its_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r"pip install 'genre_nbs\[kaggle\]'"):
        fetch_kaggle()


def test_kaggle_through_its_client(monkeypatch, tmp_path):
    def dataset_download(handle):
        if "gtzan" not in handle:
            raise RuntimeError("403 Client Error")
        return str(tmp_path)

    monkeypatch.setitem(sys.modules, "kagglehub", types.SimpleNamespace(dataset_download=dataset_download))
    assert fetch_kaggle() == tmp_path
    with pytest.raises(DataError, match="cannot be fetched from Kaggle .403"):
        fetch_kaggle("somebody/else")


def test_the_command_line_takes_all_of_them(genre_nbs_cli, tmp_path, gtzan):
    (tmp_path / "artists.csv").write_text(
        "track,artist\n" + "\n".join(f"{g}/{g}.{i:05},{g}{i}" for g in ("blues", "jazz", "rock") for i in range(3))
    )
    archive = packed(gtzan, tmp_path / "genres.tar.gz")
    quick = ("--recipe", "mlp", "--epochs", 1, "--json")
    done = genre_nbs_cli(
        "train", archive, "--split", "artist", "--artists", tmp_path / "artists.csv", "--out", tmp_path / "a.safetensors", *quick
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["bad"]) == 2
    path = table(tmp_path)
    done = genre_nbs_cli("train", path, "--out", tmp_path / "t.safetensors", *quick)
    assert done.returncode == 0 and GenreClassifier.load(tmp_path / "t.safetensors").representation.seconds == 3
    assert genre_nbs_cli("evaluate", "--model", tmp_path / "t.safetensors", path, "--json").returncode == 0
    nameless = table(tmp_path, name="nameless.csv", drop=["filename"])
    done = genre_nbs_cli("train", nameless, "--out", tmp_path / "n.safetensors", *quick)
    assert done.returncode == 2 and "does not say which rows were cut from the same song" in done.stderr
    assert not (tmp_path / "n.safetensors").exists()
    done = genre_nbs_cli("train", nameless, "--split", "random", "--out", tmp_path / "n.safetensors", *quick)
    assert done.returncode == 0


def test_the_command_line_refuses_a_hostile_archive(genre_nbs_cli, tmp_path):
    with tarfile.open(tmp_path / "songs.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("../evil.wav")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"bad"))
    done = genre_nbs_cli("train", tmp_path / "songs.tar.gz", "--recipe", "mlp", "--out", tmp_path / "m.safetensors")
    assert done.returncode == 2 and "leads out of its folder" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("evil.wav"))


def test_the_command_line_names_duplicates(genre_nbs_cli, tmp_path):
    for genre in ("blues", "jazz", "rock"):
        for i in range(3):
            song(tmp_path / "songs" / genre / f"{i}.wav", 4)
    double = (tmp_path / "songs" / "blues" / "0.wav").read_bytes()
    (tmp_path / "songs" / "rock" / "copy.wav").write_bytes(double)
    args = ("train", tmp_path / "songs", "--recipe", "mlp", "--epochs", 1, "--out", tmp_path / "m.safetensors", "--json")
    done = genre_nbs_cli(*args)
    assert json.loads(done.stdout)["duplicates"] == [["blues/0", "rock/copy"]]
    assert "duplicates, kept in one subset: blues/0, rock/copy" in done.stderr
    assert json.loads(genre_nbs_cli(*args, "--no-duplicates").stdout)["duplicates"] == []


def test_the_command_line_fetches(genre_nbs_cli, gtzan, tmp_path, serve):
    (tmp_path / "served").mkdir()
    packed(gtzan, tmp_path / "served" / "genres.tar.gz")
    url = serve(tmp_path / "served")
    done = genre_nbs_cli("fetch", "gtzan", tmp_path / "in", "--url", f"{url}/genres.tar.gz", "--json")
    result = json.loads(done.stdout)
    assert result["songs"] == {"missing": 990, "broken": 8, "no song of GTZAN": 2, "other bytes": 2}
    assert "jazz/jazz.00054: cannot be decoded" in done.stderr
    assert len(read_collection(result["folder"])) == 12
    for words, complaint in (
        (("polka", tmp_path / "x"), "unknown collection 'polka'"),
        (("gtzan", tmp_path / "x", "--url", f"{url}/none.tar.gz"), "answered 404"),
        (("gtzan-lists", tmp_path / "x", "--url", url), "answered 404"),
    ):
        done = genre_nbs_cli("fetch", *words)
        assert done.returncode == 2 and complaint in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


def test_tracks_that_a_list_of_artists_does_not_name_are_counted(tmp_path, gtzan):
    (tmp_path / "a.csv").write_text("Track,Artist\nblues/blues.00000,!!!\nrock/rock.00001,???\n")
    examples = load_collection(gtzan, SUMMARY, artists=tmp_path / "a.csv")
    assert {"!!!", "???", "unknown (jazz)"} <= set(examples.artist)
    assert "10 of 12 tracks have no artist in the list: those of a genre count as one artist" in examples.notes


def test_a_table_brings_artist_and_split(tmp_path):
    path = table(tmp_path)
    rows = pd.read_csv(path)
    rows["Artist"] = [name[:-6] for name in rows.filename]
    rows.loc[0, "Artist"] = "None"
    rows["split"] = ["Training" if i % 4 else "val" for i in range(len(rows))]
    rows.to_csv(path, index=False)
    examples = load_collection(path, adapt_representation(SUMMARY, path))
    assert set(examples.split) == {"train", "valid"} and examples.artist[0] == "unknown (blues/blues.00000)" and len(set(examples.artist)) == 13
    assert examples.notes == ["1 of 12 tracks name no artist: each counts as an artist of its own"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("label", '"Label"', 1),
        lambda text: text.replace(",", " , ", 27).replace("filename", "\ufefffilename", 1),
        lambda text: text + "," * 29 + "\n",
    ],
)
def test_a_table_is_known_however_its_columns_are_spelled(tmp_path, change):
    path = table(tmp_path)
    path.write_text(change(path.read_text()))
    examples = load_collection(path, adapt_representation(SUMMARY, path))
    assert len(examples) == 120 and examples.songs_known


def test_a_table_in_another_encoding_is_one_line(tmp_path):
    path = table(tmp_path)
    path.write_text(path.read_text(), encoding="utf-16")
    with pytest.raises(DataError, match="is not UTF-8; save the table"):
        load_collection(path, adapt_representation(SUMMARY, path))
