"What an mp3 file says of its length: its frames are counted one by one, since many encoders write no total, and files are joined."

import re
from functools import cache
from typing import NamedTuple

KBITS = { # of layers 1, 2 and 3, by the index in the header (ISO 11172-3 and 13818-3, table of bit rates); MPEG-1, then MPEG-2
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
KBITS[2, 3] = KBITS[2, 2]
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)} # MPEG-1, MPEG-2, MPEG-2.5
WINDOW = 1 << 20 # bytes held at once
LONGEST_SEARCH = 1 << 22 # bytes of other data in which the next frame is looked for
ENOUGH = 0.95 # with less than this share of the frames that it promises, a file is cut off
SYNC = re.compile(rb'\xff[\xe2-\xff][\x10-\xef]') # what a frame may begin with

TOTAL = re.compile(b'Xing|Info|VBRI') # what a frame with a total holds


class Frames(NamedTuple):
    "What counting the frames of an mp3 file gave."
    sr: int # sample rate of the first frame in Hz; 0 when there is none
    samples: int # of one channel in all frames, at the rate `sr`
    missing: int # samples that the last header with a total promises beyond the end of the file
    junk: bool = False # whether something that is neither frame nor tag lies behind the first frame


@cache
def frame_header(
    second: int, # second byte of a frame; the first is 255
    third: int, # third byte
) -> tuple | None: # bytes, samples, sample rate in Hz; None when it is no header (or one of the rare "free" bit rate)
    "Length of an mp3 frame (ISO 11172-3, section 2.4.1.3)."
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    kbits, rate, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
    if second < 0xe0 or version == 1 or layer == 4 or kbits in (0, 15) or rate == 3: return None
    sr, bits = RATES[version][rate], 1000 * KBITS[1 if version == 3 else 2, layer][kbits - 1]
    if layer == 1: return (12 * bits // sr + padding) * 4, 384, sr
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * bits // sr + padding, samples, sr


class Window:
    "A file of which a megabyte is held at once, so that memory stays flat."

    def __init__(self, file):
        self.file, self.start, self.data = file, 0, b''
        self.size = file.seek(0, 2)

    def at(self, position, n):
        "The `n` bytes at `position`, fewer at the end of the file."
        i = position - self.start
        if i < 0 or i + n > len(self.data):
            self.file.seek(position)
            self.start, self.data, i = position, self.file.read(WINDOW), 0
        return self.data[i:i + n]


def tag_length(
    window: Window, # a file
    position: int, # where a tag may begin
) -> int: # bytes; 0 when none begins there
    "Length of a tag: ID3v2, ID3v1, or APE. One that would go on behind the end of the file counts as its first ten bytes."
    head, length = window.at(position, 32), 0
    if head[:3] == b'ID3' and len(head) >= 10 and max(head[6:10]) < 128:
        length = 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10])) + 10 * (head[5] >> 4 & 1)
    elif head[:3] == b'TAG': length = 128
    elif head[:8] == b'APETAGEX' and len(head) == 32: length = 32 + (int.from_bytes(head[12:16], 'little') if head[23] & 0x20 else 0)
    return length if position + length <= window.size else 10


def find_frame(
    window: Window, # a file
    position: int, # where to begin
) -> int: # where a frame begins that another one follows; the size of the file when there is none
    "The next frame. One header alone may be chance, so a second one must follow it (or the end of the file)."
    last = min(window.size, position + LONGEST_SEARCH)
    while position < last:
        block = window.at(position, 4096)
        maybe = SYNC.search(block)
        if not maybe:
            if len(block) < 4096: break
            position += len(block) - 2
            continue
        position += maybe.start()
        found = frame_header(block[maybe.start() + 1], block[maybe.start() + 2])
        after = window.at(position + found[0], 3) if found else b'???'
        if len(after) < 3 or after[0] == 255 and frame_header(after[1], after[2]): return position
        position += 1
    return window.size


def promised_frames(
    head: bytes, # the first 60 bytes of a frame
) -> tuple | None: # frames that follow and bytes of them, 0 where that is left open; None when this frame holds sound
    "The total that encoders write into a first frame without sound (Xing, LAME: 'Xing' or 'Info'; Fraunhofer: 'VBRI')."
    mono, first = head[3] >> 6 == 3, head[1] >> 3 & 3 == 3
    position = 4 + ((17 if mono else 32) if first else (9 if mono else 17))
    if head[position:position + 4] in (b'Xing', b'Info'):
        flags, place = int.from_bytes(head[position + 7:position + 8], 'big'), position + 8
        n_bytes = head[place + 4 * (flags & 1):][:4]
        return int.from_bytes(head[place:place + 4], 'big') * (flags & 1), int.from_bytes(n_bytes, 'big') if flags & 2 else 0
    if head[36:40] == b'VBRI': return int.from_bytes(head[50:54], 'big'), int.from_bytes(head[46:50], 'big')
    return None


def count_frames(
    file, # an open mp3 file
) -> Frames: # what it holds
    "Walk from header to header to the end of the file, over tags and whatever else lies between."
    window, position, sr, seconds, samples, junk = Window(file), 0, 0, 0., 0, False
    promised, since, n_bytes = (0, 0), 0, 0
    while position < window.size:
        head = window.at(position, 60)
        found = frame_header(head[1], head[2]) if len(head) > 3 and head[0] == 255 else None
        if not found:
            skip = tag_length(window, position)
            junk = junk or bool(sr and not skip)
            position = position + skip if skip else find_frame(window, position + 1)
            continue
        size, samples, rate = found
        if position + size > window.size: break
        total = promised_frames(head) if TOTAL.search(head) else None
        if total is None:
            sr, seconds, since, n_bytes = sr or rate, seconds + samples / rate, since + 1, n_bytes + size
        else: promised, since, n_bytes = total, 0, 0
        position += size
    frames, length = promised # where all bytes are there, the number of frames is wrong
    cut = since < ENOUGH * frames and not (length and n_bytes >= ENOUGH * length)
    return Frames(sr, round(seconds * sr), (frames - since) * samples if cut else 0, junk)
