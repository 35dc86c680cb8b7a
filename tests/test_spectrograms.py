"Pictures of all kinds and faults, exact ways there and back, and windows of odd songs."

import pickle
import struct
import zlib

import librosa
import numpy as np
import pytest
from PIL import Image

from genre_nbs import spectrograms as s
from genre_nbs.io import segments
from genre_nbs.io.pictures import PictureError, read_picture, save_picture

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 17), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)


def noise(n, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, raw, extra=b""):
    "A PNG built by hand, for kinds that Pillow does not write."
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


# ---- arrays

@pytest.mark.parametrize("sr, n", [(8000, 9000), (22050, 22050), (22050, 700), (44100, 50001)])
@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.filterwarnings("ignore:Empty filters detected")
def test_log_mel_is_that_of_librosa(sr, n):
    y = noise(n)
    theirs = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=sr), ref=np.max).T
    ours = s.log_mel(y, sr)
    assert ours.shape == theirs.shape == (1 + n // 512, 128) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_range_is_kept():
    y = np.r_[noise(22050), 1e-6 * noise(22050)].astype(np.float32)
    for top_db in (40, 80):
        mel = s.log_mel(y, 22050, top_db=top_db)
        assert mel.max() == 0 and mel.min() == -top_db


@pytest.mark.parametrize("sr", [8000, 16000, 22050, 44100])
def test_windows_have_21_frames_at_every_rate(sr):
    assert s.mel_windows(noise(round(3.02 * sr)), sr).shape == (3, 21, 128)
    assert s.mel_windows(noise(sr), sr).shape == (1, 21, 128)
    assert s.mel_windows(noise(4 * sr), sr, seconds=2).shape == (2, 41, 128)


def test_a_window_alone_is_the_same_but_for_its_ends_and_level():
    y = noise(5 * 22050)
    whole, mel = s.mel_windows(y, 22050), s.log_mel(y, 22050, hop_length=1102)
    for i, window in enumerate(whole):
        assert (window == mel[20 * i:20 * i + 21]).all()
    alone = s.mel_windows(y[2 * 20 * 1102:][:22050], 22050)[0]
    shift = (whole[2] - alone)[3:-3]
    assert shift.std() < 1e-3


@pytest.mark.parametrize("hop_length", [1102, 512, 7])
@pytest.mark.parametrize("frames", [1, 200, 511, 512, 513, 639, 640, 641, 1150])
def test_a_song_in_blocks_gives_the_same_bits(monkeypatch, frames, hop_length):
    "Lengths around those of a part (512 frames) and its margin; silence first, so that the loudest comes late; blocks of odd lengths."
    monkeypatch.setattr(segments, "FRAMES", 4 * segments.ROWS)
    for extra in (0, 1, hop_length - 2):
        y = noise((frames - 1) * hop_length + extra + 1)
        y[:len(y) // 2] *= 1e-6
        blocks = np.split(y, np.arange(10007, len(y), 10007))
        parts = s.log_mel_parts(iter(blocks), 22050, hop_length)
        whole = s.log_mel(y, 22050, hop_length=hop_length)
        assert len(whole) == frames and (np.concatenate(parts) == whole).all()
        if len(y) > 23000 and hop_length == 1102: assert (s.mel_windows(blocks, 22050) == s.mel_windows(y, 22050)).all()


def test_too_short_for_a_window():
    with pytest.raises(ValueError, match="too short for a window of 1 s"):
        s.mel_windows(noise(20000), 22050)
    with pytest.raises(ValueError, match="0.90 s are too short for a window of 1 s"):
        s.mel_windows([noise(20000)], 22050)


def test_grey_there_and_back():
    mel = np.linspace(-80, 0, 128 * 50, dtype=np.float32).reshape(50, 128)
    grey = s.to_grey(mel)
    assert grey.shape == (128, 50) and grey[0, -1] == 255 and grey[-1, 0] == 0
    assert np.abs(s.from_grey(grey) - mel).max() <= 80 / 255 / 2 + 1e-5
    every = np.arange(256, dtype=np.uint8).reshape(128, 2)
    for top_db in (40, 80, 120):
        assert (s.to_grey(s.from_grey(every, top_db), top_db) == every).all()
    assert set(s.to_grey(np.array([[-500.0, 30.0]])).ravel()) == {0, 255}


def test_colour_there_and_back():
    mel = s.log_mel(noise(60000), 22050)
    grey = s.to_grey(mel)
    for size in ((432, 288), (300, 200), (118, 128)):
        stretched = np.asarray(Image.fromarray(grey).resize((size[0], 128), Image.Resampling.BOX))
        assert (s.picture_to_grey(s.grey_to_picture(grey, size=size)) == stretched).all()
    exact = s.picture_to_grey(s.grey_to_picture(grey, size=(grey.shape[1], 288)))
    assert (exact == grey).all()
    framed = s.grey_to_picture(grey, border=True)
    assert framed.shape == (288, 432, 3) and s.strip_border(framed).shape == (218, 336, 3)
    assert (framed[35:253, 54:390] == s.strip_border(framed)).all()


def test_a_photo_is_no_spectrogram():
    for pixels in (COLOUR, np.full((20, 20, 3), 255, np.uint8), np.zeros((9, 9, 3), np.uint8) + np.array([0, 255, 0], np.uint8)):
        with pytest.raises(ValueError, match="colours of a spectrogram"):
            s.picture_to_grey(pixels)


def test_pictures_of_bad_waveforms():
    for y in (np.zeros(0, np.float32), np.zeros((2, 22050), np.float32), np.full(22050, np.nan, np.float32)):
        with pytest.raises(ValueError):
            s.spectrogram_picture(y, 22050)
    assert s.spectrogram_picture(noise(100), 22050).shape == (288, 432, 3)


# ---- files

def test_saving_is_exact_and_repeats_to_the_byte(tmp_path):
    for pixels in (GREY, COLOUR, GREY[:, ::-1], COLOUR[::2]):
        first, second = save_picture(tmp_path / "a.png", pixels), save_picture(tmp_path / "new" / "b.png", pixels)
        assert (read_picture(first) == pixels).all() and read_picture(first).dtype == np.uint8
        assert first.read_bytes() == second.read_bytes()


def test_saving_refuses_and_leaves_nothing(tmp_path):
    for name, pixels in (("a.jpg", GREY), ("a.png", GREY / 255), ("a.png", GREY[None, None]), ("a.png", GREY[:0]), ("a.png", COLOUR[..., :2])):
        with pytest.raises(ValueError):
            save_picture(tmp_path / name, pixels)
    assert not list(tmp_path.iterdir())


def test_kinds_of_pictures(tmp_path):
    path = tmp_path / "a.png"

    def saved(image, **kwargs):
        image.save(path, **kwargs)
        return read_picture(path)

    assert (saved(Image.fromarray(GREY)) == GREY).all()
    assert (saved(Image.fromarray(COLOUR)) == COLOUR).all()
    assert (saved(Image.fromarray(np.dstack([COLOUR, np.full((12, 17), 255, np.uint8)]))) == COLOUR).all()
    assert (saved(Image.fromarray(np.dstack([COLOUR, np.zeros((12, 17), np.uint8)]))) == 255).all(), "see-through lies on white"
    assert (saved(Image.fromarray(np.dstack([GREY, np.full_like(GREY, 255)]), "LA")) == GREY).all()
    assert (saved(Image.fromarray(GREY > 127)) == np.where(GREY > 127, 255, 0)).all()
    palette = Image.fromarray(COLOUR).quantize(16)
    assert (saved(palette) == np.asarray(palette.convert("RGB"))).all()
    wide = GREY.astype(np.uint16) * 257
    assert (saved(Image.fromarray(wide)) == GREY).all(), "65535 is white, not 255"
    assert read_picture(path).max() > 200


def test_16_bits_are_rounded_not_cut(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(3, 1, 16, 0, b"\0" + struct.pack(">HHH", 0, 128 + 257, 65535)))
    assert read_picture(path).tolist() == [[0, 1, 255]]


def test_jpeg(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (64, 1))
    for suffix in (".jpg", ".jpeg", ".JPG"):
        Image.fromarray(smooth).save(tmp_path / f"a{suffix}", format="JPEG", quality=95)
        assert np.abs(read_picture(tmp_path / f"a{suffix}").astype(int) - smooth).max() < 8


@pytest.mark.filterwarnings("error")
def test_faulty_files_get_a_picture_error_and_one_line(tmp_path):
    good = save_picture(tmp_path / "good.png", RNG.integers(0, 256, (128, 300), dtype=np.uint8)).read_bytes()
    Image.fromarray(GREY).save(tmp_path / "film.png", save_all=True, append_images=[Image.fromarray(255 - GREY)])
    Image.fromarray(GREY).save(tmp_path / "gif.png", format="GIF")
    (tmp_path / "folder.png").mkdir()
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 255
    for name, data in {"cut": good[:len(good) // 2], "head": good[:20], "empty": b"", "text": b"hello" * 100, "damaged": bytes(damaged),
                       "bomb": png(100_000, 100_000, 8, 0, b""), "large": png(5000, 4000, 8, 0, bytes(5001 * 4000)), "huge": png(10_000, 10_000, 8, 0, b""),
                       "flat": png(0, 5, 8, 0, b"")}.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    names = ("film", "gif", "folder", "cut", "head", "empty", "text", "damaged", "bomb", "large", "huge", "flat", "missing")
    for name in names:
        with pytest.raises(PictureError) as error:
            read_picture(tmp_path / f"{name}.png")
        assert error.value.path == str(tmp_path / f"{name}.png") and error.value.reason and "\n" not in str(error.value), name
        assert isinstance(error.value, ValueError)
    again = pickle.loads(pickle.dumps(error.value))
    assert (again.path, again.reason) == (error.value.path, error.value.reason)


@pytest.mark.data
def test_pictures_of_gtzan_are_read_exactly():
    import os
    from pathlib import Path

    data = os.environ.get("GENRE_NBS_DATA")
    if not data:
        pytest.skip("GENRE_NBS_DATA is not set")
    for path in sorted((Path(data) / "gtzan_mel").glob("*/*00.png")):
        pixels = read_picture(path)
        assert pixels.shape == (128, 387) and (s.to_grey(s.from_grey(pixels)) == pixels).all()


def test_the_distance_to_the_nearest_colour_is_a_sum_over_red_green_and_blue():
    pixels = np.random.default_rng(1).integers(0, 256, (6, 50, 3)).astype(np.uint8)
    place, distance = s.nearest_colour(pixels)
    by_hand = [[min(sum(abs(int(a) - int(b)) for a, b in zip(colour, pixel)) for colour in s.magma()) for pixel in row] for row in pixels]
    np.testing.assert_array_equal(distance, by_hand)
    np.testing.assert_array_equal(np.abs(s.magma()[place].astype(int) - pixels).sum(-1), by_hand)


@pytest.mark.parametrize("distance", [3, 4])
def test_colours_count_as_magma_up_to_a_distance_of_three(distance):
    rng = np.random.default_rng(0)
    near = np.clip(s.magma()[rng.integers(0, 256, 20000)].astype(int) + rng.integers(-3, 4, (20000, 3)), 0, 255).astype(np.uint8)
    picture = near[s.nearest_colour(near[None])[1][0] == distance][:400].reshape(20, 20, 3)
    if distance == 3:
        assert s.strip_border(picture).shape == picture.shape
    else:
        with pytest.raises(ValueError, match="colours of a spectrogram"):
            s.strip_border(picture)
