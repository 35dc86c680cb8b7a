"What the first bytes, chunks and pages of a song file say of it, before anything is decoded."

import re

KINDS = ( # what a file begins with (bytes that may be anything are dots) -> what FFmpeg calls such a file
    (rb'(RIFF|RIFX|RF64|BW64)....WAVE', 'wav'), (rb'riff\x2e\x91\xcf\x11', 'w64'), (rb'\.snd', 'au'), (rb'FORM....AIF[FC]', 'aiff'),
    (rb'caff', 'caf'), (rb'fLaC', 'flac'), (rb'OggS', 'ogg'), (rb'....(ftyp|moov|mdat|free|skip|wide)', 'mov'), (rb'\x1aE\xdf\xa3', 'matroska'),
    (rb'0&\xb2u\x8ef\xcf\x11', 'asf'), (rb'wvpk', 'wv'), (rb'MAC ', 'ape'), (rb'#!AMR', 'amr'), (rb'FLV\x01', 'flv'), (rb'RIFF....AVI ', 'avi'),
    (rb'\xff[\xf0\xf1\xf8\xf9]', 'aac'), (rb'\xff[\xe2-\xff]|ID3|TAG', 'mp3'))
LONG_RIFF = (b'RF64', b'BW64') # wav files with lengths of 64 bits (EBU Tech 3306, ITU-R BS.2088)
FLAC_TAIL = 1 << 16 # bytes at the end of a FLAC file in which its last frame begins
SLACK = 64 # bytes; writers that count their own header into the length of the data go wrong by so much


def kind_of(
    head: bytes, # the first bytes of a file, after tags
) -> str: # name of FFmpeg's reader, '' for what is no known kind
    "What kind of file begins like that, whatever its name ends with. Playlists and other kinds that could open further files are not among them."
    return next((kind for pattern, kind in KINDS if re.match(pattern, head, re.DOTALL)), '')


def is_placeholder(
    length: int, # of a chunk, in 32 bits
) -> bool: # True when it means "not known yet"
    "Whether a length is one of those that programs write when they cannot know it: all ones, or the largest with a sign, give or take a header."
    return abs(length - 2**31) < 2**16 or length > 2**32 - 2**16


def riff_data(
    file, # an open wav or aiff file
) -> tuple: # where its samples begin, bytes of them that it promises, what it promises in all, its kind of coding; zeros when there are none
    "The chunk with the samples (RIFF: 'data'; EA IFF 85: 'SSND'). RF64 and BW64 keep their lengths in 64 bits in the chunk 'ds64'."
    file.seek(0)
    head, long, coding = file.read(12), 0, 0
    order = 'big' if head[:4] in (b'FORM', b'RIFX') else 'little'
    for _ in range(1000):
        chunk = file.read(8)
        if len(chunk) < 8: break
        name, length, start = chunk[:4], int.from_bytes(chunk[4:], order), file.tell()
        if name in (b'data', b'SSND'):
            length = long if head[:4] in LONG_RIFF and length == 2**32 - 1 else length
            return start, length, 8 + int.from_bytes(head[4:8], order), coding
        if name == b'fmt ': coding = int.from_bytes(file.read(2), order)
        if name == b'ds64': long = int.from_bytes(file.read(16)[8:], 'little')
        file.seek(start + length + length % 2)
    return 0, 0, 0, 0


def long_data(
    file, # an open caf or w64 file
) -> tuple: # where its samples begin, bytes of them that it promises; zeros when there are none
    "The chunk with the samples of a file that keeps its lengths in 64 bits. Those of w64 count the chunk's own head of 24 bytes."
    file.seek(0)
    caf = file.read(4) == b'caff'
    place = 8 if caf else 40
    for _ in range(1000):
        file.seek(place)
        head = file.read(24)
        length = int.from_bytes(head[4:12], 'big') if caf else int.from_bytes(head[16:], 'little') - 24
        place += 12 if caf else 24
        if head[:4] == b'data': return place, length
        if len(head) < 24 or not 0 <= length < 2**62: break
        place += length + (0 if caf else -length % 8)
    return 0, 0


def mp3_inside(
    file, # an open wav file
    size: int, # its length in bytes
) -> tuple | None: # (start, end) in bytes; None where its samples are coded otherwise
    "The mp3 file that lies in a wav file (codings 0x50 and 0x55 of RFC 2361). What libsndfile makes of it ends where its bit rate changes."
    start, promised, _, coding = riff_data(file)
    if coding not in (0x50, 0x55): return None
    return start, size if is_open_ended(file, size) else min(size, start + promised)


def chunks_follow(
    file, # an open wav file
    position: int, # where a chunk ends
    size: int, # length of the file in bytes
) -> bool: # True where others follow up to the end of the file
    "Whether what lies there is a row of chunks (or another wav file), each with a name in letters and a length that fits."
    position += position % 2
    while position + 8 <= size:
        file.seek(position)
        head = file.read(8)
        if head[:4] in (b'RIFF', *LONG_RIFF): return True
        if not re.fullmatch(rb'[ -~]{4}', head[:4]): return False
        length = int.from_bytes(head[4:], 'little')
        position += 8 + length + length % 2
    return position <= size + SLACK


def missing_bytes(
    file, # an open song file of any kind
    size: int, # its length in bytes
) -> int: # bytes of sound that its header promises beyond its end
    "How much of a wav, aiff, au, caf or w64 file was cut off; 0 for other kinds, and where the header leaves the length open."
    file.seek(0)
    head = file.read(16)
    if head[:4] in (b'RIFF', b'RIFX', b'FORM', *LONG_RIFF): start, promised, *_ = riff_data(file)
    elif head[:4] in (b'caff', b'riff'): start, promised = long_data(file)
    elif head[:4] == b'.snd': start, promised = int.from_bytes(head[4:8], 'big'), int.from_bytes(head[8:12], 'big')
    else: return 0
    missing = start + promised - size
    return missing if start and missing > SLACK and not is_placeholder(promised) else 0


def is_open_ended(
    file, # an open wav file
    size: int, # its length in bytes
) -> bool: # True where the samples go on to the end of the file, whatever the header says
    """Whether the length of a wav file was never filled in (the recorder was killed) or does not fit into its 32 bits.

    Where the samples end too early and no other chunks follow, what follows is samples too: if the file as a whole is said to reach
    to its end, or if it is no less than what was promised (a little may be a tag).
    """
    start, promised, whole, _ = riff_data(file)
    rest = size - start - promised
    if not start or rest <= 0: return False
    if rest > 2**32 - SLACK: return True
    return rest >= (promised // 100 if abs(whole - size) <= SLACK else promised) and not chunks_follow(file, start + promised, size)


def au_front(
    file, # an open au file
    size: int, # its length in bytes
) -> bytes: # its first bytes, mended; b'' where nothing is wrong with them
    "The head of an au file whose length was never filled in, in the way in which the format says so (all ones)."
    file.seek(0)
    head = file.read(12)
    start, promised = (int.from_bytes(head[i:i + 4], 'big') for i in (4, 8))
    return head[:8] + b'\xff' * 4 if start < size and (promised == 0 or is_placeholder(promised)) else b''


def flac_reaches(
    file, # an open FLAC file
) -> int: # samples of one channel before its last frame; 0 when it was not found
    """How far a FLAC file goes, whatever its head says: the head of its last frame holds its number, or that of its first sample
    (RFC 9639, section 9.1)."""
    size = file.seek(0, 2)
    file.seek(8)
    block = int.from_bytes(file.read(2), 'big')
    file.seek(max(0, size - FLAC_TAIL))
    tail = file.read(FLAC_TAIL)
    for found in reversed(list(re.finditer(rb'\xff[\xf8\xf9]', tail))):
        head = tail[found.start():found.start() + 16]
        n = 0 if len(head) < 16 or head[4] < 0x80 else 8 - (head[4] ^ 0xff).bit_length() # bytes of the number, as in UTF-8
        end = 4 + max(n, 1) + {6: 1, 7: 2}.get(head[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0) if len(head) > 2 else 16
        if n in (1, 8) or end >= len(head) or crc8(head[:end]) != head[end]: continue
        number = head[4] & (0x7f >> n)
        for byte in head[5:4 + max(n, 1)]: number = number << 6 | byte & 63
        return number * (1 if head[1] & 1 else block)
    return 0


def crc8(
    data: bytes, # a few bytes
) -> int: # 8 bits
    "The checksum of a FLAC frame's head (RFC 9639: polynomial 0x07, starting at 0)."
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8): crc = (crc << 1 & 0xff) ^ (7 if crc & 0x80 else 0)
    return crc


def ogg_links(
    file, # an open Ogg file
) -> tuple: # (start, end) in bytes of each link of the chain, and whether its last page is cut off
    "Recordings that lie one after the other in an Ogg file, and whether it ends within a page (RFC 3533, sections 4 and 6)."
    size, place, links, in_head = file.seek(0, 2), 0, [], False
    while place + 4 <= size:
        file.seek(place)
        page = file.read(27 + 255)
        if page[:4] != b'OggS':
            i = page.find(b'OggS', 1)
            place += i if i > 0 else max(1, len(page) - 3)
            continue
        end = place + 27 + page[26] + sum(page[27:27 + page[26]]) if len(page) >= 27 else size + 1
        if end > size: return links or [(0, size)], True
        begins = bool(page[5] & 2)
        if begins and not in_head: links.append((place, end))
        if links: links[-1] = (links[-1][0], end)
        in_head, place = begins, end
    return links, False


def end_before_tags(
    file, # an open song file
) -> int: # bytes from its beginning
    "Where the sound ends before ID3v1 tags (128 bytes, 'TAG') and APEv2 tags, which programs hang on to files that have no place for them."
    end = file.seek(0, 2)
    while end > 128:
        file.seek(end - 128)
        tail = file.read(128)
        if tail.startswith(b'TAG'): end -= 128
        elif tail[96:].startswith(b'APETAGEX'): # items and footer, and a header of 32 bytes where the highest flag says so
            end -= int.from_bytes(tail[108:112], 'little') + (32 if tail[119] & 0x80 else 0)
        else: break
    return end


def mp4_fault(
    file, # an open mp4 file
) -> str: # the reason, '' when there is none
    """Why an mp4 file cannot be decoded: without the box 'moov', which often comes last, nobody knows where its sound lies;
    and a few bytes can claim a table of samples of gigabytes (ISO 14496-12, 'stsz')."""
    size, place, window, whole = file.seek(0, 2), 0, 1 << 20, False
    while place < size:
        file.seek(place)
        data = file.read(window + 16)
        whole = whole or b'moov' in data
        for found in re.finditer(b'stsz|stz2', data):
            field = data[found.end():found.end() + 12]
            if field[:4] == bytes(4) and int.from_bytes(field[8:], 'big') > size: return 'cannot be decoded as audio (its table of samples is larger than the file)'
        place += window
    return '' if whole else 'is cut off: the table of its samples is missing (moov)'
