"""The practice corpus: same seed same bytes, a true manifest, nothing half written."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest

from genre_nbs.audio import load_audio
from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.practice import RESERVED_ARTISTS, corpus, practice_corpus, practice_song, songs, sounds, write_corpus
from genre_nbs.practice.artists import make_artist
from genre_nbs.practice.songs import compose, form
from genre_nbs.practice.styles import STYLES
from genre_nbs.practice.theory import NOTE_NAMES, SCALES, chord, figure

SR = 22050
SETTINGS = dict(songs_per_genre=3, seconds=2, artists_per_genre=2)


def digest(y):
    return hashlib.sha256(y.tobytes()).hexdigest()


def tree(folder):
    "Every file below a folder, hidden ones too, with its bytes."
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


# ---- same seed, same bytes


def test_a_song_is_the_same_in_any_order_and_in_another_process():
    wanted = [("jazz", 1, 0), ("metal", 0, 2), ("blues", 3, 1)]
    here = [digest(practice_song(g, a, s, 2)[0]) for g, a, s in wanted]
    backwards = [digest(practice_song(g, a, s, 2)[0]) for g, a, s in reversed(wanted)][::-1]
    code = f"""
import hashlib
from genre_nbs.practice import practice_song
for g, a, s in {wanted!r}: print(hashlib.sha256(practice_song(g, a, s, 2)[0].tobytes()).hexdigest())"""
    env = dict(os.environ, PYTHONHASHSEED="7")
    there = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout.split()
    assert here == backwards == there


def test_corpora_are_equal_for_any_number_of_processes_and_grow_without_changing(tmp_path):
    small = write_corpus(tmp_path / "one", **SETTINGS, genres=("disco", "jazz"))
    write_corpus(tmp_path / "two", **SETTINGS, genres=("disco", "jazz"), jobs=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    before = tree(tmp_path / "one")
    grown = write_corpus(tmp_path / "one", **SETTINGS | dict(songs_per_genre=4), genres=("rock", "disco", "jazz"))
    after = tree(tmp_path / "one")
    assert len(grown) == 12 and set(small.track) < set(grown.track)
    assert all(after[path] == data for path, data in before.items() if path != "manifest.csv")


def test_everything_in_the_seed_counts():
    songs = [practice_song("pop", *numbers, seconds=2)[0] for numbers in ((0, 0), (0, 1), (1, 0))]
    songs += [practice_song("pop", 0, 0, seconds=2, seed=1)[0], practice_song("rock", 0, 0, seconds=2)[0]]
    assert len({digest(y) for y in songs}) == 5


def test_ogg_is_reproducible(tmp_path):
    for name in "ab":
        write_corpus(tmp_path / name, songs_per_genre=1, seconds=2, suffix=".ogg", genres=("country",))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


# ---- what a song is


@pytest.mark.parametrize("genre", GTZAN_GENRES)
@pytest.mark.parametrize("sr", [8000, 22050, 44100])
def test_every_song_is_sound_and_never_clipped(genre, sr):
    for artist in range(3):
        y, _ = practice_song(genre, artist, seconds=3, sr=sr)
        assert y.shape == (3 * sr,) and y.dtype == np.float32
        assert np.isfinite(y).all() and 0.01 < y.std() and np.abs(y).max() < 0.99


@pytest.mark.parametrize("seconds", [1, 1.5, 61, 200])
def test_any_duration(seconds):
    y, _ = practice_song("reggae", seconds=seconds)
    assert len(y) == round(seconds * SR)
    quiet = [np.abs(part).max() < 1e-3 for part in np.array_split(y, 20)]
    assert not any(quiet[:-1])


def test_whole_songs_have_an_intro_verses_choruses_and_a_solo():
    for bars, unit in ((60, 8), (90, 12), (7, 8), (400, 8)):
        plan = form(bars, unit, np.random.default_rng(0), whole=True)
        assert plan[0][0] == "i" and plan[-1][1] + plan[-1][2] >= bars > plan[-1][1]
        assert all(a[1] + a[2] == b[1] for a, b in zip(plan, plan[1:], strict=False))
        assert bars < 60 or {letter for letter, _, _ in plan} == set("ivcs")


def test_artists_keep_their_habits():
    for genre in GTZAN_GENRES:
        artist, other = make_artist(genre, 4), make_artist(genre, 5)
        assert artist == make_artist(genre, 4) and artist.mix != other.mix and artist.name != other.name
        truths = [practice_song(genre, 4, song, seconds=1)[1] for song in range(4)]
        assert all(artist.tempo[0] - 0.1 <= t["tempo"] <= artist.tempo[1] + 0.1 for t in truths)
        assert {t["key"].split()[0] for t in truths} <= {NOTE_NAMES[t] for t in artist.tonics}
        assert len({t["tempo"] for t in truths}) > 1


def test_every_symbol_and_pattern_in_the_styles_can_be_played():
    for style in STYLES.values():
        for scale, progressions in style.progressions.items():
            assert scale in SCALES
            for symbols in progressions:
                bars = [chord(symbol, 5) for symbol in symbols.split()]
                assert len(bars) in (2, 4, 8, 12)
                for part in style.parts:
                    for pattern in part.patterns:
                        if pattern != "walk":
                            notes = figure(pattern, bars, part.register, style.swing)
                            assert notes and all(0 < length <= 4 and 20 < p < 110 for _, length, p, _ in notes)
        for groove in style.grooves:
            assert {len(bar) for bar in groove.values()} in ({4, 8}, {8}, {12}, {16})
            assert set("".join(groove.values())) <= set("Xxo.") and set(groove) <= set(sounds.DRUMS)


# ---- the manifest tells the truth


@pytest.mark.parametrize("genre", ["disco", "blues", "reggae", "metal", "rock", "pop", "country"])
def test_the_tempo_can_be_heard(genre):
    "A bar after every onset there is another one; at a tempo 7 % off there is none."
    hop, found = 128, []
    for artist in range(3):
        y, truth = practice_song(genre, artist, seconds=20)
        strength = librosa.onset.onset_strength(y=y, sr=SR, hop_length=hop)
        profile = librosa.autocorrelate(strength - strength.mean())
        bar = 240 / truth["tempo"] * SR / hop

        def at(bars, profile=profile, bar=bar):
            return profile[int(bars * bar) - 3 : int(bars * bar) + 4].max() / profile[0]

        found.append(at(1) > 0.2 and at(1) > at(0.93) and at(1) > at(1.07) and at(2) > at(1.93))
    assert sum(found) >= 2


def test_the_key_can_be_heard():
    "Most of the sound of a country song lies on the seven notes of its major scale."
    for artist in range(3):
        y, truth = practice_song("country", artist, seconds=15)
        chroma = librosa.feature.chroma_stft(y=y, sr=SR).mean(1)
        tonic, scale = truth["key"].split(" ", 1)
        assert scale == "major"
        fits = [chroma[[(t + step) % 12 for step in SCALES["major"]]].sum() for t in range(12)]
        assert NOTE_NAMES.index(tonic) in np.argsort(fits)[-3:]


def test_the_instruments_are_those_that_play():
    for genre in GTZAN_GENRES:
        for number in range(3):
            artist = make_artist(genre, number)
            score = compose(artist, 0, 20)
            names = songs.describe(artist, score)["instruments"].split(", ")
            assert ("drums" in names) == bool(score.hits) == bool(artist.grooves)
            assert set(names) - {"drums"} == {p.name for p in artist.players if score.notes[p.part.role]}


def test_the_manifest_stands_beside_the_songs(tmp_path):
    tracks = write_corpus(tmp_path / "c", **SETTINGS, genres=("hiphop", "Classical"))
    manifest = pd.read_csv(tmp_path / "c" / "manifest.csv")
    assert list(manifest.columns) == ["path", "genre", "track", "artist", "tempo", "key", "instruments"] == list(tracks.columns)
    assert list(manifest.genre) == ["hiphop"] * 3 + ["classical"] * 3
    assert list(manifest.artist[:3]) == ["hiphop-artist00", "hiphop-artist01", "hiphop-artist00"]
    assert manifest.path[4] == "classical/classical-00001.flac" and tracks.path[4] == str(tmp_path / "c" / manifest.path[4])
    y, sr = load_audio(tracks.path[4])
    mine, truth = practice_song("classical", 1, 0, seconds=2)
    assert sr == SR and np.abs(y - mine).max() < 1e-4
    assert manifest.tempo[4] == truth["tempo"] and manifest.key[4] == truth["key"]


# ---- interrupted and repeated


def test_a_killed_run_leaves_no_half_file_and_a_second_one_completes_it(tmp_path):
    settings = SETTINGS | dict(songs_per_genre=20, genres=("blues", "pop"))
    code = f"from genre_nbs.practice import write_corpus\nwrite_corpus({str(tmp_path / 'a')!r}, **{settings!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 300
    while len(list((tmp_path / "a").glob("*/[!.]*.flac"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = sorted((tmp_path / "a").glob("*/[!.]*.flac"))
    assert 5 <= len(there) < 40 and not (tmp_path / "a" / "manifest.csv").exists()
    assert all(len(load_audio(path)[0]) == 2 * SR for path in there)
    left = tmp_path / "a" / "blues" / ".blues-00000-0123456789ab.flac"  # what a kill in the middle of a write leaves
    left.write_bytes(b"half")
    made = []
    write_corpus(tmp_path / "a", **settings, each=made.append)
    write_corpus(tmp_path / "b", **settings)
    assert len(made) == 40 and tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_second_run_does_not_write_again(tmp_path):
    tracks = write_corpus(tmp_path / "c", **SETTINGS, genres="pop")
    times = [os.stat(path).st_mtime_ns for path in tracks.path]
    write_corpus(tmp_path / "c", **SETTINGS, genres="pop")
    assert times == [os.stat(path).st_mtime_ns for path in tracks.path]


def test_the_cache_is_made_once_and_mended(tmp_path, monkeypatch):
    monkeypatch.setenv("GENRE_NBS_CACHE", str(tmp_path))
    tracks = practice_corpus(**SETTINGS, genres=("metal",))
    assert all(Path(path).is_absolute() and str(path).startswith(str(tmp_path)) for path in tracks.path)
    monkeypatch.setattr(corpus, "render", lambda *args: pytest.fail("rendered again"))
    pd.testing.assert_frame_equal(practice_corpus(**SETTINGS, genres=("metal",)), tracks)
    monkeypatch.undo()
    monkeypatch.setenv("GENRE_NBS_CACHE", str(tmp_path))
    Path(tracks.path[1]).unlink()
    practice_corpus(**SETTINGS, genres=("metal",))
    assert Path(tracks.path[1]).exists()


def test_two_processes_may_ask_for_the_cache_at_once(tmp_path):
    env = dict(os.environ, GENRE_NBS_CACHE=str(tmp_path))
    code = f"from genre_nbs.practice import practice_corpus\nprint(len(practice_corpus(**{SETTINGS!r}, genres=('rock', 'pop'))))"
    both = [subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [p.communicate()[0].strip() for p in both] == ["6", "6"]
    assert not [path for path in tree(tmp_path) if "/." in path]


def test_a_folder_that_another_process_marks_meanwhile_is_shared(tmp_path, monkeypatch):
    out, settings, look = tmp_path / "corpus", dict(rules=1), Path.iterdir
    out.mkdir()

    def look_late(folder):
        monkeypatch.undo()
        corpus.claim_folder(out, settings)  # the other process
        return look(folder)

    monkeypatch.setattr(Path, "iterdir", look_late)
    corpus.claim_folder(out, settings)
    assert Path.iterdir is look
    with pytest.raises(ValueError, match="other settings"): corpus.claim_folder(out, dict(rules=2))


# ---- bad input: one clear line, nothing written


@pytest.mark.parametrize(
    "wrong, word",
    [
        (dict(songs_per_genre=0), "songs_per_genre"),
        (dict(songs_per_genre=2.5), "songs_per_genre"),
        (dict(artists_per_genre=0), "artists_per_genre"),
        (dict(artists_per_genre=RESERVED_ARTISTS[0] + 1), "900"),
        (dict(seconds=0.5), "seconds"),
        (dict(seconds=float("nan")), "seconds"),
        (dict(seconds="ten"), "seconds"),
        (dict(seed=-1), "seed"),
        (dict(seed=True), "seed"),
        (dict(sr=4000), "sr"),
        (dict(suffix=".xyz"), ".xyz"),
        (dict(genres=("polka",)), "polka"),
        (dict(genres=()), "genres"),
        (dict(genres=("pop", "Pop")), "each once"),
    ],
)
def test_bad_settings(tmp_path, wrong, word):
    with pytest.raises(ValueError, match=word) as error:
        write_corpus(tmp_path / "new", **wrong)
    assert "\n" not in str(error.value) and not (tmp_path / "new").exists()


@pytest.mark.parametrize("wrong", [dict(artist=-1), dict(artist=1.5), dict(song=-1), dict(song="a"), dict(genre="polka"), dict(genre="")])
def test_bad_songs(wrong):
    with pytest.raises(ValueError):
        practice_song(**dict(genre="pop", seconds=1) | wrong)


def test_folders_in_use_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not an empty folder"):
        write_corpus(tmp_path / "mine", **SETTINGS)
    with pytest.raises(ValueError, match="not an empty folder"):
        write_corpus(tmp_path / "mine" / "notes.txt", **SETTINGS)
    assert tree(tmp_path / "mine") == {"notes.txt": b"mine"}
    write_corpus(tmp_path / "c", **SETTINGS, genres="pop")
    with pytest.raises(ValueError, match="other settings"):
        write_corpus(tmp_path / "c", **SETTINGS | dict(seed=1), genres="pop")


# ---- the samples that ship with the repository


def test_samples_are_reproducible_and_kept_apart(tmp_path):
    root = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(root / "tools"))
    try:
        import make_samples
    finally:
        sys.path.pop(0)
    for run in "ab":
        make_samples.short_sample(tmp_path / run, "jazz")
        make_samples.whole_song(tmp_path / run, "reggae", 2, seconds=70)
    assert tree(tmp_path / "a") == tree(tmp_path / "b") and len(tree(tmp_path / "a")) == 4
    with pytest.raises(ValueError, match="artists_per_genre"):
        write_corpus(tmp_path / "c", artists_per_genre=RESERVED_ARTISTS[0] + 1)


def test_samples_are_there():
    root = Path(__file__).resolve().parent.parent
    data = {p.name for p in (root / "data_samples").iterdir()}
    assert data == {genre + suffix for genre in GTZAN_GENRES for suffix in (".ogg", ".png")}
    whole = {p.name for p in (root / "test_samples").iterdir()}
    assert {name for name in whole if name.endswith(".png")} == {f"{genre}{i}.png" for genre in GTZAN_GENRES for i in (1, 2)}
    heard = [root / "test_samples" / name for name in whole if name.endswith(".ogg")]
    assert len(heard) >= 3 and all(120 <= len(load_audio(path)[0]) / SR <= 240 for path in heard)
    assert sum(p.stat().st_size for folder in ("data_samples", "test_samples") for p in (root / folder).iterdir()) < 6e6
