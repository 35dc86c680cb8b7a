"Song files in and out: decoding with a reason when a file cannot be used, and writing the same samples as the same bytes."

import io
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile as sf

from genre_nbs.io import containers
from genre_nbs.io.files import FileProblem, atomic_path
from genre_nbs.io.readers import cropped, mono, open_song, Refused, resampled, SILENCE

WRITTEN_SUFFIXES = ('.wav', '.au', '.flac', '.ogg', '.mp3') # what `save_audio` writes
AUDIO_SUFFIXES = WRITTEN_SUFFIXES + ( # what a folder of songs is searched for
    '.m4a', '.mp4', '.aac', '.opus', '.oga', '.webm', '.weba', '.wma', '.aiff', '.aif', '.aifc', '.alac', '.m4b', '.m4r', '.mka', '.mp2', '.snd', '.w64',
    '.rf64', '.caf', '.wv', '.amr', '.3gp', '.3g2', '.mov', '.mkv', '.flv', '.voc')


class AudioError(FileProblem):
    "A song that cannot be used: `path` says which, `reason` why."


LOUDEST = 1e10 # beyond any scale in use, and squares of it fit into float32
MOST_SAMPLES = 2**28 # of one channel, 1 GiB, read at once: 3 h 22 min at 22,050 Hz
MOST_SECONDS = 6 * 3600 # read in blocks
BLOCK_SECONDS = 60. # of a long song that are held at once
SILENT = 'is silent'
ENOUGH = 0.95 # with less than this share of what it promises, a file is cut off


def fault_of(
    n: int, # samples
    sr: int, # sample rate in Hz
    low: float, # the smallest of them, NaN when one is
    high: float, # the largest
    min_seconds: float = 0., # shortest duration allowed, in seconds
) -> str: # the reason, '' when there is none
    "Why samples are no waveform that one can work with."
    if not n: return 'holds no samples'
    if n < min_seconds * sr: return f'lasts {n / sr:.2f} s, shorter than the {min_seconds:g} s needed'
    if not (np.isfinite(low) and np.isfinite(high)): return 'holds samples that are not finite'
    if max(-low, high) > LOUDEST: return f'holds samples of {max(-low, high):.0e}, where sound lies between -1 and 1'
    return SILENT if high - low < SILENCE else ''


def check_waveform(
    y: np.ndarray, # waveform, (samples,)
    sr: int, # sample rate in Hz
    path='', # where it came from, for the error
    min_seconds: float = 0., # shortest duration allowed, in seconds
) -> np.ndarray: # `y` itself
    "The waveform, if one can work with it. Raises `AudioError` when it is empty, too short, not finite or silent."
    low, high = (y.min(), y.max()) if len(y) else (0., 0.)
    if fault := fault_of(len(y), sr, low, high, min_seconds): raise AudioError(path, fault)
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
    "How much of a wav, aiff or au file was cut off; 0 for other formats, and where the header leaves the length open."
    with open(path, 'rb') as file: return containers.missing_bytes(file, Path(path).stat().st_size)


def decode_error_reason(
    path, # a file that could not be decoded
    error, # what the decoder said
) -> str: # a reason in plain words
    "Why a file could not be read: missing, a folder, empty, not allowed, or what the decoder says of it."
    path = Path(path)
    if '\0' in str(path): return 'no such file (there is a NUL in its name)'
    if isinstance(error, Refused): return str(error)
    if path.is_dir(): return 'is a folder, not a song'
    if isinstance(error, OSError) and error.errno and 0 < error.errno < 1000 and error.errno != 2: return f'cannot be read ({os.strerror(error.errno)})'
    if not path.exists(): return 'no such file'
    if not path.stat().st_size: return 'is empty (0 bytes)'
    said = getattr(error, 'error_string', getattr(error, 'strerror', None) or str(error)).strip(' .')
    if 'regular file' in said or 'Unrecognised' in said: said = 'Format not recognised' # what the mp3 decoder says of anything that is no mp3
    said = ' '.join(said.split())[:200]
    return f'cannot be decoded as audio ({said})' if said else 'cannot be decoded as audio'


@contextmanager
def opened(
    path, # a song file
):
    "The song, open. Whatever goes wrong with it, here or while it is read, becomes an `AudioError`."
    try:
        plain = Path(path)
        if plain.exists() and not plain.is_file() and not plain.is_dir(): raise Refused('is a device or a pipe, not a song')
        with open_song(path) as song: yield song
    except (AudioError, AttributeError, ImportError, NameError): raise # the last three are faults of ours
    except Exception as error: # decoders of other people meet bytes of other people: they raise all kinds
        raise AudioError(path, decode_error_reason(path, error)) from error


def checked(
    blocks, # pairs of a sample rate and samples (n, channels)
    expected: float | None, # in seconds; None: not known
    longest: float, # in seconds
):
    "The blocks as they are. Raises `Refused` when they are more than allowed or fewer than the file promised."
    seconds = 0.
    for sr, x in blocks:
        seconds += len(x) / sr
        if seconds > longest: raise Refused(f'lasts more than {longest / 3600:.1f} h, too long to be read')
        yield sr, x
    if expected and seconds < ENOUGH * expected - 0.001: raise Refused(f'is cut off: {seconds:.1f} of {expected:.1f} s are there')


def audible(
    blocks, # pairs of a sample rate and samples (n,)
):
    "The blocks as they are. Raises `Refused` where they hold no sound: before resampling, which makes waves of what does not move."
    n, low, high = 0, np.inf, -np.inf
    for sr, y in blocks:
        n, low, high = n + len(y), np.minimum(low, y.min()), np.maximum(high, y.max())
        if (fault := fault_of(n, sr, low, high)) and fault != SILENT: raise Refused(fault)
        yield sr, y
    if not n or high - low < SILENCE: raise Refused(fault_of(n, 1, low, high))


def waveform(
    song, # an open song
    offset: float, # where to start, in seconds
    duration: float | None, # how much to read, in seconds; None reads to the end
    sr: int, # sample rate wanted, in Hz
    most_samples: float = np.inf, # how many are allowed
):
    "The song in mono blocks at one sample rate. Raises `Refused` before anything is decoded where the file says that it lasts too long."
    keep, expected = np.inf if duration is None else duration, None
    longest = min(MOST_SECONDS, most_samples / sr)
    if song.frames is not None:
        expected = min(max(song.frames / song.sr - offset, 0), keep)
        if expected > longest: raise Refused(f'lasts {expected / 3600:.1f} h, too long to be read (at most {longest / 3600:.1f} h)')
    skip = round(offset * song.sr)
    if skip and song.seekable: song.seek(skip)
    blocks = cropped(song.blocks(), 0. if song.seekable else offset, keep)
    return resampled(audible(mono(checked(blocks, expected, longest))), sr)


def check_times(
    offset: float, # in seconds
    duration: float | None, # in seconds
):
    "Raises `ValueError` for a negative or endless time."
    if not 0 <= offset < np.inf or duration is not None and not 0 <= duration < np.inf:
        raise ValueError(f'offset and duration must be finite and not negative, got {offset} and {duration}')


def read_samples(
    path, # a song file of any kind that libsndfile or FFmpeg reads
    offset: float = 0., # where to start, in seconds
    duration: float | None = None, # how much to read, in seconds; None reads to the end
    sr: int | None = None, # sample rate wanted, in Hz; None keeps the file's own
) -> tuple: # waveform (samples,) float32, mono; and its sample rate in Hz
    """Decode a file, mix it down to mono, and resample it on the way: only the result is held in memory.

    Where channels cancel each other (inverted stereo), the louder one is taken instead of the mix.
    Raises `AudioError` when it cannot be read, was cut off, lasts too long, is silent, or holds no samples or none that are finite.
    """
    check_times(offset, duration)
    with opened(path) as song:
        sr = sr or song.sr
        known = 0 if song.frames is None else max(song.frames / song.sr - offset, 0)
        y, n = np.empty(min(int((known if duration is None else min(known, duration)) * sr) + 64, MOST_SAMPLES), np.float32), 0
        for block in waveform(song, offset, duration, sr, MOST_SAMPLES):
            if n + len(block) > len(y): y = np.concatenate([y, np.empty(max(len(y) // 2, len(block)), np.float32)])
            y[n:n + len(block)] = block
            n += len(block)
        return (y[:n] if 2 * n > len(y) else y[:n].copy()), sr


def read_blocks(
    path, # a song file of any kind and length
    sr: int | None = 22050, # sample rate wanted, in Hz; None keeps the file's own
    seconds: float = 30., # length of a block
    offset: float = 0., # where to start, in seconds
    duration: float | None = None, # how much to read, in seconds; None reads to the end
): # yields blocks (samples,), float32, mono, each `round(seconds * sr)` long but the last
    """A song in blocks, in flat memory however long it is; together they are the samples that `read_samples` gives.

    Raises `AudioError` as `read_samples` does: at once where the file says it, else when the fault is met (that a song is silent
    or cut off is known at its end).
    """
    check_times(offset, duration)
    kept, n = [], 0
    with opened(path) as song:
        sr = sr or song.sr
        size = max(1, round(seconds * sr))
        for block in waveform(song, offset, duration, sr):
            kept.append(block)
            n += len(block)
            if n < size: continue
            whole = np.concatenate(kept)
            for start in range(0, n - size + 1, size): yield whole[start:start + size]
            kept, n = [whole[n - n % size:]], n % size
        if n: yield np.concatenate(kept)


def sounding(
    blocks, # waveforms, (samples,) each; one after the other they are a song
    sr: int, # its sample rate in Hz
    path='', # where it came from, for the error
    min_seconds: float = 0., # shortest duration allowed, in seconds
): # yields the blocks as they are
    "What `check_waveform` does, for a song in blocks: whether it is too short or silent is known at its end."
    n, low, high = 0, np.inf, -np.inf
    for y in blocks:
        n, low, high = n + len(y), np.minimum(low, y.min()), np.maximum(high, y.max())
        if (fault := fault_of(n, sr, low, high)) and fault != SILENT: raise AudioError(path, fault)
        yield y
    if fault := fault_of(n, sr, low, high, min_seconds): raise AudioError(path, fault)


def example_blocks(
    path, # a song file of any kind and length
    sr: int, # sample rate wanted, in Hz
    seconds: float, # length of one example
    min_seconds: float = 0., # shortest duration allowed, in seconds
): # yields waveforms (samples,), float32, mono
    """A song in blocks of about a minute, each a whole number of examples long; a rest of less than one example is left out,
    unless it is the whole song. Raises `AudioError` as `read_blocks` and `check_waveform` do."""
    size = max(1, round(seconds * sr))
    block = size * max(1, round(BLOCK_SECONDS / seconds))
    for i, y in enumerate(sounding(read_blocks(path, sr, block / sr), sr, path, min_seconds)):
        if i == 0 and len(y) < block: check_waveform(y, sr, path, min_seconds) # all of the song
        if i == 0 or len(y) >= size: yield y


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
    if path.suffix.lower() not in WRITTEN_SUFFIXES: raise ValueError(f"{path.name}: cannot write {path.suffix or 'a file without ending'}; use one of {', '.join(WRITTEN_SUFFIXES)}")
    with atomic_path(path) as part:
        try:
            with sf.SoundFile(part, 'w', sr, channels=1, **kwargs) as song: # in blocks: libsndfile crashes on minutes of ogg at once
                for start in range(0, len(y), 65536): song.write(np.clip(y[start:start + 65536], -1, 1))
        except sf.LibsndfileError as error:
            if error.code != 2: raise # 2 is "System error", such as a full disk
            raise OSError(None, f'cannot be written ({error.error_string.strip(" .")}; is the disk full?)', str(path)) from error
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
