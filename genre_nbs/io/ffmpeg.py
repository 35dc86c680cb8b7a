"What libsndfile does not read (m4a, mp4, aac, wma, webm, Opus in odd wrappings, ...), decoded by FFmpeg through PyAV."

from contextlib import closing
from functools import lru_cache

import numpy as np

DTYPES = {'u8': 'u1', 's16': 'i2', 's32': 'i4', 's64': 'i8', 'flt': 'f4', 'dbl': 'f8'} # numpy's names of FFmpeg's
SCALES = {'u8': 2**7, 's16': 2**15, 's32': 2**31, 's64': 2**63} # of whole numbers: what is 1.0; those without a sign have their zero there
BLOCK = 2**18 # samples of all channels handed out at once
MOST_CHANNELS = 64 # more are no music


@lru_cache(maxsize=1)
def sound_decoders(
) -> str: # names with commas between
    "FFmpeg's decoders of sound. Only these may run: covers and films in a file are never decoded, whatever their size."
    import av
    from av.codec import Codec
    names = []
    for name in sorted(av.codecs_available):
        try: names += [name] if Codec(name, 'r').type == 'audio' else []
        except ValueError: pass # an encoder without a decoder
    return ','.join(names)


def as_float(
    frame, # of PyAV
) -> np.ndarray: # (samples, channels), float32 in [-1, 1]
    "Samples of a decoded frame. Of 8 channels or more PyAV counts too many planes: its `planes` fail, or `to_ndarray` crashes Python."
    from av.audio.plane import AudioPlane
    kind, planar, channels = frame.format.name.removesuffix('p'), frame.format.is_planar, frame.layout.nb_channels
    if not 0 < channels <= MOST_CHANNELS: raise ValueError(f'{channels} channels')
    planes = [AudioPlane(frame, i) for i in range(channels if planar else 1)]
    x = np.stack([np.frombuffer(plane, DTYPES[kind], frame.samples * (1 if planar else channels)) for plane in planes])
    x = x.T if planar else x.reshape(-1, channels)
    if kind not in SCALES:
        with np.errstate(over='ignore'): return x.astype(np.float32) # what is infinite then is refused as that
    return ((x.astype(np.float64) - (SCALES[kind] if kind == 'u8' else 0)) / SCALES[kind]).astype(np.float32)


class FFmpegSong:
    """A song that FFmpeg reads: `sr` in Hz, `channels`, `frames` (None when the file does not say).

    Raises `ValueError` when it cannot be opened, or there is no sound in it.
    """

    seekable = False

    def __init__(self, file, kind, open_ended=False):
        import av
        self.error = av.error.FFmpegError
        options = {'codec_whitelist': sound_decoders()} | ({'ignore_length': '1'} if open_ended else {})
        version = int(av.__version__.split('.')[0])
        if kind == 'flv' and version < 18: raise ValueError('flv is read with PyAV 18 or newer; with older ones FFmpeg crashes')
        tags = {'metadata_errors': 'ignore'} if version < 19 else {} # PyAV 19 does so by itself
        try: self.container = av.open(file, format=kind, options=options, **tags)
        except self.error as error: raise ValueError(error.strerror) from error # PyAV's are also `OSError`s, though the disk is well
        try:
            if not self.container.streams.audio: raise ValueError('there is no sound in it')
            self.stream = self.container.streams.audio[0]
            if self.stream.codec_context is None: raise ValueError('its kind of coding is not known')
            self.sr, self.channels = self.stream.rate or 0, self.stream.channels or 0
            if not 0 < self.channels <= MOST_CHANNELS: raise ValueError(f'{self.channels} channels')
            self.frames = self.promised(kind)
        except BaseException:
            self.close()
            raise

    def promised(self, kind):
        "Samples of one channel, where the file states its duration (for these kinds FFmpeg estimates it)."
        if kind in ('mp3', 'aac', 'amr'): return None
        if self.stream.duration and self.stream.time_base: return round(self.stream.duration * self.stream.time_base * self.sr)
        return round(self.container.duration / 1e6 * self.sr) if self.container.duration else None

    def close(self): self.container.close()

    def decoded(self):
        "Each frame as (sample rate, (samples, channels)). What cannot be decoded on the way is passed over, as players do."
        packets = self.container.demux(self.stream)
        while True:
            try: packet = next(packets, None)
            except self.error: return # the container is broken from here on
            if packet is None: return
            try: frames = packet.decode()
            except self.error: continue
            for frame in frames: yield frame.sample_rate, as_float(frame)

    def blocks(self):
        "The song in blocks: pairs of a sample rate and samples (n, channels), float32. Both may change on the way in joined files."
        kept, n, rate = [], 0, 0
        with closing(self.decoded()) as frames:
            for sr, x in frames:
                if kept and (sr != rate or x.shape[1] != kept[0].shape[1] or n * x.shape[1] > BLOCK):
                    yield rate, np.concatenate(kept)
                    kept, n = [], 0
                rate = sr
                kept.append(x)
                n += len(x)
        if kept: yield rate, np.concatenate(kept)
