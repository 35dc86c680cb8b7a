"One's own songs: any length, any format, silence or not; genre over time, and no answer where the model does not know."

import json
import os
import subprocess
import sys
import tracemalloc
import weakref
from dataclasses import replace

import matplotlib.pyplot
import numpy as np
import pytest
import soundfile as sf
import torch
from test_decode import by_ffmpeg
from torch import nn

from genre_nbs import songs
from genre_nbs.app import predict, prepare
from genre_nbs.classifier import GenreClassifier, train_classifier
from genre_nbs.datasets import Examples, Representation, load_examples
from genre_nbs.io.decode import AudioError, save_audio
from genre_nbs.io.segments import SoundStream, stream_segments
from genre_nbs.mel_cnn import WINDOW, mel_cnn
from genre_nbs.mlp import MLP
from genre_nbs.picture_cnn import grey_cnn
from genre_nbs.practice import practice_song
from genre_nbs.song_features import EnsembleRecipe, SongPicture
from genre_nbs.songs import RULES, combine, fine_tune, listen, plot_timeline, shipped_model, shipped_path
from genre_nbs.spectrograms import log_mel, to_grey

matplotlib.use("Agg")
SR, GENRES = 22050, ("blues", "jazz", "metal")
PICTURES = Representation("picture", seconds=4.0, size=(128, 52), channels=1)


@pytest.fixture(scope="module")
def mlp(tones):
    "Tells the three tones apart, second by second."
    classifier, _ = train_classifier(MLP, load_examples(tones, MLP.representation), epochs=30)
    return classifier


@pytest.fixture(scope="module")
def model(mlp, tmp_path_factory):
    return mlp.save(tmp_path_factory.mktemp("model") / "mlp.safetensors")


def untrained(representation, network):
    torch.manual_seed(0)
    return GenreClassifier(network(representation.shape, len(GENRES)).eval(), representation, GENRES)


@pytest.fixture(scope="module")
def classifiers(mlp, tones):
    "One of each kind."
    recipe = EnsembleRecipe("tiny", copies=1, k=12, networks=1, epochs=1)
    return {
        "mlp": mlp,
        "mel": untrained(WINDOW, mel_cnn),
        "picture": untrained(PICTURES, grey_cnn),
        "songs": recipe.train(load_examples(tones, SongPicture()))[0],
    }


@pytest.fixture(scope="module")
def music():
    "34 s of a practice song."
    return practice_song("rock", 3, seconds=34.0, seed=1, sr=SR)[0]


def shown(answer):
    "Probabilities in label order, (genres,)."
    return np.array([answer.proba[genre] for genre in answer.genres])


KINDS = ("mlp", "mel", "picture", "songs")


# ---- what an answer is


@pytest.mark.parametrize("kind", KINDS)
def test_a_timeline_adds_to_one(kind, classifiers, music, tmp_path):
    answer = listen(save_audio(tmp_path / "song.flac", music, SR), classifiers[kind])
    assert answer.timeline.shape == (len(answer.times), 3)
    np.testing.assert_allclose(answer.timeline.sum(1), 1, atol=1e-5)
    assert sum(answer.proba.values()) == pytest.approx(1) and answer.seconds == pytest.approx(len(music) / SR, abs=0.01)
    assert (np.diff(answer.times) > 0).all() and 0 < answer.times[0] and answer.times[-1] < answer.seconds
    assert answer.genre == max(answer.proba, key=answer.proba.get) == answer.top(1)[0][0]
    hop = classifiers[kind].representation.seconds / 2
    assert np.diff(answer.times)[:-1] == pytest.approx(hop, abs=0.01)  # the last segment ends with the song


@pytest.mark.parametrize("kind", KINDS)
def test_segments_are_those_of_the_representation(kind, classifiers, music, tmp_path):
    classifier = classifiers[kind]
    path = save_audio(tmp_path / "song.wav", music, SR)
    every = listen(path, classifier, overlap=1)
    own = classifier.predict_proba_examples(classifier.representation.of_file(path))
    n = len(own) - 2 if kind != "songs" else 1  # the song ends in silence, which is cut off here
    np.testing.assert_allclose(every.timeline[:n], own[:n], atol=0.03 if kind == "mel" else 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_length_of_a_song_decides_nothing(kind, classifiers, music, tmp_path):
    classifier = classifiers[kind]
    size = 12 * SR if kind != "songs" else len(music)
    once, twice = music[:size], np.tile(music[:size], 3)
    a, b = (listen(save_audio(tmp_path / f"{len(y)}.wav", y, SR), classifier) for y in (once, twice))
    assert len(b.times) > 2 * len(a.times) or kind == "songs"
    assert np.abs(shown(a) - shown(b)).max() < 0.08


@pytest.mark.parametrize("kind", KINDS)
def test_silence_takes_no_part(kind, classifiers, music, tmp_path):
    silence = np.zeros(2 * SR, np.float32)
    around = np.concatenate([silence, music[: 17 * SR], silence, music[17 * SR :], silence])
    bare, both = (listen(save_audio(tmp_path / f"{name}.wav", y, SR), classifiers[kind]) for name, y in (("bare", music), ("both", around)))
    np.testing.assert_allclose(shown(bare), shown(both), atol=1e-6)
    np.testing.assert_allclose(bare.timeline, both.timeline, atol=1e-5)
    assert both.times[0] == pytest.approx(bare.times[0] + 2, abs=0.01) and both.seconds == pytest.approx(bare.seconds + 6)


@pytest.mark.parametrize("kind", KINDS)
def test_songs_shorter_than_a_segment(kind, classifiers, music, tmp_path):
    classifier = classifiers[kind]
    path = save_audio(tmp_path / "short.wav", music[: round(1.2 * SR)], SR)
    answer = listen(path, classifier)
    assert len(answer.times) <= 2 and 0 < answer.times[0] < answer.seconds == pytest.approx(1.2, abs=0.01)
    with pytest.raises(AudioError, match=r"too-short.wav: .* shorter|too-short.wav: .* fewer than the 1 s"):
        listen(save_audio(tmp_path / "too-short.wav", music[: SR // 2], SR), classifier)
    click = np.zeros(5 * SR, np.float32)
    click[SR : SR + 2000] = 0.5 * (-1.0) ** np.arange(2000)
    with pytest.raises(AudioError, match="click.wav: holds 0.09 s of sound"):
        listen(save_audio(tmp_path / "click.wav", click, SR), classifier)


def test_rules():
    proba = np.array([[0.9, 0.1, 0.0], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1], [0.5, 0.5, 0.0]])
    for rule in RULES:
        np.testing.assert_allclose(combine(proba[1:2], rule), proba[1])
        assert combine(proba, rule).sum() == pytest.approx(1)
    np.testing.assert_allclose(combine(proba, "mean of probabilities"), proba.mean(0))
    logits = torch.log_softmax(torch.randn(7, 3, generator=torch.Generator().manual_seed(0)) * 3, 1)
    np.testing.assert_allclose(combine(logits.exp().numpy(), "mean of logits"), logits.double().mean(0).softmax(0), atol=1e-6)
    np.testing.assert_allclose(combine(proba, "trimmed mean") / combine(proba, "trimmed mean")[0], np.array([0.5, 1.3 / 3, 0.2 / 3]) / 0.5)


def test_abstaining(mlp, tones):
    song = tones / "jazz" / "jazz0.wav"
    low, high = (listen(song, with_threshold(mlp, threshold)) for threshold in (0.2, 0.999999))
    assert low.sure and low.text == "Jazz" and low.genre == "jazz"
    second = high.top(2)[1][0]
    assert not high.sure and high.genre == "jazz" and high.text == f"not sure (jazz or {second}?)"
    assert listen(song, mlp).sure  # a model without a threshold promises nothing and always answers


def with_threshold(classifier, threshold):
    "A copy of the classifier that abstains below a threshold."
    copied = replace(classifier)
    copied.threshold = threshold
    return copied


def test_a_picture_of_the_timeline(mlp, tones):
    answer = listen(tones / "metal" / "metal0.wav", mlp)
    figure = plot_timeline(answer)
    top, bottom = figure.axes
    assert bottom.get_xlabel() == "time (s)" and bottom.get_ylim() == (0, 1) and bottom.get_xlim() == (0, answer.seconds)
    assert top.get_title() == "Metal" and [text.get_text() for text in bottom.get_legend().texts][0].startswith("Metal ")
    matplotlib.pyplot.close(figure)


# ---- long songs


class Ones:
    "A classifier that costs nothing: what it hears are segments of 30 s."

    representation = replace(SongPicture(), sr=8000)
    genres = ("blues", "rock")

    def predict_proba_examples(self, x): return np.full((len(x), 2), 0.5)


def test_two_hours_in_flat_memory(tmp_path, monkeypatch):
    path, sr, hours = tmp_path / "mix.wav", 8000, 2
    noise = np.random.default_rng(0).integers(-9000, 9000, 60 * sr).astype(np.int16)
    with sf.SoundFile(path, "w", sr, 1) as file:
        for _ in range(60 * hours): file.write(noise)
    monkeypatch.setattr(SongPicture, "of_waveform", lambda self, y, sr: np.zeros((max(1, len(y) // (30 * sr)), 1, 128, 387), np.uint8))
    tracemalloc.start()
    answer = listen(path, Ones())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.seconds == 3600 * hours and len(answer.times) == 120 * 2 * hours - 1
    assert np.diff(answer.times) == pytest.approx(15, abs=0.01)
    assert peak < 60e6, f"{peak / 1e6:.0f} MB"  # the song has 230 MB in float32


def test_segments_of_a_long_song_leave_nothing_out(tmp_path):
    representation = Representation("summary", sr=8000, seconds=200.0)
    heard = []

    class Watched(Representation):
        def of_waveform(self, y, sr):
            n = len(y) // (200 * sr)
            heard.extend((int(y[i * 200 * sr] * 2**15 + 0.5), int(y[(i + 1) * 200 * sr - 1] * 2**15 + 0.5)) for i in range(n))
            return np.zeros((n, 26), np.float32)

    watched = Watched(**representation.to_dict())
    second = np.arange(1, 1031, dtype=np.int16).repeat(8000)  # each sample says in which second it lies
    sf.write(tmp_path / "long.wav", second, 8000)
    stream = SoundStream(tmp_path / "long.wav", 8000)
    starts = np.concatenate([begin for begin, _ in stream_segments(stream, watched, overlap=2)])
    assert (starts / 8000).tolist() == [0, 100, 200, 300, 400, 500, 600, 700, 800, 830]
    assert sorted(heard) == [(s + 1, s + 200) for s in (0, 100, 200, 300, 400, 500, 600, 700, 800, 830)]


LEARNED = [Representation("mel", sr=8000), Representation("summary", sr=8000), Representation("picture", sr=8000, seconds=7.0, size=(64, 64))]
CALLED = ["mel", "summary", "picture"]


def long_song(path, seconds, sr=8000):
    "Noise, soft for the first half, and a clap near its end."
    with sf.SoundFile(path, "w", sr, 2) as file:
        for i in range(seconds): file.write(np.random.default_rng(i).normal(0, 0.001 if i < seconds // 2 else 0.1, (sr, 2)))
        file.write(np.full((sr // 4, 2), [0.5, 0.4]))
    return path


@pytest.mark.parametrize("representation", LEARNED, ids=CALLED)
@pytest.mark.parametrize("seconds", [2, 59, 60, 61, 700])
def test_a_collection_is_read_in_blocks_with_the_same_bits(tmp_path, representation, seconds):
    path = long_song(tmp_path / "long.wav", seconds)
    with sf.SoundFile(path) as file: y = file.read(dtype="float32").mean(1)
    np.testing.assert_array_equal(representation.of_file(path), representation.of_waveform(y, 8000))


@pytest.mark.parametrize("seconds", [1, 60, 700])
def test_prepare_reads_in_blocks_with_the_same_bits(tmp_path, seconds):
    path = long_song(tmp_path / "long.wav", seconds, 22050)
    with sf.SoundFile(path) as file: y = file.read(dtype="float32").mean(1)
    made = prepare.compute(path, prepare.KINDS)
    np.testing.assert_array_equal(made["picture"], to_grey(log_mel(y, 22050)))
    for kind in ("summary", "mel"): np.testing.assert_array_equal(made[kind], Representation(kind).of_waveform(y, 22050))


@pytest.mark.parametrize("representation", LEARNED, ids=CALLED)
def test_a_collection_is_read_in_flat_memory(tmp_path, representation):
    path = long_song(tmp_path / "long.wav", 1800)
    representation.of_file(long_song(tmp_path / "short.wav", 2))  # tables of filters
    tracemalloc.start()
    x = representation.of_file(path)
    peak = tracemalloc.get_traced_memory()[1] - 2 * x.nbytes
    tracemalloc.stop()
    assert peak < 45e6, f"{peak / 1e6:.0f} MB"  # the song has 58 MB in float32, its spectrogram 148


@pytest.mark.parametrize("representation", LEARNED, ids=CALLED)
@pytest.mark.parametrize("seconds", [20, 130])
def test_a_tone_above_what_is_left_after_resampling_is_silent(tmp_path, representation, seconds):
    tone = 0.3 * np.sin(2 * np.pi * 9000 * np.arange(24000) / 24000)  # nine periods in 24 samples: goes on without a break
    with sf.SoundFile(tmp_path / "high.wav", "w", 24000, 1, "FLOAT") as file:
        for _ in range(seconds): file.write(tone * np.hanning(24000))
    with pytest.raises(AudioError, match="high.wav: is silent"): representation.of_file(tmp_path / "high.wav")


# ---- the command line


def test_json(model, tones, genre_nbs_cli, tmp_path):
    (tmp_path / "bad.wav").write_text("no song")
    done = genre_nbs_cli("predict", tones / "metal" / "metal0.wav", tmp_path / "bad.wav", "--model", model, "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 2 and set(result) == {"songs", "errors"} and len(result["errors"]) == 1 and "bad.wav" in result["errors"][0]
    (song,) = result["songs"]
    assert set(song) == {"path", "genre", "sure", "proba", "timeline"} and song["sure"] is True and song["genre"] == "metal"
    assert list(song["proba"].values()) == sorted(song["proba"].values(), reverse=True)
    seconds, columns = song["timeline"]["seconds"], song["timeline"]["proba"]
    assert set(columns) == set(GENRES) and all(len(column) == len(seconds) == 5 for column in columns.values())
    np.testing.assert_allclose(np.sum(list(columns.values()), axis=0), 1, atol=1e-3)


def test_not_sure_is_said(model, mlp, tones, genre_nbs_cli, monkeypatch):
    monkeypatch.setattr(songs, "load_model", lambda path: with_threshold(mlp, 0.999999))
    jazz, blues = tones / "jazz" / "jazz0.wav", tones / "blues" / "blues0.wav"
    assert genre_nbs_cli("predict", jazz, "--model", model).stdout.startswith("Not sure (jazz or ")
    assert f"{jazz}: not sure (jazz or " in genre_nbs_cli("predict", jazz, blues, "--model", model).stdout
    (song,) = json.loads(genre_nbs_cli("predict", jazz, "--model", model, "--json").stdout)["songs"]
    assert song["sure"] is False and song["genre"] == "jazz"


def test_folders_patterns_and_top(model, tones, genre_nbs_cli):
    for words in ([tones / "jazz"], [tones / "jazz" / "*.wav"], [tones / "**" / "jazz?.wav"]):
        done = json.loads(genre_nbs_cli("predict", *words, "--model", model, "--json").stdout)
        assert [song["genre"] for song in done["songs"]] == ["jazz"] * 4, words
    assert genre_nbs_cli("predict", tones / "*.nothing", "--model", model).stderr.startswith(f"Error: {tones / '*.nothing'}: no such file")
    line = genre_nbs_cli("predict", tones / "jazz" / "jazz0.wav", "--model", model, "--top", 1).stdout
    assert line.count("%") == 1 and line.startswith("The song genre is Jazz  (Jazz ")


def test_timeline_pictures(model, tones, genre_nbs_cli, tmp_path):
    matplotlib.pyplot.close("all")  # of other tests
    jazz = tones / "jazz"
    assert genre_nbs_cli("predict", jazz / "jazz0.wav", "--model", model, "--timeline", tmp_path / "one.png").returncode == 0
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG") and not matplotlib.pyplot.get_fignums()
    done = json.loads(genre_nbs_cli("predict", jazz, "--model", model, "--timeline", tmp_path / "all.svg", "--json").stdout)
    assert [song["picture"] for song in done["songs"]] == [str(tmp_path / f"all-{i}.svg") for i in (1, 2, 3, 4)]
    assert all((tmp_path / f"all-{i}.svg").is_file() for i in (1, 2, 3, 4))
    for name in ("picture", "picture.txt", model):
        refused = genre_nbs_cli("predict", jazz / "jazz0.wav", "--model", model, "--timeline", name)
        assert refused.returncode == 2 and len(refused.stderr.strip().splitlines()) == 1 and not refused.stdout


def test_500_songs_load_the_model_once(model, mlp, tones, genre_nbs_cli, tmp_path, monkeypatch):
    y = sf.read(tones / "metal" / "metal0.wav", dtype="float32")[0][: round(1.1 * SR)]
    save_audio(tmp_path / "0.wav", y, SR)
    for i in range(1, 500): (tmp_path / f"{i}.wav").symlink_to(tmp_path / "0.wav")
    loads, alive, left = [], weakref.WeakSet(), []

    def watched(song, classifier):
        answer = listen(song, classifier)
        left.append(len(alive))
        alive.add(answer)
        return answer

    monkeypatch.setattr(songs, "load_model", lambda path: loads.append(path) or mlp)
    monkeypatch.setattr(predict, "listen", watched)
    monkeypatch.setattr(songs.SongPrediction, "__hash__", object.__hash__)
    done = json.loads(genre_nbs_cli("predict", tmp_path, "--model", model, "--json").stdout)
    assert len(done["songs"]) == 500 and {song["genre"] for song in done["songs"]} == {"metal"}
    assert len(loads) == 1 and max(left) <= 1


def test_a_bar_from_three_songs_on(mlp, tones, monkeypatch):
    bars = []
    monkeypatch.setattr(predict, "progress_bar", lambda items, total, title: bars.append(total) or items)
    monkeypatch.setattr(predict.sys.stderr, "isatty", lambda: True, raising=False)
    paths = sorted((tones / "jazz").glob("*.wav"))
    for n in (1, 2, 3): predict.predict_songs(mlp, paths[:n])
    assert bars == [3]


HEAVY = {"matplotlib", "seaborn", "sklearn", "IPython", "ipywidgets", "librosa", "numba", "dask", "scipy.stats", "torch._dynamo"}


def heavy_modules(song, *options):
    "What a cold `genre-nbs predict` prints, and which heavy modules it imports."
    code = (
        "import sys; from genre_nbs.app.cli import main\n"
        f"sys.argv = ['genre-nbs', 'predict', {str(song)!r}, *{list(map(str, options))}]\n"
        "try: main()\n"
        f"except SystemExit as end: print(sorted({HEAVY} & set(sys.modules)), end.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return done.stdout.splitlines() or [done.stderr]


def test_nothing_heavy_for_a_network(model, tones):
    *_, last = heavy_modules(tones / "jazz" / "jazz0.wav", "--model", model)
    assert last == "[] None"


def test_nothing_heavy_for_the_model_that_comes_along(tmp_path):
    muffled = np.repeat(np.random.default_rng(0).normal(0, 0.1, 5 * SR // 8), 8)  # the note on high frequencies is part of it
    sf.write(tmp_path / "song.wav", np.convolve(muffled, np.hanning(64) / 32), SR)
    answer, last = heavy_modules(tmp_path / "song.wav")
    assert "kHz" in answer and last == "[] None"


@pytest.mark.slow
def test_a_cold_prediction_takes_little_more_than_pytorch(tmp_path, genre_nbs_cli, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for work would count as processor time, though nobody waits for them
    sf.write(tmp_path / "song.wav", np.random.default_rng(0).normal(0, 0.1, 30 * SR), SR)

    def seconds(start):
        before = os.times()
        start()
        after = os.times()  # processor time, which other work on the machine does not change much
        return after.children_user + after.children_system - before.children_user - before.children_system

    def torch_alone():
        return seconds(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True))

    pairs = [(seconds(lambda: genre_nbs_cli("predict", tmp_path / "song.wav", process=True)), torch_alone()) for _ in range(5)]
    predictions, imports = map(sorted, zip(*pairs, strict=True))
    assert predictions[2] < 1.4 * imports[2]


# ---- formats


def written(folder, name, y, sr):
    "A song in a format by the name of its file: `codec-container.ending`, or what soundfile calls it."
    path = folder / name
    kind = path.stem.split("-")
    if kind[0] in sf.available_formats():
        sf.write(path, y, sr, format=kind[0], subtype=kind[1] if len(kind) > 1 else None)
        return path
    return by_ffmpeg(path, y, sr, kind[0], kind[1], bit_rate=192_000)


BY_SOUNDFILE = ["WAV-PCM_U8.wav", "WAV-PCM_16.wav", "WAV-PCM_24.wav", "WAV-PCM_32.wav", "WAV-FLOAT.wav", "WAV-DOUBLE.wav", "WAV-ULAW.wav",
                "WAVEX-PCM_16.wav", "FLAC-PCM_16.flac", "FLAC-PCM_24.flac", "OGG-VORBIS.ogg", "OGG-OPUS.opus", "MP3-MPEG_LAYER_III.mp3",
                "AU-PCM_16.au", "AIFF-PCM_16.aiff", "AIFF-PCM_24.aif"]  # fmt: skip
BY_FFMPEG = ["aac-ipod.m4a", "aac-mp4.mp4", "aac-adts.aac", "alac-ipod.m4a", "alac-mov.alac", "wmav2-asf.wma", "libopus-webm.webm",
             "libopus-matroska.mka", "libopus-webm.weba", "mp2-mp2.mp2"]  # fmt: skip
WRONG = ["aac-ipod.wav", "MP3-MPEG_LAYER_III.wav", "WAV-PCM_16.mp3", "OGG-VORBIS.m4a", "FLAC-PCM_16.ogg", "wmav2-asf.mp3", "libopus-webm.mp4"]


@pytest.mark.parametrize("name", BY_SOUNDFILE + BY_FFMPEG + WRONG)
def test_formats(name, mlp, tones, tmp_path):
    "Whatever the format, the answer is that of the wav file; wrong endings are read by content."
    import soxr

    y = sf.read(tones / "jazz" / "jazz1.wav", dtype="float32")[0]
    sr = 48000 if "opus" in name.lower() else 44100
    loud = soxr.resample(y, SR, sr)
    plain = listen(tones / "jazz" / "jazz1.wav", mlp)
    stereo = np.stack([loud, 0.5 * loud], 1)
    answer = listen(written(tmp_path, name, stereo, sr), mlp)
    assert answer.genre == "jazz" and answer.seconds == pytest.approx(3, abs=0.15)
    assert np.abs(shown(answer) - shown(plain)).max() < 0.3  # at 192 kbit/s; the tones have weak noise, which codecs leave out


@pytest.mark.parametrize("sr", [8000, 11025, 16000, 32000, 48000, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rates_and_channels(sr, channels, mlp, tones, tmp_path):
    import soxr

    y = soxr.resample(sf.read(tones / "blues" / "blues1.wav", dtype="float32")[0], SR, sr)
    sf.write(tmp_path / "song.wav", np.repeat(y[:, None], channels, 1), sr)
    answer = listen(tmp_path / "song.wav", mlp)
    assert answer.seconds == pytest.approx(3, abs=0.01) and (answer.genre == "blues" or sr < 16000)


def test_through_the_command(model, tones, genre_nbs_cli, tmp_path):
    y = sf.read(tones / "metal" / "metal1.wav", dtype="float32")[0]
    for name in ("aac-ipod.m4a", "wmav2-asf.wma", "FLAC-PCM_16.flac"): written(tmp_path, name, y, SR)
    done = json.loads(genre_nbs_cli("predict", tmp_path, "--model", model, "--json").stdout)
    assert [song["genre"] for song in done["songs"]] == ["metal"] * 3 and done["errors"] == []


# ---- the model that comes along


def test_a_missing_model_is_said_in_one_line(monkeypatch, tmp_path, tones, genre_nbs_cli):
    monkeypatch.setattr(songs, "files", lambda package: tmp_path)
    for words in (("predict", tones / "jazz" / "jazz0.wav"), ("evaluate", tones)):
        done = genre_nbs_cli(*words)
        assert done.returncode == 2 and done.stdout == "" and len(done.stderr.strip().splitlines()) == 1
        assert "gtzan.safetensors" in done.stderr and "--model" in done.stderr and "genre-nbs train" in done.stderr


@pytest.fixture(scope="module")
def shipped():
    try:
        return shipped_model()
    except ValueError:
        pytest.skip("the model that comes with the package is not here yet")


def test_the_shipped_model_by_default(shipped, genre_nbs_cli, music, tmp_path):
    path = save_audio(tmp_path / "song.flac", music, SR)
    plain, named = (json.loads(genre_nbs_cli("predict", path, *words, "--json").stdout) for words in ([], ["--model", shipped_path()]))
    assert plain == named and len(plain["songs"][0]["proba"]) == 10 and plain["songs"][0]["sure"] == listen(path).sure


@pytest.mark.data
def test_the_shipped_model_on_real_songs(shipped, real_data, genre_nbs_cli, tmp_path):
    audio = json.loads(genre_nbs_cli("evaluate", real_data / "gtzan_audio", "--json").stdout)
    assert audio["n"] == 50 and audio["accuracy"] > 0.6
    folder = tmp_path / "pictures"
    for genre in ("blues", "metal"):
        (folder / genre).mkdir(parents=True)
        for path in sorted((real_data / "gtzan_mel" / genre).glob("*.png"))[:5]: (folder / genre / path.name).symlink_to(path)
    pictures = json.loads(genre_nbs_cli("evaluate", folder, "--json").stdout)
    assert pictures["n"] == 10 and pictures["accuracy"] > 0.6
    song = json.loads(genre_nbs_cli("predict", real_data / "gtzan_mel" / "metal" / path.name, "--json").stdout)["songs"][0]
    assert song["timeline"]["seconds"] == [15.0] and set(song) >= {"genre", "sure", "proba"}


# ---- fine-tuning


def test_fine_tuning():
    x = np.random.default_rng(0).integers(0, 80, (60, 1, 128, 52)).astype(np.uint8)
    y = np.arange(60) % 2
    for i in range(60):  # held notes are lines, beats are columns
        if y[i]: x[i, :, :, i % 8 :: 8] = 255
        else: x[i, :, i % 8 :: 8] = 255
    train = Examples(x[:40], y[:40], np.arange(40).astype(str), ("drone", "beat"))
    valid = Examples(x[40:], y[40:], np.arange(20).astype(str), ("drone", "beat"))
    classifier = untrained(PICTURES, grey_cnn)
    before = [p.clone() for p in classifier.network.parameters()]
    tuned, (first, second) = fine_tune(classifier, train, valid, epochs=(20, 16))  # batch normalisation needs about 40 batches
    assert tuned.genres == ("drone", "beat") and len(first.rows) == 20 and len(second.rows) == 16
    assert all(torch.equal(p, q) for p, q in zip(before, classifier.network.parameters()))
    assert (tuned.predict_proba_examples(valid.x).argmax(1) == valid.y).mean() > 0.8
    again, _ = fine_tune(classifier, train, valid, epochs=(20, 16))
    assert all(torch.equal(p, q) for p, q in zip(tuned.network.parameters(), again.network.parameters()))
    with pytest.raises(ValueError, match="fully connected"):
        fine_tune(replace(classifier, network=nn.Sequential(*classifier.network, nn.ReLU())), train)
