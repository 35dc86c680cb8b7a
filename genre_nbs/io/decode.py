"Song files in and out: decoding with a reason when a file cannot be used, and writing the same samples as the same bytes."

import io
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile as sf

from genre_nbs.io.files import atomic_path

AUDIO_SUFFIXES = ('.wav', '.au', '.flac', '.ogg', '.mp3') # what a folder of songs is searched for


class AudioError(ValueError):
    "A song that cannot be used: `path` says which, `reason` why."

    def __init__(self, path, reason):
        self.path, self.reason = str(path), reason
        super().__init__(f'{path}: {reason}' if str(path) else reason)

    def __reduce__(self): return type(self), (self.path, self.reason)


LOUDEST = 1e10 # beyond any scale in use, and squares of it fit into float32
LOWEST_RATE = 1000 # Hz; less is no sound, and a second of it would become a minute of samples
MOST_SAMPLES = 2**29 # of all channels, 2 GiB once decoded: about 1 h 40 min of stereo at 44,100 Hz


def check_waveform(
    y: np.ndarray, # waveform, (samples,)
    sr: int, # sample rate in Hz
    path='', # where it came from, for the error
    min_seconds: float = 0., # shortest duration allowed, in seconds
) -> np.ndarray: # `y` itself
    "The waveform, if one can work with it. Raises `AudioError` when it is empty, too short, not finite or silent."
    if not len(y): raise AudioError(path, 'holds no samples')
    if len(y) < min_seconds * sr: raise AudioError(path, f'lasts {len(y) / sr:.2f} s, shorter than the {min_seconds:g} s needed')
    low, high = y.min(), y.max() # NaN when a sample is
    if not (np.isfinite(low) and np.isfinite(high)): raise AudioError(path, 'holds samples that are not finite')
    if max(-low, high) > LOUDEST: raise AudioError(path, f'holds samples of {max(-low, high):.0e}, where sound lies between -1 and 1')
    if high - low < 2e-5: raise AudioError(path, 'is silent')
    return y


KNOWN_FAULTS = {'jazz.00054': "GTZAN's known broken file"}
KNOWN_FAULTS |= dict.fromkeys(('099134', '108925', '133297'), "one of FMA's three known clips without sound")
KNOWN_FAULTS |= dict.fromkeys(('001486', '065753', '098565', '098567', '098569', '105247', '126981', '127336', '143992'), "one of FMA's known short clips")
APPLE_DOUBLE = b'\x00\x05\x16\x07' # the first bytes of a note that macOS leaves beside a file (RFC 1740)


def known_fault(
    path, # a file that cannot be used
    reason: str, # why not
) -> str: # the reason, and what is known of such a file
    "A reason that names old acquaintances: notes of macOS, and the broken files of GTZAN and of the Free Music Archive (mdeff/fma, issues 4, 8 and 41)."
    path = Path(path)
    if path.is_file():
        with open(path, 'rb') as file: head = file.read(4)
        if head == APPLE_DOUBLE: return f'is a note that macOS left beside a song (AppleDouble, {path.stat().st_size} bytes), not a song'
    return f'{reason}; {KNOWN_FAULTS[path.stem]}' if path.stem in KNOWN_FAULTS else reason


def truncated_bytes(
    path, # a song file
) -> int: # bytes that the header promises beyond the end of the file
    "How much of a wav or au file was cut off; 0 for other formats, and where the header leaves the length open."
    with open(path, 'rb') as f: head = f.read(16)
    if head[:4] == b'RIFF': promised = int.from_bytes(head[4:8], 'little') + 8
    elif head[:4] == b'.snd': promised = int.from_bytes(head[4:8], 'big') + int.from_bytes(head[8:12], 'big')
    else: return 0
    missing = promised - Path(path).stat().st_size
    return missing if 1 < missing and promised < 2**32 - 64 else 0


def is_truncated(
    path, # a song file
) -> bool: # True where the end is missing; False for formats that do not mark it
    "Whether an ogg file lacks its last page, which carries the flag for the end of the stream (RFC 3533)."
    with open(path, 'rb') as f:
        if f.read(4) != b'OggS': return False
        f.seek(max(0, Path(path).stat().st_size - 65536)) # a page is at most 65,307 bytes long
        tail = f.read()
    page = tail.rfind(b'OggS')
    if page < 0 or len(tail) < page + 27 or not tail[page + 5] & 4: return True
    body = page + 27 + tail[page + 26]
    return len(tail) < body + sum(tail[page + 27:body])


def decode_error_reason(
    path, # a file that could not be decoded
    error, # what the decoder said
) -> str: # a reason in plain words
    "Why a file could not be read: missing, a folder, empty, or what the decoder says of it."
    path = Path(path)
    if path.is_dir(): return 'is a folder, not a song'
    if not path.exists(): return 'no such file'
    if not path.stat().st_size: return 'is empty (0 bytes)'
    said = getattr(error, 'error_string', str(error)).strip(' .')
    if 'regular file' in said: said = 'Format not recognised' # what the mp3 decoder says of anything that is no mp3
    return f'cannot be decoded as audio ({said})' if said else 'cannot be decoded as audio'


@contextmanager
def silence_stderr(
    quiet: bool = True, # whether to do anything at all
):
    "Hold back what C libraries print: the mp3 decoder comments on every flaw, which we report ourselves."
    if not quiet:
        yield
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def read_samples(
    path, # a song file that libsndfile reads: wav, au, flac, ogg, mp3, ...
    offset: float = 0., # where to start, in seconds
    duration: float | None = None, # how much to read, in seconds; None reads to the end
) -> tuple: # waveform (samples,) float32, mono; and its own sample rate in Hz
    "Decode a file and mix it down to mono. Raises `AudioError` when it cannot be read or was cut off."
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir(): raise AudioError(path, 'is a device or a pipe, not a song')
    name = path if os.name == 'nt' else os.fsencode(path) # bytes: names of files need not be UTF-8
    try:
        with silence_stderr(path.suffix.lower() == '.mp3'), sf.SoundFile(name) as song:
            if song.format == 'RAW': raise AudioError(path, 'cannot be decoded as audio (no header)')
            if song.samplerate < LOWEST_RATE: raise AudioError(path, f'has a sample rate of {song.samplerate} Hz, too low for sound')
            sr, start = song.samplerate, round(offset * song.samplerate)
            wanted = max(song.frames - start, 0)
            if min(wanted, wanted if duration is None else round(duration * sr)) * song.channels > MOST_SAMPLES:
                raise AudioError(path, f'lasts {wanted / sr / 3600:.1f} h, too long to be read at once')
            if start: song.seek(min(start, song.frames))
            y = song.read(-1 if duration is None else round(duration * sr), dtype='float32', always_2d=True)
    except AudioError: raise
    except (OSError, RuntimeError) as error:
        raise AudioError(path, decode_error_reason(path, error)) from error
    if missing := truncated_bytes(path): raise AudioError(path, f'is cut off: {missing} bytes are missing at its end')
    if is_truncated(path): raise AudioError(path, 'is cut off: its last page is missing')
    if duration is None and len(y) < 0.9 * wanted: raise AudioError(path, f'is cut off: {len(y) / sr:.1f} of {wanted / sr:.1f} s are there')
    return y.mean(1) if y.shape[1] > 1 else y[:, 0], sr


def ogg_crc(
    page: bytes, # one Ogg page, its checksum field set to zero
) -> int: # 32 bits
    "The checksum of an Ogg page (RFC 3533: polynomial 0x04c11db7, not reflected, starting at 0)."
    crc = 0
    for byte in page: crc = (crc << 8 & 0xffffffff) ^ OGG_TABLE[crc >> 24 ^ byte]
    return crc


def _ogg_table_entry(byte):
    crc = byte << 24
    for _ in range(8): crc = (crc << 1 & 0xffffffff) ^ (0x04c11db7 if crc >> 31 else 0)
    return crc


OGG_TABLE = [_ogg_table_entry(byte) for byte in range(256)]


def ogg_without_serial(
    data: bytes, # an Ogg file
) -> bytes: # the same, each page with serial number 0 and a fresh checksum
    "The file with its random serial number taken out. Page layout after RFC 3533, section 6."
    out, start = bytearray(data), 0
    while start < len(out):
        segments = out[start + 26]
        end = start + 27 + segments + sum(out[start + 27:start + 27 + segments])
        out[start + 14:start + 18] = bytes(4)
        out[start + 22:start + 26] = bytes(4)
        out[start + 22:start + 26] = ogg_crc(out[start:end]).to_bytes(4, 'little')
        start = end
    return bytes(out)


def save_audio(
    path, # where to; its ending chooses the format: .wav, .flac, .ogg or .mp3
    y: np.ndarray, # waveform, (samples,), in [-1, 1]; what lies outside is clipped
    sr: int, # sample rate in Hz
    **kwargs, # passed on to `soundfile.write`, such as `compression_level` in [0, 1]
) -> Path: # the path written
    "Write a waveform, whole or not at all, the same samples always as the same bytes. Raises `ValueError` for another ending."
    path = Path(path)
    if path.suffix.lower() not in AUDIO_SUFFIXES: raise ValueError(f"{path.name}: cannot write {path.suffix or 'a file without ending'}; use one of {', '.join(AUDIO_SUFFIXES)}")
    with atomic_path(path) as part:
        with sf.SoundFile(part, 'w', sr, channels=1, **kwargs) as song: # in blocks: libsndfile crashes on minutes of ogg at once
            for start in range(0, len(y), 65536): song.write(np.clip(y[start:start + 65536], -1, 1))
        if path.suffix.lower() == '.ogg': part.write_bytes(ogg_without_serial(part.read_bytes()))
    return path


def audio_bytes(
    y: np.ndarray, # waveform, (samples,), in [-1, 1]
    sr: int, # sample rate in Hz
) -> bytes: # an mp3 file
    "A waveform as mp3, small enough to stand in a page: about 3 kB a second at 22,050 Hz."
    target = io.BytesIO()
    sf.write(target, np.clip(y, -1, 1), sr, format='MP3', compression_level=0.9)
    return target.getvalue()
