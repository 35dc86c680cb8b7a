"""Which decoder reads a song file, and the way of its samples: blocks, cropped, mixed down to mono, resampled.

libsndfile comes first. FFmpeg reads what libsndfile cannot, or reads only in part: mp3 files that are longer than their first
frame says, wav files without a length.
"""

import io
import os
from contextlib import closing, contextmanager, ExitStack
from typing import NamedTuple

import numpy as np
import soundfile as sf
import soxr

from genre_nbs.io import containers
from genre_nbs.io.ffmpeg import BLOCK, FFmpegSong
from genre_nbs.io.mp3 import count_frames, Frames, tag_length, Window

LOWEST_RATE, HIGHEST_RATE = 1000, 3_072_000 # Hz; below there is no sound, above no recorder
FFMPEG_ONLY = ('mov', 'matroska', 'asf', 'aac', 'wv', 'ape', 'amr', 'flv', 'avi') # in some of them libsndfile finds mp3 frames, by chance
SILENCE = 2e-5 # a waveform that moves by less is silent; one step of 16 bits is 3e-5
CANCELLED = 1e-3 # -30 dB: with less of their energy left in the mix, the channels cancel each other


class Refused(ValueError):
    "A file that is not to be read; the text is the reason."


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


class Slice(io.RawIOBase):
    """A part of a file as a file of its own; `front` is what its first bytes are to be.

    To ask for what lies outside is no error (damaged files make FFmpeg ask; an exception there would be printed).
    """

    def __init__(self, file, start, end, front=b''): self.file, self.start, self.end, self.front, self.position = file, start, end, front, 0

    def readable(self): return True

    def seekable(self): return True

    def tell(self): return self.position

    def seek(self, position, whence=0):
        self.position = max(0, position + (0, self.position, self.end - self.start)[whence])
        return self.position

    def readinto(self, buffer):
        wanted = min(len(buffer), self.end - self.start - self.position)
        if wanted <= 0: return 0
        self.file.seek(self.start + self.position)
        data = self.file.read(wanted)
        front = self.front[self.position:self.position + len(data)]
        buffer[:len(data)] = front + data[len(front):]
        self.position += len(data)
        return len(data)


class Straight(sf.SoundFile):
    "A sound file read from front to back. soundfile seeks after each read where it may, and the mp3 decoder then loses what the next frame needs."

    def seekable(self): return False


class SoundFileSong:
    "A song that libsndfile reads: `sr` in Hz, `channels`, `frames` (None when the file does not say)."

    def __init__(self, file, quiet=True):
        self.quiet = quiet
        with silence_stderr(quiet): self.song = Straight(file)
        self.sr, self.channels, self.format = self.song.samplerate, self.song.channels, self.song.format
        self.frames = self.song.frames if self.song.frames < 2**62 else None
        self.seekable = sf.SoundFile.seekable(self.song)
        if self.format == 'RAW':
            self.close()
            raise Refused('cannot be decoded as audio (no header)')

    def close(self): self.song.close()

    def seek(self, frame): self.song.seek(min(frame, self.song.frames))

    def blocks(self):
        "The song in blocks: pairs of the sample rate and samples (n, channels), float32."
        n = max(1, BLOCK // self.channels)
        while True:
            with silence_stderr(self.quiet): block = self.song.read(n, dtype='float32', always_2d=True)
            if len(block): yield self.sr, block
            if len(block) < n: return


class Chain:
    "Songs one after the other as one."

    seekable = False

    def __init__(self, songs):
        self.songs, self.sr, self.channels = songs, songs[0].sr, songs[0].channels
        known = all(song.frames is not None for song in songs)
        self.frames = round(sum(song.frames / song.sr for song in songs) * self.sr) if known else None

    def close(self):
        for song in self.songs: song.close()

    def blocks(self):
        for song in self.songs: yield from song.blocks()


class Rescued:
    "A song that libsndfile reads, and FFmpeg to its end where libsndfile gives up: at a damaged frame, or at what follows the last one."

    def __init__(self, song, spare):
        self.song, self.spare, self.place = song, spare, 0
        self.sr, self.channels, self.frames, self.seekable = song.sr, song.channels, song.frames, song.seekable

    def close(self): self.song.close()

    def seek(self, frame):
        self.song.seek(frame)
        self.place = frame

    def blocks(self):
        try:
            for sr, x in self.song.blocks():
                self.place += len(x)
                yield sr, x
            return
        except sf.LibsndfileError as error:
            try: song = self.spare()
            except Exception: raise error from None
        with closing(song): yield from cropped(song.blocks(), self.place / self.sr, np.inf)


class Survey(NamedTuple):
    "What a file says before it is decoded."
    kind: str # FFmpeg's name, '' when unknown
    cut: str # why it is taken for cut off, '' when it is not
    open_ended: bool # a wav file whose length was never filled in
    links: list # (start, end) of each link of an Ogg chain
    mp3: Frames | None # the frames of an mp3 file


def survey(
    file, # an open song file, without tags in front
    tagged: bool = False, # whether there were some
) -> Survey: # what it says
    "Look at chunks, pages and frames; nothing is decoded."
    window = Window(file)
    if window.at(0, 2) == b'\xf0\x7e': raise Refused('is a dump of a sampler (MIDI), not a song') # libsndfile would print each error in it
    kind = containers.kind_of(window.at(0, 16)) or ('mp3' if tagged else '')
    missing = containers.missing_bytes(file, window.size)
    cut = f'{missing} bytes are missing at its end' if missing else ''
    links, mp3 = [], None
    if kind == 'ogg':
        links, torn = containers.ogg_links(file)
        if torn: cut = 'its last page is missing'
    if kind in ('mp3', ''):
        mp3 = count_frames(file)
        if mp3.missing and mp3.sr: cut = f'{mp3.missing / mp3.sr:.1f} s are missing at its end'
        if mp3.samples > mp3.sr / 2: kind = 'mp3'
    if kind == 'mov' and (fault := containers.mp4_fault(file)): raise Refused(fault)
    return Survey(kind, cut, kind == 'wav' and containers.is_open_ended(file, window.size), links, mp3)


def part(
    file, # an open file
    start: int, # in bytes
    end: int, # in bytes
    front: bytes = b'', # what its first bytes are to be
):
    "A part of a file as a file of its own."
    return io.BufferedReader(Slice(file, start, end, front))


def without_tags(
    file, # an open song file
): # the same from where its tags end
    "A file without the tags in front of it. Taggers hang them on files of every kind; few readers pass over them, or over one that lies."
    window, position = Window(file), 0
    while position < window.size and (tag := tag_length(window, position)): position += tag
    return part(file, position, window.size) if 0 < position < window.size else file


def open_ffmpeg(
    file, # an open song file, or a `Slice` of one
    kind: str, # FFmpeg's name
    open_ended: bool = False, # a wav file whose length was never filled in
) -> FFmpegSong: # the song
    "FFmpeg's song."
    return FFmpegSong(Slice(file, 0, file.seek(0, 2)), kind, open_ended)


def open_sndfile(
    file, # an open song file, or a `part` of one
    quiet: bool, # whether what libsndfile prints is held back
) -> SoundFileSong: # the song
    "libsndfile's song. Its own reading is faster than Python's."
    file.seek(0)
    plain = isinstance(getattr(file, 'raw', None), io.FileIO)
    return SoundFileSong(os.fsencode(file.name) if plain and os.name != 'nt' else file, quiet)


def open_any(
    file, # an open song file, or a `Slice` of one
    what: Survey, # of it
):
    "libsndfile's song, or FFmpeg's where libsndfile cannot read the file. Raises what libsndfile said when neither can."
    if what.open_ended or what.kind in FFMPEG_ONLY: return open_ffmpeg(file, what.kind, what.open_ended)
    if what.kind == 'flac': return open_flac(file)
    if what.kind == 'au' and (front := containers.au_front(file, size := file.seek(0, 2))): file = part(file, 0, size, front)
    try: return open_sndfile(file, what.kind in ('mp3', ''))
    except Exception as error:
        if not what.kind: raise
        try: return open_ffmpeg(file, what.kind)
        except Exception: raise error from None


def open_flac(
    file, # an open FLAC file
):
    "A FLAC song whole. libsndfile takes a tag behind the last frame for a frame, and reads no more than the head of the file promises."
    def spare(): return open_ffmpeg(file, 'flac')
    end = containers.end_before_tags(file)
    song = open_sndfile(part(file, 0, end) if end < file.seek(0, 2) else file, False)
    if song.frames is None or containers.flac_reaches(file) <= song.frames: return Rescued(song, spare)
    song.close()
    return spare()


def open_mp3(
    file, # an open mp3 file
    what: Survey, # of it
):
    "An mp3 song whole: by FFmpeg where it has more frames than libsndfile would read, or other bytes between them. Its length is what its frames say."
    song = open_any(file, what)
    if not what.mp3.samples: return song
    n, sr = what.mp3.samples, what.mp3.sr
    if isinstance(song, FFmpegSong): song.frames = n
    elif what.mp3.junk or n * song.sr > (1.01 * song.frames + 9216) * sr: # an encoder's delay and padding are up to 8192 samples
        try: whole = open_ffmpeg(file, 'mp3')
        except ValueError: return song # frames of the "free" bit rate, which only libsndfile reads
        song.close()
        song, whole.frames = whole, n
    else: song.frames = min(song.frames, n)
    return song


@contextmanager
def open_song(
    path, # a song file
):
    "Open a song with the decoder that reads all of it. Raises `Refused`, or what the decoder raises."
    with ExitStack() as stack:
        whole = stack.enter_context(open(os.fspath(path), 'rb'))
        file = without_tags(whole)
        what = survey(file, file is not whole)
        if what.kind == 'wav' and not what.cut and (inside := containers.mp3_inside(file, file.seek(0, 2))):
            file = part(file, *inside)
            what = survey(file)
        if what.cut: raise Refused(f'is cut off: {what.cut}')
        if len(what.links) > 1: song = Chain([open_any(part(file, *link), what) for link in what.links])
        else: song = open_mp3(file, what) if what.mp3 else open_any(file, what)
        stack.callback(song.close)
        if not LOWEST_RATE <= song.sr <= HIGHEST_RATE:
            raise Refused(f"has a sample rate of {song.sr} Hz, too {'low' if song.sr < LOWEST_RATE else 'high'} for sound")
        yield song


def cropped(
    blocks, # pairs of a sample rate and samples (n, channels)
    skip: float, # in seconds
    keep: float, # in seconds, may be infinite
):
    "The blocks without the first `skip` seconds, and no more than `keep` seconds of them."
    now = None
    for sr, x in blocks:
        if now is None: before, left = round(skip * sr), keep if keep == np.inf else round(keep * sr)
        elif sr != now: before, left = round(before * sr / now), left if keep == np.inf else round(left * sr / now)
        now, part = sr, x[before:]
        before -= len(x) - len(part)
        part = part if keep == np.inf else part[:left]
        left -= len(part)
        if len(part): yield sr, part
        if left <= 0: return


def channel_to_take(
    x: np.ndarray, # (n, channels)
) -> int | None: # number of a channel; -1: the mix of all; None: nothing to hear here
    "The mix, or the loudest channel where channels cancel each other (stereo with one side turned upside down). A constant is no sound, so variances count."
    if not np.ptp(x, axis=0).max() >= SILENCE: return None
    each = x.var(0, dtype=np.float64)
    return int(each.argmax()) if x.mean(1).var(dtype=np.float64) < CANCELLED * each.mean() else -1


def mono(
    blocks, # pairs of a sample rate and samples (n, channels)
):
    "The blocks mixed down, pairs of a sample rate and samples (n,). The first block with sound decides whether the channels cancel."
    take = None
    for sr, x in blocks:
        if x.shape[1] > 1 and take is None: take = channel_to_take(x)
        if x.shape[1] == 1: y = x[:, 0]
        elif take is not None and 0 <= take < x.shape[1]: y = x[:, take]
        else: y = (x[:, 0] + x[:, 1]) / 2 if x.shape[1] == 2 else x.mean(1)
        yield sr, y


def resampled(
    blocks, # pairs of a sample rate and samples (n,)
    sr: int, # sample rate wanted, in Hz
):
    "The blocks at one sample rate: the same samples as `soxr.resample` of the whole."
    now, stream = None, None
    for own, y in blocks:
        if own != now:
            if stream: yield stream.resample_chunk(y[:0], last=True)
            now, stream = own, None if own == sr else soxr.ResampleStream(own, sr, 1, dtype='float32')
        yield stream.resample_chunk(np.ascontiguousarray(y)) if stream else y
    if stream: yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
