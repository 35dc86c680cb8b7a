"Song files of every kind, whole, cut, joined, mislabelled and forged: read whole, or put aside with a reason."

import errno
import io
import os
import struct
import subprocess
import sys
import wave

import av
import numpy as np
import pytest
import soundfile as sf
import soxr
from PIL import Image

from genre_nbs.fast.spectra import check_signal
from genre_nbs.io import containers, decode, mp3, pictures
from genre_nbs.io.decode import AudioError, check_waveform, read_blocks, read_samples, save_audio
from genre_nbs.io.ffmpeg import sound_decoders
from genre_nbs.io.pictures import PictureError, read_picture
from genre_nbs.io.readers import channel_to_take

SR = 22050
PYAV = int(av.__version__.split(".")[0])
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs permissions of POSIX")


def tone(frequency=440, seconds=3.0, sr=SR, level=0.5):
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * sr)) / sr)).astype(np.float32)


def pitch(y, sr=SR):
    "Frequency of the strongest partial, in Hz."
    return np.abs(np.fft.rfft(y * np.hanning(len(y)))).argmax() * sr / len(y)


def by_ffmpeg(path, y, sr, codec, container=None, bit_rate=64000, **options):
    "Write (samples,) or (samples, channels) with one of FFmpeg's encoders."
    y = np.atleast_2d(y.T).astype(np.float32)
    layout = {1: "mono", 2: "stereo"}[len(y)]
    with av.open(str(path), "w", format=container, options=options) as out:
        stream = out.add_stream(codec, rate=sr)
        stream.codec_context.layout = layout
        if codec not in ("alac", "flac") and not codec.startswith("pcm"):
            stream.codec_context.bit_rate = bit_rate
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(y), format="fltp", layout=layout)
        frame.sample_rate = sr
        resampler = av.AudioResampler(stream.codec_context.format, layout, sr, stream.codec_context.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux([packet for packet in stream.encode(None) if packet.size])
    return path


def mp3_bytes(*songs, sr=SR, bit_rate="CONSTANT", level=0.5):
    "Songs one after the other, each an mp3 file of its own."
    data = b""
    for song in songs:
        target = io.BytesIO()
        sf.write(target, song, sr, format="MP3", bitrate_mode=bit_rate, compression_level=level)
        data += target.getvalue()
    return data


def without_total(data):
    "An mp3 file without the first frame, in which the encoder wrote its total."
    head = mp3.frame_header(data[1], data[2])
    assert b"Xing" in data[: head[0]] or b"Info" in data[: head[0]]
    return data[head[0] :]


def patched(path, place, data):
    whole = bytearray(path.read_bytes())
    whole[place : place + len(data)] = data
    path.write_bytes(whole)
    return path


def refused(path, *words, **kwargs):
    with pytest.raises(AudioError) as caught:
        read_samples(path, **kwargs)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), caught.value
    return caught.value.reason


# ---- kinds


KINDS = [
    ("a.m4a", "aac", None, 44100), ("a.mp4", "alac", "mp4", 44100), ("a.aac", "aac", "adts", 44100), ("a.wma", "wmav2", "asf", 44100),
    ("a.webm", "libopus", None, 48000), ("a.opus", "libopus", "ogg", 48000), ("a.oga", "flac", "ogg", 44100), ("a.aiff", "pcm_s16be", None, SR),
    ("a.mka", "pcm_s24le", "matroska", SR), ("a.mkv", "pcm_u8", "matroska", SR), ("a.mov", "pcm_s32le", "mov", SR), ("a.caf", "alac", "caf", SR),
    ("a.mp2", "mp2", "mp2", 44100), ("b.mka", "pcm_f64le", "matroska", SR), ("a.wv", "wavpack", "wv", 44100), ("a.3gp", "aac", "3gp", 44100),
    ("a.flv", "aac", "flv", 44100),
]  # fmt: skip


def test_flv_is_refused_where_ffmpeg_would_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "__version__", "17.1.0")
    with pytest.raises(AudioError, match="flv is read with PyAV 18 or newer"):
        read_samples(by_ffmpeg(tmp_path / "a.flv", tone(sr=44100), 44100, "aac", "flv"))


@pytest.mark.parametrize(("name", "codec", "container", "sr"), KINDS)
@pytest.mark.parametrize("ending", [None, ".mp3", ""])
def test_kinds_by_content(tmp_path, name, codec, container, sr, ending):
    if name.endswith(".flv") and PYAV < 18:
        pytest.skip("FFmpeg of an older PyAV crashes")
    path = by_ffmpeg(tmp_path / name, np.stack([tone(440, sr=sr), tone(440, sr=sr)], 1), sr, codec, container)
    if ending is not None:
        path = path.rename(tmp_path / f"named{ending}")
    y, own = read_samples(path)
    assert own == sr and abs(len(y) / sr - 3) < 0.1 and abs(pitch(y, sr) - 440) < 1
    assert 0.45 < np.abs(y[sr : 2 * sr]).max() < 0.55
    assert (tmp_path / name).suffix in decode.AUDIO_SUFFIXES  # so that a folder is searched for what is read
    part, _ = read_samples(path, offset=1.0, duration=0.5, sr=SR)
    assert abs(len(part) - SR / 2) <= 1 and abs(pitch(part) - 440) < 2


def test_lossless_kinds_are_exact(tmp_path):
    x = np.round(tone() * 2**15).astype(np.float32) / 2**15
    for name, codec, container in (("a.m4a", "alac", None), ("a.mkv", "pcm_s16le", "matroska"), ("b.mkv", "pcm_f32le", "matroska")):
        y, _ = read_samples(by_ffmpeg(tmp_path / name, x, SR, codec, container))
        assert np.abs(y[: len(x)] - x).max() < 4e-5, name  # a step of 16 bits is 3e-5


@pytest.mark.parametrize(("name", "codec", "channels"), [("a.m4a", "aac", 8), ("a.mka", "libopus", 8), ("a.wv", "wavpack", 16)])
def test_songs_of_many_channels(tmp_path, name, codec, channels):
    "PyAV finds nine planes in a frame of eight channels, and reads where nothing is."
    layout = {8: "7.1", 16: "hexadecagonal"}[channels]
    frame = av.AudioFrame.from_ndarray(np.repeat(tone(sr=48000), channels)[None], format="flt", layout=layout)
    frame.sample_rate = 48000
    with av.open(str(tmp_path / name), "w") as out:
        stream = out.add_stream(codec, rate=48000)
        stream.codec_context.layout = layout
        stream.codec_context.open()
        resampler = av.AudioResampler(stream.codec_context.format, layout, 48000, stream.codec_context.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux([packet for packet in stream.encode(None) if packet.size])
    code = "import sys; from genre_nbs.io.decode import read_samples; y, sr = read_samples(sys.argv[1]); print(len(y), abs(y).max())"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, timeout=60)  # it may crash
    assert done.returncode == 0, done
    n, loudest = map(float, done.stdout.split())
    assert abs(n / 48000 - 3) < 0.1 and 0.4 < loudest < (0.6 if PYAV >= 16 else 0.8)  # older AAC coders: 0.77


def test_numbers_that_are_infinite_in_32_bits_are_refused_without_a_warning(tmp_path, recwarn):
    path = by_ffmpeg(tmp_path / "a.mkv", tone(), SR, "pcm_f64le", "matroska")
    data = path.read_bytes()
    patched(path, len(data) // 2, b"\x7e" * 800)  # 1e301 each, wherever one begins
    refused(path, "not finite")
    assert not recwarn.list


def test_a_damaged_dump_of_a_sampler_prints_nothing(tmp_path, capfd):
    sf.write(tmp_path / "a.sds", tone(sr=8000), 8000, format="SDS", subtype="PCM_16")
    data = bytearray((tmp_path / "a.sds").read_bytes())
    data[1000:5000] = bytes(4000)
    (tmp_path / "a.wav").write_bytes(data)
    refused(tmp_path / "a.wav", "dump of a sampler")
    assert capfd.readouterr() == ("", "")


def test_gsm_as_in_voice_mail(tmp_path):
    sf.write(tmp_path / "gsm.wav", tone(sr=8000), 8000, subtype="GSM610")
    y, sr = read_samples(tmp_path / "gsm.wav")
    assert sr == 8000 and abs(len(y) / sr - 3) < 0.1 and abs(pitch(y, sr) - 440) < 1


def test_a_playlist_opens_nothing(tmp_path):
    by_ffmpeg(tmp_path / "secret.m4a", tone(), SR, "aac")
    for text in ("#EXTM3U\n#EXTINF:3,\nsecret.m4a\n", "ffconcat version 1.0\nfile secret.m4a\n"):
        (tmp_path / "list.mp3").write_text(text)
        refused(tmp_path / "list.mp3", "Format not recognised")


def test_suffixes():
    assert set(decode.WRITTEN_SUFFIXES) == {".wav", ".au", ".flac", ".ogg", ".mp3"}
    assert {".m4a", ".mp4", ".aac", ".opus", ".wma", ".webm", ".aiff", ".aif", ".oga"} | set(decode.WRITTEN_SUFFIXES) <= set(decode.AUDIO_SUFFIXES)


def test_only_what_can_be_written_is_written(tmp_path):
    with pytest.raises(ValueError, match="cannot write .m4a"):
        save_audio(tmp_path / "a.m4a", tone(), SR)


# ---- mp3


def test_variable_bit_rate_without_a_total(tmp_path):
    loud = np.random.default_rng(0).uniform(-0.9, 0.9, 2 * 44100).astype(np.float32)
    quiet = tone(300, 8, 44100, 0.01)
    for name, x in (("loud", np.r_[loud, quiet]), ("quiet", np.r_[quiet, loud])):
        path = tmp_path / f"{name}.mp3"
        path.write_bytes(without_total(mp3_bytes(x, sr=44100, bit_rate="VARIABLE")))
        y, sr = read_samples(path)
        assert sr == 44100 and abs(len(y) / sr - 10) < 0.1
        end = y[-sr:] if name == "loud" else y[:sr]
        assert abs(pitch(end, sr) - 300) < 2


def test_joined_mp3(tmp_path):
    path = tmp_path / "joined.mp3"
    path.write_bytes(mp3_bytes(tone(440, 2), tone(660, 2)) + b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + mp3_bytes(tone(880, 2)))
    y, sr = read_samples(path)
    assert abs(len(y) / sr - 6) < 0.3
    for start, frequency in ((0.5, 440), (2.6, 660), (4.7, 880)):
        assert abs(pitch(y[round(start * sr) : round((start + 1) * sr)]) - frequency) < 2
    path.write_bytes(path.read_bytes()[: -len(mp3_bytes(tone(880, 2))) // 2])
    refused(path, "cut off")


def test_joined_mp3_of_two_rates_and_channels(tmp_path):
    path = tmp_path / "joined.mp3"
    path.write_bytes(mp3_bytes(tone(440, 3)) + mp3_bytes(np.stack([tone(660, 3, 44100)] * 2, 1), sr=44100))
    y, sr = read_samples(path)
    assert sr == SR and abs(len(y) / sr - 6) < 0.3 and abs(pitch(y[-2 * sr : -sr]) - 660) < 2
    blocks = list(read_blocks(path, 16000, 1.0))
    assert {len(block) for block in blocks[:-1]} == {16000} and abs(pitch(blocks[4], 16000) - 660) < 2


def test_frames_are_counted(tmp_path):
    data = mp3_bytes(tone())
    counted = mp3.count_frames(io.BytesIO(data))
    assert counted.sr == SR and counted.missing == 0 and 0 <= counted.samples - 3 * SR < 4 * 576
    tagged = b"ID3\3\0\0\0\0\7\x68" + b"\xff\xfb\x90\0" * 250 + data + b"TAG" + b"\xff\xfb\x90\0" * 31 + b"\0"
    assert mp3.count_frames(io.BytesIO(tagged)) == counted  # headers within tags are no frames
    assert mp3.count_frames(io.BytesIO(data[: len(data) // 2])).missing > SR
    assert mp3.count_frames(io.BytesIO(b"")) == (0, 0, 0, False)


def test_frame_lengths_of_the_standard():
    assert mp3.frame_header(0xFB, 0x90) == (417, 1152, 44100)  # MPEG-1 layer 3, 128 kbit/s
    assert mp3.frame_header(0xFB, 0x92) == (418, 1152, 44100)  # with padding
    assert mp3.frame_header(0xF3, 0x80) == (208, 576, 22050)  # MPEG-2 layer 3, 64 kbit/s
    assert mp3.frame_header(0xFD, 0x84) == (384, 1152, 48000)  # MPEG-1 layer 2, 128 kbit/s
    assert mp3.frame_header(0xFF, 0x10) == (32, 384, 44100)  # MPEG-1 layer 1, 32 kbit/s: 12 * 32000 // 44100 slots of 4 bytes
    assert mp3.frame_header(0xE3, 0x80) == (417, 576, 11025)  # MPEG-2.5
    assert [mp3.frame_header(*two) for two in ((0xFB, 0), (0xFB, 0xF0), (0xFB, 0x9C), (0xF9, 0x90), (0xEB, 0x90))] == [None] * 5


def test_covers_and_tags_do_no_harm(tmp_path):
    cover = io.BytesIO()
    Image.effect_noise((300, 300), 90).save(cover, "JPEG")
    text = b"\0image/jpeg\0\3\0" + cover.getvalue()
    frame = b"APIC" + len(text).to_bytes(4, "big") + b"\0\0" + text
    size = len(frame)
    tag = b"ID3\3\0\0" + bytes(size >> 7 * i & 127 for i in (3, 2, 1, 0)) + frame
    data = mp3_bytes(tone())
    for name, content in (("plain", data), ("id3", tag + data), ("two", tag + tag + data), ("end", data + b"TAG" + bytes(125))):
        (tmp_path / f"{name}.mp3").write_bytes(content)
        y, _ = read_samples(tmp_path / f"{name}.mp3")
        assert abs(len(y) - 3 * SR) < 600 and abs(pitch(y) - 440) < 1, name


@pytest.mark.parametrize("kind", ["mp3", "mov"])
def test_a_huge_cover_is_not_unpacked(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    with av.open(str(path), "w") as out:
        sound, picture = out.add_stream("libmp3lame" if kind == "mp3" else "aac", rate=44100), out.add_stream("png", rate=1)
        picture.width = picture.height = 8000
        picture.pix_fmt = "gray"
        frame = av.VideoFrame.from_ndarray(np.zeros((8000, 8000), np.uint8), format="gray")
        frame.pts = 0
        sound.codec_context.layout = "mono"
        samples = av.AudioFrame.from_ndarray(tone(sr=44100)[None, :44032], format="fltp", layout="mono")
        samples.sample_rate = 44100
        try:
            out.mux(picture.encode(frame))
        except (ValueError, av.error.FFmpegError):
            pytest.skip("this FFmpeg writes no such picture")
        resampler = av.AudioResampler(sound.codec_context.format, "mono", 44100, 1152 if kind == "mp3" else 1024)
        for piece in resampler.resample(samples):
            out.mux(sound.encode(piece))
        out.mux(sound.encode(None))
    y, sr = read_samples(path)
    assert abs(pitch(y, sr) - 440) < 2
    names = sound_decoders().split(",")  # whatever asks FFmpeg for the picture is told no
    assert {"aac", "alac", "libopus", "mp3float", "wmav2"} <= {*names} and not {"png", "mjpeg", "h264"} & {*names}


def frames_of(data):
    "The frames of an mp3 file without tags."
    frames = []
    while data:
        n = mp3.frame_header(data[1], data[2])[0]
        frames.append(data[:n])
        data = data[n:]
    return frames


@pytest.mark.parametrize("kind", ["Xing", "VBRI"])
@pytest.mark.parametrize("share", [0.1, 2, 1e6])
def test_a_total_of_frames_that_lies(tmp_path, kind, share):
    "The total of bytes beside it is right, so nothing is missing."
    x = np.r_[tone(300, 4, 44100, 0.02), np.random.default_rng(0).uniform(-0.9, 0.9, 88200).astype(np.float32)]
    first, *rest = frames_of(mp3_bytes(x, sr=44100, bit_rate="VARIABLE"))
    n, size = int(len(rest) * share), sum(map(len, rest))
    if kind == "Xing":
        place = first.index(b"Xing") + 4
        first = first[:place] + struct.pack(">III", 3, n, size) + first[place + 12 :]
    else:
        first = (b"\xff\xfb\x90\xc4" + bytes(32) + b"VBRI" + struct.pack(">HHHII", 1, 0, 0, size, n)).ljust(417, b"\0")
    (tmp_path / "a.mp3").write_bytes(first + b"".join(rest))
    y, sr = read_samples(tmp_path / "a.mp3")
    assert abs(len(y) / sr - 6) < 0.1 and abs(pitch(y[: 2 * sr], sr) - 300) < 2
    (tmp_path / "a.mp3").write_bytes(first + b"".join(rest[: len(rest) // 2]))
    if share > 1:
        refused(tmp_path / "a.mp3", "cut off")


JUNK = {"noise": np.random.default_rng(0).bytes(60_000), "ones": b"\xff" * 60_000, "zeros": bytes(60_000), "lyrics": b"LYRICSBEGIN" + b"la " * 500 + b"001511LYRICS200"}


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("where", ["front", "middle", "end"])
def test_an_mp3_with_other_bytes_between_its_frames(tmp_path, junk, where):
    "libsndfile says 'unspecified internal error'."
    frames = [*frames_of(without_total(mp3_bytes(tone(440, 2)))), *frames_of(without_total(mp3_bytes(tone(660, 2))))]
    place = {"front": 0, "middle": len(frames) // 2, "end": len(frames)}[where]
    (tmp_path / "a.mp3").write_bytes(b"".join([*frames[:place], JUNK[junk], *frames[place:]]))
    y, sr = read_samples(tmp_path / "a.mp3")
    assert abs(len(y) / sr - 4) < 0.3 and abs(pitch(y[sr // 2 : 3 * sr // 2]) - 440) < 2 and abs(pitch(y[-3 * sr // 2 : -sr // 2]) - 660) < 2


def test_a_tag_that_claims_more_than_the_file(tmp_path):
    (tmp_path / "a.mp3").write_bytes(b"ID3\4\0\0\x7f\x7f\x7f\x7f" + mp3_bytes(tone()))
    y, sr = read_samples(tmp_path / "a.mp3")
    assert abs(len(y) / sr - 3) < 0.1 and abs(pitch(y) - 440) < 1


@pytest.mark.parametrize("suffix", [".wav", ".m4a", ".aiff", ".flac", ".ogg"])
def test_a_tag_in_front_of_any_kind(tmp_path, suffix):
    path = by_ffmpeg(tmp_path / "a.m4a", tone(), SR, "aac") if suffix == ".m4a" else tmp_path / f"a{suffix}"
    if suffix != ".m4a":
        sf.write(path, tone(), SR)
    path.write_bytes(b"ID3\4\0\0\0\0\1\0" + bytes(128) + path.read_bytes())
    y, sr = read_samples(path)
    assert abs(len(y) / sr - 3) < 0.1 and abs(pitch(y) - 440) < 1
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "cut off")


# ---- wav and its relatives


def wav(data, fmt=None, promised=None, whole=None, riff=b"RIFF", tail=b""):
    "A wav file by hand: `data` behind a head that promises what it likes."
    fmt = fmt or struct.pack("<HHIIHH", 1, 1, SR, 2 * SR, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data) if promised is None else promised) + data + tail
    return riff + struct.pack("<I", len(body) if whole is None else whole) + body


SAMPLES = (np.round(tone() * 2**15)).astype("<i2").tobytes()


@pytest.mark.parametrize("promised, whole", [(0, None), (36, 72), (1000, None), (len(SAMPLES) // 2, None), (len(SAMPLES) // 3, len(SAMPLES) // 3 + 36), (1, 37)])
def test_a_wav_that_promises_too_little(tmp_path, promised, whole):
    (tmp_path / "a.wav").write_bytes(wav(SAMPLES, promised=promised, whole=whole))
    y, sr = read_samples(tmp_path / "a.wav")
    np.testing.assert_allclose(y, tone(), atol=1e-4)


@pytest.mark.parametrize("tail", [b"TAG" + b"t" * 125, np.random.default_rng(0).bytes(3000), b"LIST\x0e\0\0\0INFOISFT\2\0\0\0ab", wav(SAMPLES)])
def test_what_hangs_on_a_wav_is_no_sound(tmp_path, tail):
    (tmp_path / "a.wav").write_bytes(wav(SAMPLES) + tail)
    assert len(read_samples(tmp_path / "a.wav")[0]) == 3 * SR


@pytest.mark.parametrize("bit_rate", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("promised", [None, 0, 2**32 - 1])
def test_mp3_in_a_wav(tmp_path, bit_rate, promised):
    "Coding 0x55: of a variable bit rate libsndfile read the beginning, and said nothing."
    x = np.r_[np.random.default_rng(0).uniform(-0.9, 0.9, 88200).astype(np.float32), tone(300, 6, 44100, 0.02)]
    data = without_total(mp3_bytes(x, sr=44100, bit_rate=bit_rate))
    fmt = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 44100, 16000, 1, 0, 12, 1, 2, 417, 1, 1393)
    (tmp_path / "a.wav").write_bytes(wav(data, fmt, promised))
    y, sr = read_samples(tmp_path / "a.wav")
    assert sr == 44100 and abs(len(y) / sr - 8) < 0.1 and abs(pitch(y[-2 * sr :], sr) - 300) < 2
    if promised is None:
        (tmp_path / "a.wav").write_bytes(wav(data, fmt)[: len(data) // 2])
        refused(tmp_path / "a.wav", "cut off")


@pytest.mark.parametrize("riff", [b"RF64", b"BW64"])
@pytest.mark.parametrize("never", [False, True])
def test_wav_files_with_long_lengths(tmp_path, riff, never):
    sf.write(tmp_path / "a.wav", tone(), SR, format="RF64", subtype="PCM_16")
    data = bytearray(tmp_path.joinpath("a.wav").read_bytes())
    data[:4] = riff
    if never:  # filled in: a recorder that was killed
        data[20:44] = bytes(24)
    (tmp_path / "a.wav").write_bytes(data)
    np.testing.assert_allclose(read_samples(tmp_path / "a.wav")[0], tone(), atol=1e-4)
    (tmp_path / "a.wav").write_bytes(data[: len(data) // 2])
    if not never:
        refused(tmp_path / "a.wav", "cut off")


@pytest.mark.parametrize("kind", ["CAF", "W64"])
def test_other_kinds_with_long_lengths_cut_off(tmp_path, kind):
    sf.write(tmp_path / "a", tone(), SR, format=kind, subtype="PCM_16")
    np.testing.assert_allclose(read_samples(tmp_path / "a")[0], tone(), atol=1e-4)
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "a", "cut off")


@pytest.mark.parametrize("promised", [0, 2**31 - 1, 2**32 - 1])
def test_an_au_file_of_unknown_length(tmp_path, promised):
    path = patched(save_audio(tmp_path / "a.au", tone(), SR), 8, struct.pack(">I", promised))
    np.testing.assert_allclose(read_samples(path)[0], tone(), atol=1e-4)


WAV = [
    (4, b"\xff\xff\xff\x7f", 40, b"\xff\xff\xff\x7f"),  # as recorders write that cannot seek
    (4, b"\xff\xff\xff\xff", 40, b"\xff\xff\xff\xff"),
    (4, b"\0\0\0\0", 40, b"\0\0\0\0"),  # killed before it was filled in
    (4, b"\x24\0\0\0", 40, b"\0\0\0\0"),
    (4, b"\x00\xf0\xff\x7f", 40, b"\xdc\xef\xff\x7f"),  # sox
    (4, None, 40, None),  # eight bytes too many in the first, none in the second
    (4, None, 40, b"+44"),  # the header counted in
]


@pytest.mark.parametrize(("place", "riff", "second", "data"), WAV)
def test_wav_headers_that_lie(tmp_path, place, riff, second, data):
    path = save_audio(tmp_path / "a.wav", tone(), SR)
    size = path.stat().st_size
    patched(path, place, struct.pack("<I", size) if riff is None else riff)
    if data == b"+44":
        patched(path, second, struct.pack("<I", size))
    elif data is not None:
        patched(path, second, data)
    y, sr = read_samples(path)
    np.testing.assert_allclose(y, tone(), atol=1e-4)


def test_a_wav_without_samples_has_none_though_tags_follow(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setnchannels(1), out.setsampwidth(2), out.setframerate(SR)
    data = (tmp_path / "a.wav").read_bytes() + b"LIST\x0e\0\0\0INFOISFT\2\0\0\0ab"
    (tmp_path / "a.wav").write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    with pytest.raises(AudioError, match="no samples"):
        check_waveform(*read_samples(tmp_path / "a.wav"), tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".au"])
@pytest.mark.parametrize("lost", [200, 0.5, 0.97])
def test_what_is_cut_off_is_refused(tmp_path, suffix, lost):
    path = tmp_path / f"a{suffix}"
    sf.write(path, tone(), SR)
    data = path.read_bytes()
    path.write_bytes(data[: -lost if lost > 1 else int(len(data) * (1 - lost))])
    refused(path, "cut off: ", " bytes are missing")


def test_a_chunk_after_the_samples_may_be_cut(tmp_path):
    path = save_audio(tmp_path / "a.wav", tone(), SR)
    data = path.read_bytes() + b"LIST" + struct.pack("<I", 4000) + bytes(100)
    path.write_bytes(data[:4] + struct.pack("<I", len(data) + 3900) + data[8:])
    assert len(read_samples(path)[0]) == 3 * SR


@pytest.mark.parametrize("keep", [0.4, 0.9])
@pytest.mark.parametrize(("name", "codec", "options"), [("a.m4a", "aac", {}), ("b.m4a", "aac", {"movflags": "faststart"}), ("a.wma", "wmav2", {}), ("a.webm", "libopus", {})])
def test_cut_files_of_other_kinds(tmp_path, name, codec, options, keep):
    path = by_ffmpeg(tmp_path / name, np.random.default_rng(0).uniform(-0.5, 0.5, 48000 * 4), 48000, codec, **options)
    assert abs(len(read_samples(path)[0]) / 48000 - 4) < 0.2
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    refused(path, "cut off")


# ---- Ogg


def ogg_pages(data):
    pages, start = [], 0
    while start < len(data):
        end = start + 27 + data[start + 26] + sum(data[start + 27 : start + 27 + data[start + 26]])
        pages.append(data[start:end])
        start = end
    return pages


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_chained_ogg(tmp_path, codec):
    data = b""
    for frequency in (440, 660, 880):
        target = io.BytesIO()
        sf.write(target, tone(frequency, 2, 48000), 48000, format="OGG", subtype=codec)
        data += target.getvalue()
    (tmp_path / "chain.ogg").write_bytes(data)
    y, sr = read_samples(tmp_path / "chain.ogg")
    assert sr == 48000 and abs(len(y) / sr - 6) < 0.1
    for start, frequency in ((0.5, 440), (2.5, 660), (4.5, 880)):
        assert abs(pitch(y[round(start * sr) : round((start + 1) * sr)], sr) - frequency) < 2
    part, _ = read_samples(tmp_path / "chain.ogg", offset=2.5, duration=1.0)
    assert len(part) == sr and abs(pitch(part, sr) - 660) < 2
    (tmp_path / "cut.ogg").write_bytes(data[:-2000])
    refused(tmp_path / "cut.ogg", "cut off")


def test_ogg_without_a_flag_for_its_end(tmp_path):
    path = save_audio(tmp_path / "a.ogg", tone(), SR)
    pages = [bytearray(page) for page in ogg_pages(path.read_bytes())]
    assert pages[-1][5] & 4
    pages[-1][5] &= ~4
    pages[-1][22:26] = bytes(4)
    pages[-1][22:26] = decode.ogg_crc(bytes(pages[-1])).to_bytes(4, "little")
    path.write_bytes(b"".join(pages))
    assert abs(len(read_samples(path)[0]) - 3 * SR) < 2000
    path.write_bytes(path.read_bytes()[:-20])
    refused(path, "cut off")


def test_opus_that_libsndfile_calls_malformed(tmp_path):
    "The first page ends earlier than it is long, as where a stream was joined late."
    path = by_ffmpeg(tmp_path / "a.opus", tone(sr=48000), 48000, "libopus", "ogg")
    pages = [bytearray(page) for page in ogg_pages(path.read_bytes())]
    for page in pages[2:]:
        page[6:14] = (int.from_bytes(page[6:14], "little") - 24000).to_bytes(8, "little")
        page[22:26] = bytes(4)
        page[22:26] = decode.ogg_crc(bytes(page)).to_bytes(4, "little")
    path.write_bytes(b"".join(pages))
    with pytest.raises(sf.LibsndfileError):
        sf.read(path)
    y, sr = read_samples(path)
    assert sr == 48000 and 2.4 < len(y) / sr < 3.1 and abs(pitch(y, sr) - 440) < 1


# ---- channels


def test_inverted_stereo_is_not_silent(tmp_path):
    for name in ("a.wav", "a.mp3", "a.flac"):
        sf.write(tmp_path / name, np.stack([tone(), -0.99 * tone()], 1), SR)
        y = check_waveform(*read_samples(tmp_path / name))
        assert abs(pitch(y) - 440) < 1 and 0.45 < np.abs(y[SR : 2 * SR]).max() < 0.55, name


def test_channels_are_mixed_unless_they_cancel():
    left, right = tone(440), tone(660)
    assert channel_to_take(np.stack([left, right], 1)) == -1
    assert channel_to_take(np.stack([left, 0 * left], 1)) == -1
    assert channel_to_take(np.stack([left, -0.5 * left], 1)) == -1
    assert channel_to_take(np.stack([-0.99 * left, left], 1)) == 1
    assert channel_to_take(np.stack([left, -left, 0 * left, 0 * left], 1)) == 0
    assert channel_to_take(np.full((100, 2), 0.5)) is None
    assert channel_to_take(np.stack([0.3 + left / 2, 0.3 - left / 2], 1)) in (0, 1)  # a constant is no sound
    assert channel_to_take(np.stack([0.3 + left / 9, left / 9 - 0.3], 1)) == -1


def test_silence_in_front_decides_nothing(tmp_path):
    x = np.stack([tone(seconds=20), -tone(seconds=20)], 1)
    x[: 12 * SR] = 0
    sf.write(tmp_path / "a.wav", x, SR)
    assert np.abs(read_samples(tmp_path / "a.wav")[0]).max() > 0.4


def test_mix_is_the_mean(tmp_path):
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 3)).astype(np.float32)
    sf.write(tmp_path / "a.wav", x, SR, subtype="FLOAT")
    np.testing.assert_allclose(read_samples(tmp_path / "a.wav")[0], x.mean(1), atol=1e-7)


# ---- length, blocks and memory


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".m4a"])
def test_blocks_are_the_song(tmp_path, suffix):
    x = np.random.default_rng(0).uniform(-0.5, 0.5, 44100 * 14).astype(np.float32)
    path = by_ffmpeg(tmp_path / "a.m4a", x, 44100, "aac") if suffix == ".m4a" else save_audio(tmp_path / f"a{suffix}", x, 44100)
    whole, sr = read_samples(path)
    blocks = list(read_blocks(path, SR, 1.5))
    assert [len(block) for block in blocks[:-1]] == [round(1.5 * SR)] * (len(blocks) - 1) and 0 < len(blocks[-1]) <= 1.5 * SR
    np.testing.assert_array_equal(np.concatenate(blocks), soxr.resample(whole, sr, SR))
    np.testing.assert_array_equal(np.concatenate(blocks), read_samples(path, sr=SR)[0])
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(path, None, 3.0, offset=2.0, duration=5.0))), read_samples(path, 2.0, 5.0)[0])
    if suffix in (".wav", ".flac", ".mp3"):  # one call to libsndfile gives the same, sample for sample
        np.testing.assert_array_equal(whole, sf.read(path, dtype="float32")[0])


def test_faults_in_blocks(tmp_path):
    x = tone(seconds=40)
    x[-10] = np.nan
    sf.write(tmp_path / "nan.wav", x, SR, subtype="FLOAT")
    sf.write(tmp_path / "silent.wav", 0 * tone(), SR)
    sf.write(tmp_path / "none.wav", x[:0], SR)
    for name, reason in (("nan", "not finite"), ("silent", "is silent"), ("none", "no samples"), ("missing", "no such file")):
        with pytest.raises(AudioError, match=reason):
            for _ in read_blocks(tmp_path / f"{name}.wav", SR, 10):
                pass


def test_a_constant_is_silent_whatever_the_rate(tmp_path):
    sf.write(tmp_path / "a.wav", np.full(44100, 0.5), 44100)
    for sr in (None, SR):  # resampling makes a click at either end
        refused(tmp_path / "a.wav", "is silent", sr=sr)


@pytest.mark.parametrize("moves, heard", [(1.9e-5, False), (2.1e-5, True), (3.1e-5, True)])
def test_the_limit_of_silence(tmp_path, moves, heard):
    "One step of 16 bits is sound, three fifths of it are none."
    sf.write(tmp_path / "soft.wav", moves * (np.arange(SR) % 2), SR, subtype="FLOAT")
    if heard: assert np.ptp(read_samples(tmp_path / "soft.wav")[0]) == pytest.approx(moves)
    else: refused(tmp_path / "soft.wav", "is silent", sr=None)


def test_a_flac_that_does_not_say_how_long_it_is(tmp_path):
    path = save_audio(tmp_path / "a.flac", tone(), SR)
    place = path.read_bytes()[21] & 0xF0
    patched(path, 21, bytes([place, 0, 0, 0, 0]))
    assert len(read_samples(path)[0]) == 3 * SR


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_cut_flac(tmp_path, keep):
    path = save_audio(tmp_path / "a.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 5 * SR), SR)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert "cut off" in (reason := refused(path)) or "lost sync" in reason


def ape_tag(n):
    "An APEv2 tag with a header, `n` bytes of items and a footer."
    ends = [b"APETAGEX" + struct.pack("<IIII", 2000, n + 32, 0, flags) + bytes(8) for flags in (0xA0000000, 0x80000000)]
    return ends[0] + bytes(n) + ends[1]


@pytest.mark.parametrize("tags", [b"TAG" + b"title".ljust(125), ape_tag(300), ape_tag(90) + b"TAG" + bytes(125)])
@pytest.mark.parametrize("front", [b"", b"ID3\x04\0\0\0\0\x01\0" + bytes(128)])
def test_a_flac_with_tags_at_its_end_is_read_whole(tmp_path, tags, front):
    "libsndfile takes an ID3v1 tag for a frame, and says that it lost sync."
    y = np.random.default_rng(0).uniform(-0.5, 0.5, 30_000).astype(np.float32)
    plain = save_audio(tmp_path / "plain.flac", y, 22050)
    (tmp_path / "tagged.flac").write_bytes(front + plain.read_bytes() + tags)
    np.testing.assert_array_equal(read_samples(tmp_path / "tagged.flac")[0], read_samples(plain)[0])
    (tmp_path / "cut.flac").write_bytes(plain.read_bytes()[:-5000] + tags)
    with pytest.raises(AudioError):
        read_samples(tmp_path / "cut.flac")


@pytest.mark.skipif(PYAV < 18, reason="FFmpeg of an older PyAV loses the frame before them")
@pytest.mark.parametrize("tail", [bytes(5000), np.random.default_rng(0).bytes(5000), b"\xff" * 5000, b"LYRICSBEGIN" + b"la " * 500 + b"001511LYRICS200" + b"TAG" + bytes(125)])
def test_other_bytes_behind_a_flac(tmp_path, tail):
    y = np.random.default_rng(0).uniform(-0.5, 0.5, 30_000).astype(np.float32)
    path = save_audio(tmp_path / "a.flac", y, SR)
    whole, _ = read_samples(path)
    path.write_bytes(path.read_bytes() + tail)
    np.testing.assert_array_equal(read_samples(path)[0], whole)


@pytest.mark.skipif(PYAV < 18, reason="FFmpeg of an older PyAV loses more than that frame, and the song counts as cut off")
@pytest.mark.parametrize("damage", ["byte", "hole"])
def test_a_damaged_frame_of_a_flac_is_passed_over(tmp_path, damage):
    y = np.random.default_rng(0).uniform(-0.5, 0.5, 10 * SR).astype(np.float32)
    path = save_audio(tmp_path / "a.flac", y, SR)
    whole, _ = read_samples(path)
    place = path.stat().st_size // 2
    patched(path, place, b"\xff\0\xff" if damage == "byte" else bytes(3000))
    read, _ = read_samples(path)
    assert 0.95 * len(whole) < len(read) <= len(whole)
    np.testing.assert_array_equal(read[: 4 * SR], whole[: 4 * SR])
    np.testing.assert_array_equal(read[-4 * SR :], whole[-4 * SR :])
    part, _ = read_samples(path, offset=3.0, duration=1.0)
    np.testing.assert_array_equal(part, whole[3 * SR : 4 * SR])


@pytest.mark.parametrize("promised", [1, 5000, 29_000])
def test_a_flac_that_promises_too_little(tmp_path, promised):
    y = np.random.default_rng(0).uniform(-0.5, 0.5, 30_000).astype(np.float32)
    path = save_audio(tmp_path / "a.flac", y, SR)
    whole, _ = read_samples(path)
    with open(path, "rb") as file:
        assert containers.flac_reaches(file) == 28_672  # seven blocks of 4096
    patched(path, 22, struct.pack(">I", promised))
    if promised > 28_672:  # within the last frame: nothing tells
        assert len(read_samples(path)[0]) >= promised
    else:
        np.testing.assert_array_equal(read_samples(path)[0], whole)


def test_a_fault_of_the_caller_is_not_one_of_the_song(tmp_path):
    path = save_audio(tmp_path / "a.wav", tone(), SR)
    with pytest.raises(KeyError):
        for _ in read_blocks(path, SR, 1):
            raise KeyError("mine")
    for wrong in ({"offset": -1}, {"offset": np.nan}, {"duration": -1}, {"duration": np.inf}):
        with pytest.raises(ValueError, match="finite and not negative") as caught:
            read_samples(path, **wrong)
        assert not isinstance(caught.value, AudioError)


def test_length_is_bounded_before_it_is_decoded(tmp_path, monkeypatch):
    silence = np.zeros(2**20, np.int16)
    with sf.SoundFile(tmp_path / "slow.flac", "w", 1000, 1, "PCM_16") as out:  # 9.3 h in a few kilobytes
        for _ in range(32):
            out.write(silence)
    assert (tmp_path / "slow.flac").stat().st_size < 1e6
    monkeypatch.setattr("genre_nbs.io.readers.SoundFileSong.blocks", lambda self: pytest.fail("was decoded"))
    for sr in (None, SR):
        refused(tmp_path / "slow.flac", "9.3 h", "too long", sr=sr)
    with pytest.raises(AudioError, match="too long"):
        next(read_blocks(tmp_path / "slow.flac"))


def test_samples_are_bounded_after_resampling(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MOST_SAMPLES", 10 * SR)
    path = save_audio(tmp_path / "a.wav", tone(seconds=8), SR)
    assert len(read_samples(path)[0]) == 8 * SR
    refused(path, "too long", sr=44100)
    aac = by_ffmpeg(tmp_path / "a.aac", tone(seconds=8), SR, "aac", "adts")  # does not say how long it is
    refused(aac, "lasts more than", sr=44100)


@pytest.mark.parametrize("rate", [1, 999, 2**31 - 1])
def test_rates_that_are_none(tmp_path, rate):
    path = patched(save_audio(tmp_path / "a.wav", tone(), SR), 24, struct.pack("<I", rate))
    refused(path, f"{rate} Hz, too ")


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_memory_is_flat(tmp_path):
    with sf.SoundFile(tmp_path / "long.wav", "w", 44100, 2) as out:
        for _ in range(40):
            out.write(np.tile(tone(seconds=15, sr=44100)[:, None], 2))  # ten minutes, 211 MB as float32
    code = "import resource, sys; from genre_nbs.io.decode import read_blocks, read_samples\nm = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    code += "read_samples(sys.argv[1], duration=1.0); a = m()\nfor _ in read_blocks(sys.argv[1]): pass\nb = m(); n = len(read_samples(sys.argv[1], sr=22050)[0]); print(b - a, m() - a, n)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "long.wav")], capture_output=True, text=True, timeout=120)
    blocks, whole, n = map(int, done.stdout.split())
    assert n == 600 * SR and blocks < 20_000 and whole < 75_000, done  # kB; the result alone is 53 MB


def test_an_mp4_that_claims_a_table_of_gigabytes(tmp_path):
    path = by_ffmpeg(tmp_path / "a.m4a", tone(), SR, "aac")
    place = path.read_bytes().index(b"stsz")
    patched(path, place + 8, struct.pack(">II", 1, 2**27))
    refused(path, "table of samples is larger")


# ---- names, permissions, pipes


@POSIX
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_permission(tmp_path):
    path = save_audio(tmp_path / "a.wav", tone(), SR)
    path.chmod(0)
    refused(path, "cannot be read (Permission denied)")


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_disk_that_fails(tmp_path, monkeypatch, number):
    path = save_audio(tmp_path / "a.wav", tone(), SR)

    def fails(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("genre_nbs.io.readers.survey", fails)
    refused(path, f"cannot be read ({os.strerror(number)})")


def test_a_name_with_nul(tmp_path):
    refused(f"{tmp_path}/a\0b.wav", "NUL in its name")


# ---- pictures and waveforms


def test_jpeg_scans_are_counted_before_they_are_drawn(tmp_path):
    grey = np.tile(np.linspace(0, 255, 400).astype(np.uint8), (400, 1))
    Image.fromarray(grey).save(tmp_path / "a.jpg", progressive=True)
    assert np.abs(read_picture(tmp_path / "a.jpg").astype(int) - grey).max() < 20
    data = (tmp_path / "a.jpg").read_bytes()
    last = data.rindex(b"\xff\xda")
    (tmp_path / "many.jpg").write_bytes(data[:-2] + data[last:-2] * 200 + data[-2:])
    with pytest.raises(PictureError, match="more than 64 passes"):
        read_picture(tmp_path / "many.jpg")


def test_fill_bytes_are_counted_before_they_are_read(tmp_path):
    "Pillow takes 1.2 s for a megabyte of them."
    data = io.BytesIO()
    Image.fromarray(np.eye(99, dtype=np.uint8)).save(data, "JPEG")
    start, rest = data.getvalue()[:2], data.getvalue()[2:]
    (tmp_path / "some.jpg").write_bytes(start + b"\xff" * 5000 + rest)
    assert read_picture(tmp_path / "some.jpg").shape == (99, 99)
    (tmp_path / "many.jpg").write_bytes(start + b"\xff" * 3_000_000 + rest)
    with pytest.raises(PictureError, match="1048576 fill bytes"):
        read_picture(tmp_path / "many.jpg")


def test_damaged_notes_of_a_camera_are_passed_over_in_silence(tmp_path, recwarn):
    notes = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(600)
    Image.fromarray(np.eye(99, dtype=np.uint8)).save(tmp_path / "a.jpg", exif=notes)
    assert read_picture(tmp_path / "a.jpg").shape == (99, 99) and not recwarn.list


def test_a_picture_that_may_not_be_read(tmp_path, monkeypatch):
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / "a.png")

    def fails(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(pictures, "jpeg_fault", fails)
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "a.png")
    assert caught.value.reason == "cannot be read (Permission denied)"


def test_a_waveform_that_is_finite_in_64_bits_only():
    for wrong in (1e300, -1e39):
        with pytest.raises(ValueError, match="not finite"):
            check_signal(np.array([0.0, wrong]))
    assert check_signal(np.array([0.0, 1e38])).dtype == np.float32


# ---- fuzzing


def fuzzed(data, others, rng):
    "A song with flipped bits, a cut, another song's head, or a repeated or missing piece."
    data, way = bytearray(data), rng.integers(5)
    if way == 0:
        for place in rng.integers(0, min(len(data), 10 ** rng.integers(2, 6)), rng.integers(1, 30)):
            data[place] ^= 1 << rng.integers(8)
    elif way == 1:
        del data[rng.integers(1, len(data)) :]
    elif way == 2:
        head = others[rng.integers(len(others))][: rng.integers(4, 4096)]
        data[: len(head)] = head
    elif way == 3:
        start = rng.integers(len(data))
        del data[start : start + rng.integers(1, 5000)]
    else:
        start, n = rng.integers(len(data)), rng.integers(1, 5000)
        data[start:start] = data[start : start + n] if rng.integers(2) else rng.bytes(n)
    return bytes(data)


def test_fuzzed_songs(tmp_path, capfd):
    "GENRE_NBS_FUZZ=300 runs as many; each is read or refused in one line, in seconds."
    import time

    x = np.random.default_rng(1).uniform(-0.5, 0.5, (SR * 2, 2)).astype(np.float32) + tone(seconds=2)[:, None] / 2
    songs = []
    for name in ("a.wav", "a.flac", "a.ogg", "a.mp3"):
        sf.write(tmp_path / name, x, SR)
        songs.append((tmp_path / name).read_bytes())
    for name, codec in (("a.m4a", "aac"), ("a.webm", "libopus"), ("a.wma", "wmav2")):
        songs.append(by_ffmpeg(tmp_path / name, soxr.resample(x, SR, 48000), 48000, codec).read_bytes())
    rng, path, read = np.random.default_rng(0), tmp_path / "fuzzed.mp3", 0
    for i in range(int(os.environ.get("GENRE_NBS_FUZZ", 42))):
        path.write_bytes(fuzzed(songs[i % len(songs)], songs, rng))
        start = time.monotonic()
        try:
            y, sr = read_samples(path, sr=SR)
            check_waveform(y, sr, path)
            read += 1
        except AudioError as error:
            assert "\n" not in str(error) and str(path) in str(error) and "cannot be read" not in str(error)
        assert capfd.readouterr() == ("", ""), i  # neither PyAV nor a C library says anything of its own
        assert time.monotonic() - start < 20, i
    assert read > 5  # most bits matter little
