"What the first bytes, chunks and pages of a song file say of it, before anything is decoded."

import re

KINDS = ( # what a file begins with (bytes that may be anything are dots) -> what FFmpeg calls such a file
    (rb'RIFF....WAVE|RIFX....WAVE|RF64....WAVE', 'wav'), (rb'riff\x2e\x91\xcf\x11', 'w64'), (rb'\.snd', 'au'), (rb'FORM....AIF[FC]', 'aiff'),
    (rb'caff', 'caf'), (rb'fLaC', 'flac'), (rb'OggS', 'ogg'), (rb'....(ftyp|moov|mdat|free|skip|wide)', 'mov'), (rb'\x1aE\xdf\xa3', 'matroska'),
    (rb'0&\xb2u\x8ef\xcf\x11', 'asf'), (rb'wvpk', 'wv'), (rb'MAC ', 'ape'), (rb'#!AMR', 'amr'), (rb'FLV\x01', 'flv'), (rb'RIFF....AVI ', 'avi'),
    (rb'\xff[\xf0\xf1\xf8\xf9]', 'aac'), (rb'\xff[\xe2-\xff]|ID3|TAG', 'mp3'))
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
) -> tuple: # where its samples begin, bytes of them that it promises, what it promises in all; (0, 0, 0) when there are none
    "The chunk with the samples (RIFF: 'data'; EA IFF 85: 'SSND'). RF64 keeps its lengths in 64 bits in the chunk 'ds64'."
    file.seek(0)
    head, long = file.read(12), 0
    order = 'big' if head[:4] in (b'FORM', b'RIFX') else 'little'
    for _ in range(1000):
        chunk = file.read(8)
        if len(chunk) < 8: break
        name, length, start = chunk[:4], int.from_bytes(chunk[4:], order), file.tell()
        if name in (b'data', b'SSND'): return start, long if head[:4] == b'RF64' and length == 2**32 - 1 else length, 8 + int.from_bytes(head[4:8], order)
        if name == b'ds64': long = int.from_bytes(file.read(16)[8:], 'little')
        file.seek(start + length + length % 2)
    return 0, 0, 0


def missing_bytes(
    file, # an open song file of any kind
    size: int, # its length in bytes
) -> int: # bytes of sound that its header promises beyond its end
    "How much of a wav, aiff or au file was cut off; 0 for other kinds, and where the header leaves the length open."
    file.seek(0)
    head = file.read(16)
    if head[:4] in (b'RIFF', b'RIFX', b'RF64', b'FORM'): start, promised, _ = riff_data(file)
    elif head[:4] == b'.snd': start, promised = int.from_bytes(head[4:8], 'big'), int.from_bytes(head[8:12], 'big')
    else: return 0
    missing = start + promised - size
    return missing if start and missing > SLACK and not is_placeholder(promised) else 0


def is_open_ended(
    file, # an open wav file
    size: int, # its length in bytes
) -> bool: # True where the samples go on to the end of the file, whatever the header says
    "Whether the length of a wav file was never filled in (the recorder was killed) or does not fit into its 32 bits."
    start, promised, whole = riff_data(file)
    never = promised == 0 and whole <= start + 8 # an empty file with other chunks after its samples promises those
    return bool(start) and (never and size > start or size - start - promised > 2**32 - SLACK)


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
