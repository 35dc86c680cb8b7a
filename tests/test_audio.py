"Files in and out: faults that no lesson needs."

import base64
import io
import pickle

import numpy as np
import pytest
import soundfile as sf

from genre_nbs import audio
from genre_nbs.audio import load_audio, windows
from genre_nbs.io import decode
from genre_nbs.io.decode import AudioError, save_audio, truncated_bytes

SR = 22050
NOISE = (0.3 * np.random.default_rng(0).standard_normal(3 * SR)).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".wav", 1e-4), (".flac", 1e-4), (".au", 1e-4)])
def test_lossless_round_trip(tmp_path, suffix, tolerance):
    y, sr = load_audio(save_audio(tmp_path / f"a{suffix}", NOISE, SR))
    assert sr == SR and y.dtype == np.float32 and np.abs(y - NOISE).max() < tolerance


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_lossy_round_trip(tmp_path, suffix):
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * SR) / SR)).astype(np.float32)
    y, _ = load_audio(save_audio(tmp_path / f"a{suffix}", tone, SR))
    assert abs(len(y) - len(tone)) < 2500
    peak = np.abs(np.fft.rfft(y[SR : 2 * SR])).argmax()
    assert peak == 440 and 0.45 < np.abs(y[SR : 2 * SR]).max() < 0.55


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".au"])
def test_same_samples_same_bytes(tmp_path, suffix, monkeypatch):
    first = save_audio(tmp_path / f"a{suffix}", NOISE, SR).read_bytes()
    assert save_audio(tmp_path / f"b{suffix}", NOISE, SR).read_bytes() == first


def test_ogg_serial_is_what_differed(tmp_path):
    sf.write(tmp_path / "raw.ogg", NOISE, SR)
    raw = (tmp_path / "raw.ogg").read_bytes()
    cleaned = decode.ogg_without_serial(raw)
    assert raw[14:18] != bytes(4) and cleaned[14:18] == bytes(4) and len(raw) == len(cleaned)
    assert decode.ogg_without_serial(cleaned) == cleaned
    (tmp_path / "clean.ogg").write_bytes(cleaned)
    np.testing.assert_array_equal(sf.read(tmp_path / "clean.ogg")[0], sf.read(tmp_path / "raw.ogg")[0])


def test_ogg_checksum_of_libogg(tmp_path):
    sf.write(tmp_path / "raw.ogg", NOISE, SR)
    raw = bytearray((tmp_path / "raw.ogg").read_bytes())
    size = 27 + raw[26] + sum(raw[27 : 27 + raw[26]])
    page, stored = raw[:size], raw[22:26]
    page[22:26] = bytes(4)
    assert decode.ogg_crc(page).to_bytes(4, "little") == stored


def test_failed_write_leaves_nothing(tmp_path):
    with pytest.raises((ValueError, RuntimeError)):
        save_audio(tmp_path / "a.wav", NOISE, -5)
    with pytest.raises(ValueError, match="cannot write .xyz"):
        save_audio(tmp_path / "a.xyz", NOISE, SR)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".au"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_cut_files_are_noticed(tmp_path, suffix, share):
    path = save_audio(tmp_path / f"a{suffix}", NOISE, SR)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(AudioError) as caught:
        load_audio(path)
    assert caught.value.path == str(path) and caught.value.reason and "\n" not in str(caught.value)


def test_open_ended_wav_header_is_fine(tmp_path):
    path = save_audio(tmp_path / "a.wav", NOISE, SR)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4  # as ffmpeg writes to a pipe
    path.write_bytes(data)
    assert truncated_bytes(path) == 0 and len(load_audio(path)[0]) == len(NOISE)


@pytest.mark.parametrize(("samples", "reason"), [([], "no samples"), ([0.0] * SR, "silent"), ([np.nan] * SR, "not finite"), ([np.inf] * SR, "not finite")])
def test_unusable_samples(tmp_path, samples, reason):
    sf.write(tmp_path / "a.wav", np.array(samples, np.float32), SR, subtype="FLOAT")
    with pytest.raises(AudioError, match=reason):
        load_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\0" * 5000, b"fLaC" + b"\xff" * 500, b"OggS" + b"\0" * 100, b"ID3" + b"\x80" * 200])
def test_junk_never_gets_through(tmp_path, content):
    for suffix in decode.AUDIO_SUFFIXES:
        path = tmp_path / f"junk{suffix}"
        path.write_bytes(content)
        with pytest.raises(AudioError) as caught:
            load_audio(path)
        assert "\n" not in str(caught.value)


def test_missing_folder_and_short(tmp_path):
    for path, reason in ((tmp_path / "no.wav", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(AudioError, match=reason):
            load_audio(path)
    with pytest.raises(AudioError, match="shorter than the 5 s"):
        load_audio(save_audio(tmp_path / "a.wav", NOISE, SR), min_seconds=5)


def test_stereo_44100_mp3(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * 44100) / 44100)
    sf.write(tmp_path / "a.mp3", np.stack([tone, tone], 1), 44100)
    y, sr = load_audio(tmp_path / "a.mp3", sr=22050)
    assert y.ndim == 1 and abs(len(y) - 2 * 22050) < 2500 and np.abs(np.fft.rfft(y[: 22050])).argmax() == 1000


def test_offset_and_duration(tmp_path):
    path = save_audio(tmp_path / "a.flac", NOISE, SR)
    part, _ = load_audio(path, offset=1.0, duration=0.5)
    np.testing.assert_allclose(part, NOISE[SR : SR + SR // 2], atol=1e-4)
    with pytest.raises(AudioError, match="no samples"):
        load_audio(path, offset=100.0)


def test_windows_refuse_nonsense():
    with pytest.raises(ValueError, match="positive"):
        windows(NOISE, SR, 0)
    with pytest.raises(ValueError, match="positive"):
        windows(NOISE, SR, 1, hop_seconds=-1)
    with pytest.raises(AudioError, match="shorter"):
        windows(NOISE, SR, 10)


def test_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(AudioError("a.wav", "is silent")))  # what joblib does with it
    assert (error.path, error.reason, str(error)) == ("a.wav", "is silent", "a.wav: is silent")


def test_player_escapes_its_title():
    shown = audio.play(NOISE, SR, "<script>alert(1)</script>", seconds=1).data
    assert "<script>" not in shown and "&lt;script&gt;" in shown and len(shown) < 20_000


def test_players_stand_in_a_grid():
    shown = audio.players([NOISE, NOISE], SR, ["<b>one</b>", "two"], seconds=1, columns=3).data
    assert shown.count("<audio") == 2 and "repeat(3,1fr)" in shown
    assert "&lt;b&gt;one" in shown and shown.index("one") < shown.index("two")


def test_player_keeps_both_channels():
    stereo = np.stack([NOISE, 0 * NOISE], axis=1)
    data = audio.play(stereo, SR, seconds=1).data.split("base64,")[1].split('"')[0]
    y, sr = sf.read(io.BytesIO(base64.b64decode(data)), always_2d=True)
    assert sr == SR and y.shape[1] == 2
    assert np.abs(y[:, 1]).max() < 0.1 * np.abs(y[:, 0]).max()
