"Feature values against librosa where the notebook does not go: odd lengths, other rates, silence, bad input, memory."

import subprocess
import sys

import librosa
import numpy as np
import pytest

from genre_nbs import features as f

N_FFT, HOP = 2048, 512
RATES, LENGTHS = (8000, 22050, 44100), (1, 2, 100, 511, 512, 1023, 1024, 2047, 2048, 2049, 30001)


def song(n, sr, seed=0):
    "Chords, noise and a decay: something for every family to hear."
    rng, t = np.random.default_rng(seed), np.arange(n) / sr
    tones = sum(np.sin(2 * np.pi * f0 * t + rng.uniform(0, 6)) for f0 in (110.5, 277.9, 663.1, 1761.0))
    return ((0.1 * tones + 0.02 * rng.standard_normal(n)) * np.exp(-t)).astype(np.float32)


def reference(y, sr, pad_mode="constant"):
    "The nine families from librosa."
    g, S = librosa.feature, np.abs(librosa.stft(y, pad_mode=pad_mode))
    chroma, bands = g.chroma_stft(S=S**2, sr=sr), 6 if sr > 12800 else int(np.ceil(np.log2(sr / 400)))
    return dict(
        mfcc=g.mfcc(S=librosa.power_to_db(g.melspectrogram(S=S**2, sr=sr))),
        chroma_stft=chroma,
        zero_crossing_rate=g.zero_crossing_rate(y),
        spectral_centroid=g.spectral_centroid(S=S, sr=sr),
        spectral_contrast=g.spectral_contrast(S=S, sr=sr, n_bands=bands),
        spectral_rolloff=g.spectral_rolloff(S=S, sr=sr),
        spectral_bandwidth=g.spectral_bandwidth(S=S, sr=sr),
        tonnetz=g.tonnetz(chroma=chroma),
        rms=g.rms(y=y, pad_mode=pad_mode),
    )


def assert_same(ours, theirs):
    for name, x in theirs.items():
        assert ours[name].shape == x.shape and ours[name].dtype == np.float32, name
        np.testing.assert_allclose(ours[name], x, rtol=1e-4, atol=1e-5 * max(np.abs(x).max(), 1e-9), err_msg=name)


@pytest.mark.parametrize("sr", RATES)
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.filterwarnings("ignore:Trying to estimate tuning")
@pytest.mark.filterwarnings("ignore:Empty filters detected")
def test_values_are_those_of_librosa(n, sr):
    y = song(n, sr)
    assert_same(f.all_features(y, sr), reference(y, sr))


def test_mirrored_ends_are_those_of_older_librosa():
    y = song(30001, 22050)
    a = f.Analysis(y, 22050, pad_mode="reflect")
    assert_same({name: family(a) for name, family in f.FAMILIES.items()}, reference(y, 22050, "reflect"))


@pytest.mark.parametrize("n_fft, hop_length", [(512, 128), (1024, 300), (4096, 1000), (2048, 3000)])
def test_other_frames(n_fft, hop_length):
    y, sr, g = song(20000, 22050), 22050, librosa.feature
    a, settings = f.Analysis(y, sr, n_fft, hop_length), dict(n_fft=n_fft, hop_length=hop_length)
    theirs = dict(
        mfcc=g.mfcc(y=y, sr=sr, **settings),
        chroma_stft=g.chroma_stft(y=y, sr=sr, **settings),
        zero_crossing_rate=g.zero_crossing_rate(y, frame_length=n_fft, hop_length=hop_length),
        spectral_rolloff=g.spectral_rolloff(y=y, sr=sr, **settings),
        spectral_contrast=g.spectral_contrast(y=y, sr=sr, **settings),
        rms=g.rms(y=y, frame_length=n_fft, hop_length=hop_length),
    )
    assert_same({name: f.FAMILIES[name](a) for name in theirs}, theirs)


def test_tuning_is_that_of_librosa():
    t = np.arange(22050) / 22050
    for seed in range(12):
        rng = np.random.default_rng(seed)
        notes, loudness = rng.uniform(50, 95, 12), rng.uniform(0.02, 0.1, 12)
        y = sum(a * np.sin(2 * np.pi * 440 * 2 ** ((n - 69) / 12) * t) for n, a in zip(notes, loudness)).astype(np.float32)
        a = f.Analysis(y, 22050)
        assert f.estimate_tuning(a) == librosa.estimate_tuning(S=a.power.T, sr=22050), seed


def test_the_sample_rate_is_never_assumed():
    for sr in (16000, 22050, 44100, 96000):
        a = f.Analysis(np.sin(2 * np.pi * 5000 * np.arange(sr) / sr), sr)
        inner = slice(4, -4)
        assert np.allclose(f.spectral_centroid(a)[0, inner], 5000, atol=10), sr
        assert np.allclose(f.spectral_rolloff(a)[0, inner], 5000, atol=2 * sr / N_FFT), sr
        assert np.allclose(f.zero_crossing_rate(a)[0, inner], 10000 / sr, atol=2 / N_FFT), sr


@pytest.mark.filterwarnings("ignore:Trying to estimate tuning")
def test_silence_is_finite_and_as_in_librosa():
    y = np.zeros(10000, np.float32)
    features = f.all_features(y, 22050)
    assert_same(features, reference(y, 22050))
    assert np.isfinite(list(f.feature_statistics(features).values())).all()


def test_statistics_are_those_of_scipy():
    from scipy import stats

    x = np.random.default_rng(0).gamma(2, size=(5, 400)).astype(np.float32)
    for name, theirs in dict(mean=x.mean(1), std=x.std(1), skew=stats.skew(x, axis=1), kurtosis=stats.kurtosis(x, axis=1),
                             median=np.median(x, 1), min=x.min(1), max=x.max(1)).items():
        np.testing.assert_allclose(f.statistic(x, name), theirs, rtol=1e-4)
    assert f.statistic(np.full((1, 9), 0.1), "skew") == f.statistic(np.full((1, 9), 0.1), "kurtosis") == 0
    assert f.feature_statistics({"rms": np.array([[1.0, 3.0]])}, ("mean", "max")) == {"rms_mean_01": 2.0, "rms_max_01": 3.0}
    with pytest.raises(ValueError, match="unknown statistic 'mode'"):
        f.feature_statistics({"rms": x}, ["mode"])


@pytest.mark.parametrize("y, complaint", [
    (np.zeros(0, np.float32), "no samples"),
    (np.zeros((2, 9999), np.float32), "mono"),
    (np.zeros(9999, np.int16), "floating point"),
    (np.r_[np.zeros(999), np.nan], "not finite"),
    (np.r_[np.zeros(999), np.inf], "not finite"),
])
def test_bad_waveforms_get_one_clear_line(y, complaint):
    with pytest.raises(ValueError, match=complaint) as error:
        f.all_features(y, 22050)
    assert "\n" not in str(error.value)


def test_bad_settings_get_one_clear_line():
    y = song(4000, 22050)
    for settings in (dict(n_fft=2047), dict(n_fft=0), dict(hop_length=0)):
        with pytest.raises(ValueError):
            f.all_features(y, 22050, **settings)
    for sr in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="must be positive"):
            f.Analysis(y, sr)
    with pytest.raises(ValueError, match="do not fit below"):
        f.spectral_contrast(f.Analysis(y, 8000), n_bands=6)


def test_summary_of_a_batch_is_that_of_each_clip():
    clips = np.stack([song(22050, 22050, seed) * 0.5**seed for seed in range(4)])
    batch = f.mfcc_summary(clips, 22050)
    assert batch.shape == (4, 26) and batch.dtype == np.float32
    for clip, row in zip(clips, batch):
        assert (f.mfcc_summary(clip, 22050) == row).all()
        theirs = librosa.feature.mfcc(y=clip, sr=22050, n_mfcc=13)
        np.testing.assert_allclose(row, np.r_[theirs.mean(1), theirs.std(1)], rtol=1e-4, atol=1e-3)
    assert f.mfcc_summary(clips[:0], 22050).shape == (0, 26)


def test_input_is_left_alone_and_results_repeat_to_the_bit():
    y = song(30000, 22050)
    before = y.copy()
    first, second = f.all_features(y, 22050), f.all_features(y, 22050)
    assert (y == before).all() and all((first[name] == second[name]).all() for name in first)
    y.flags.writeable = False
    f.all_features(y, 22050)
    assert all((f.all_features(y.astype(float), 22050)[name] == first[name]).all() for name in first)


def test_neither_torch_nor_librosa_is_imported():
    code = "import sys, genre_nbs.features, genre_nbs.spectrograms; print([m for m in ('torch', 'librosa', 'matplotlib', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.data
def test_real_songs(request):
    import os
    from pathlib import Path

    data = os.environ.get("GENRE_NBS_DATA")
    if not data:
        pytest.skip("GENRE_NBS_DATA is not set")
    from genre_nbs.audio import load_audio

    for path in sorted((Path(data) / "gtzan_audio").glob("*/*.00000.wav")):
        y, sr = load_audio(path, sr=None)
        assert_same(f.all_features(y, sr), reference(y, sr))


def test_a_reference_below_the_floor_counts_as_the_floor():
    assert f.power_to_db(np.array([1e-12, 1.0]), ref=1e-30, top_db=200.0) == pytest.approx([0.0, 100.0])  # the floor is 1e-10
    assert f.power_to_db(np.zeros(3), ref=0.0) == pytest.approx([0.0] * 3)
