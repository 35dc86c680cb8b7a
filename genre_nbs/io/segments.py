"A song of any length as overlapping segments, in flat memory: silence takes no part, and the end is heard."

from itertools import chain, islice

import numpy as np

from genre_nbs.io.decode import AudioError, BLOCK_SECONDS, read_blocks, sounding

SILENT, GAP = 0.001, 0.5 # what stays below this fraction of the loudest sample for so many seconds is silence
ROWS = 128 # frames that `spectra.in_blocks` takes at a time, twice as many as `features.magnitude_spectrogram`
FRAMES = 32 * ROWS # of a long song that are analysed at once


class SongBlocks:
    "A song of any length in blocks of a minute, to go through more than once: up to ten minutes are read once and kept, a longer song is read each time."
    def __init__(
        self,
        path, # a song file
        sr: int, # sample rate in Hz
        min_seconds: float = 0., # shortest duration allowed, in seconds
    ):
        self.path, self.sr, self.min_seconds, self.whole = path, sr, min_seconds, None

    def __iter__(self):
        "Waveforms (samples,). Raises `AudioError` where `load_audio` does, at the end of the song at the latest."
        if self.whole: return iter(self.whole)
        blocks = sounding(read_blocks(self.path, self.sr, BLOCK_SECONDS), self.sr, self.path, self.min_seconds)
        first = list(islice(blocks, 11))
        if len(first) < 11: self.whole = first
        return chain(first, blocks)


def frame_blocks(
    blocks, # waveforms, (samples,) each; one after the other they are a song
    hop_length: int, # samples from one frame to the next
    n_fft: int = 2048, # samples in one frame
): # yields a waveform and the slice of its frames that count
    """A song in parts, to be analysed one by one in flat memory: the frames that count are those of the whole song, to the bit.

    A part begins and ends some frames outside what counts, since its first and last frames meet zeros where the song goes on.
    It begins at a whole number of `ROWS`, so that each sum over a block of frames is the sum that the whole song has there.
    """
    margin = ROWS * -(-n_fft // (2 * ROWS * hop_length)) # frames, no fewer than half a frame is long
    y, before = np.zeros(0, np.float32), 0 # what waits, and how many of its frames have counted
    for block in blocks:
        y = np.concatenate([y, block])
        while len(y) >= (end := before + FRAMES + margin) * hop_length:
            yield y[:end * hop_length], slice(before, before + FRAMES)
            y, before = y[(before + FRAMES - margin) * hop_length:], margin
    yield y, slice(before, None)


def sounding_parts(
    y: np.ndarray, # waveform, (samples,)
    sr: int, # sample rate in Hz
    peak: float, # largest absolute sample of the song so far
) -> list: # (start, end) of each part with sound, in samples
    "Where there is sound: silence at both ends, and longer silence in between, is left out."
    loud = np.flatnonzero(np.abs(y) > SILENT * peak)
    if not len(loud): return []
    breaks = np.flatnonzero(np.diff(loud) > GAP * sr)
    return list(zip(loud[np.r_[0, breaks + 1]], loud[np.r_[breaks, -1]] + 1))


class SoundStream:
    "A song in blocks without its silence; remembers its envelope, its length, and where each kept part lay."
    def __init__(
        self,
        path, # a song file
        sr: int, # sample rate in Hz
        seconds: float = 120., # read at once
    ):
        self.path, self.sr, self.seconds = path, sr, seconds
        self.kept, self.lay, self.envelopes, self.n, self.peak = [], [], [], 0, 0.

    def __iter__(self):
        "Waveforms with sound. Raises `AudioError` as `read_blocks` does."
        total = 0
        for y in read_blocks(self.path, self.sr, self.seconds):
            self.peak = max(self.peak, float(np.abs(y).max()))
            step = self.sr // 10
            tenths = y[:len(y) // step * step].reshape(-1, step)
            self.envelopes.append(np.stack([tenths.min(1), tenths.max(1)], 1))
            for start, end in sounding_parts(y, self.sr, self.peak):
                self.kept += [total, total + end - start - 1]
                self.lay += [self.n + start, self.n + end - 1]
                total += end - start
                yield y[start:end]
            self.n += len(y)

    def times(
        self,
        positions: np.ndarray, # (n,) samples of the kept sound
    ) -> np.ndarray: # (n,) seconds of the song
        "Where in the song a position of the kept sound lies."
        return np.interp(positions, self.kept, self.lay) / self.sr

def cut_segments(
    representation, # a `Representation`
    y: np.ndarray, # waveform, (samples,), one segment at least
    hop: int, # from one segment to the next, in samples
    first: int = 0, # where the first one begins, in samples
) -> tuple: # where each begins, (n,) in samples; examples (n, *shape)
    "Overlapping segments as examples: the waveform is cut several times, each time shifted by `hop`."
    size = round(representation.seconds * representation.sr)
    starts, parts = [], []
    for shift in range(first, first + size, hop):
        n = (len(y) - shift) // size
        if n < 1: break
        parts.append(representation.of_waveform(y[shift:shift + n * size], representation.sr))
        starts.append(shift + size * np.arange(len(parts[-1])))
    if not parts: return np.zeros(0, int), []
    starts = np.concatenate(starts)
    order = np.argsort(starts)
    return starts[order], np.concatenate(parts)[order]


def stream_segments(
    stream, # yields waveforms, such as a `SoundStream`
    representation, # a `Representation`
    overlap: int = 2, # segments that hear each moment
    repeat: bool = True, # whether a song shorter than a segment is repeated here; else the representation takes it as it is
): # yields (where each begins in samples, examples) for some segments at a time
    "Segments of a song of any length in flat memory; the last one ends where the song ends. Raises `AudioError`."
    sr, size = representation.sr, round(representation.seconds * representation.sr)
    hop, chunk = size // overlap, max(300 * sr, 2 * size)
    y, origin, first = np.zeros(0, np.float32), 0, 0 # what waits, where it began, where its next segment begins
    for part in stream:
        y = np.concatenate([y, part])
        if len(y) < chunk: continue
        starts, x = cut_segments(representation, y, hop, first)
        yield origin + starts, x
        y, origin, first = y[starts[-1]:], origin + starts[-1], hop # the last segment stays, for the end of the song
    shortest = 1. if representation.kind == 'picture' else representation.seconds
    if len(y) < shortest * sr: raise AudioError('', f'holds {len(y) / sr:.2f} s of sound, fewer than the {shortest:g} s needed')
    if len(y) < size: yield np.array([0]), representation.of_waveform(np.resize(y, size) if repeat else y, sr)
    starts, x = cut_segments(representation, y, hop, first)
    if len(starts): yield origin + starts, x
    covered = starts[-1] + size if len(starts) else size
    if len(y) - covered > hop // 4: yield origin + np.array([len(y) - size]), representation.of_waveform(y[-size:], sr)
