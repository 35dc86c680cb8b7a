"""Files and archives from elsewhere, which are not trusted: fetched with checks, unpacked inside their own folder.

A download goes on where it was cut off (HTTP ranges), is tried again, and is checked before it is kept: its length, its
checksum, and whether it is the file at all and not the page of a login. The finished file is moved into place in one step.
"""

import bz2
import errno
import glob
import gzip
import json
import lzma
import os
import re
import secrets
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from contextlib import closing
from hashlib import sha256 as text_sha256
from pathlib import Path, PurePosixPath, PureWindowsPath

import requests
import urllib3
from filelock import FileLock, Timeout

from genre_nbs.io.deadlines import within
from genre_nbs.io.files import FULL, cache_dir, full_disk_named, sha256 as file_sha256
from genre_nbs.io.progress import Bar

CHUNK = 1 << 20  # bytes handled at once
PIECE = 1 << 16  # bytes taken from the network at once: what a cut costs at most
MAX_BYTES = 1 << 40  # an archive that unpacks to more is refused: 1 TiB, a little more than the largest collection (fma_full)
MAX_FILES = 1_000_000  # and one with more members than this
MAX_RATIO = 200  # music hardly shrinks: more unpacked bytes than this for each packed one is a bomb
MAX_FILE = 1 << 30  # a download that is no archive and has no known size: 1 GiB
SLOWEST = 256  # bytes a second; a server that sends less is taken for silent
LOCK_TIMEOUT = 3600  # seconds for which another process may fetch the same file
TRANSIENT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError)
BAD_ADDRESS = (requests.TooManyRedirects, ValueError)  # requests and urllib3 raise many kinds of `ValueError` for what they cannot parse
LONG_NUMBER = re.compile(rb"[0-9]{64}")  # no number in a header is that long
ARCHIVE_HEADS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"PK\x05\x06")
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError, NotImplementedError, RuntimeError)


class DownloadError(ValueError):
    "A file that could not be fetched, or is not the one that was asked for."


class ArchiveError(ValueError):
    "An archive that is damaged, or that must not be unpacked."


# ---- fetching


class Resuming:
    """A download that goes on where an earlier try stopped.

    What has come so far lies beside the goal as `.NAME.part`, and what the server said of the file (its ETag) in
    `.NAME.part.json`: a file that changed on the server since then is fetched anew.
    """

    def __init__(self, part, size=None, max_bytes=MAX_BYTES, timeout=30.0, tries=5, wait=1.0, progress=False):
        self.part, self.note = Path(part), Path(f"{part}.json")
        self.size, self.max_bytes, self.timeout, self.tries, self.wait, self.progress = size, max_bytes, timeout, tries, wait, progress

    def __call__(self, url):
        "Fill the part. Raises `DownloadError`."
        for attempt in range(1, self.tries + 1):
            before = self.have()
            try:
                return self.fetch(url)
            except DownloadError:  # not the file that was asked for: of no use later either
                self.forget()
                raise
            except BAD_ADDRESS as error:
                raise DownloadError(f"{url}: leads to an address that cannot be followed ({str(error)[:200]!r})") from error
            except TRANSIENT as error:
                if attempt == self.tries:
                    why = f"{attempt} times" + (f" ({error})" if len(str(error)) < 60 else "")  # longer are the chains of urllib3
                    raise DownloadError(f"{url}: the connection failed {why}; what came is kept, so trying again goes on") from error
                time.sleep(self.wait if self.have() > before else self.wait * 2**attempt)
            except requests.RequestException as error:
                raise DownloadError(f"{url}: cannot be fetched ({type(error).__name__})") from error

    def forget(self):
        "Throw away what has come so far."
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def have(self):
        "Bytes that have come so far."
        return self.part.stat().st_size if self.part.exists() else 0

    def known_tag(self, url):
        "What the server said of the file when the part was begun, if that was the same address."
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return note.get("tag") if note.get("url") == url else None

    def fetch(self, url):
        "One try: ask for what is missing, and add it to the part."
        tag, have = self.known_tag(url), self.have()
        # Without a tag nobody could tell whether the old part belongs to the file that is there now.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-", "If-Range": tag} if have and tag else {})
        with self.followed(url, headers) as response:
            if response.status_code == 416:  # nothing is left to send, or the part is longer than the file
                if response.headers.get("Content-Range") == f"bytes */{have}":
                    return
                self.forget()
                raise requests.ConnectionError("the part does not fit the file")
            if response.status_code >= 500 or response.status_code == 429:
                raise requests.ConnectionError(f"the server answered {response.status_code}")
            if response.status_code not in (200, 206):
                raise DownloadError(f"{url}: the server answered {response.status_code} {response.reason}")
            if url.startswith("https:") and not response.url.startswith("https:"):
                raise DownloadError(f"{url}: leads to {response.url}, which is not encrypted")
            self.receive(url, response, have if response.status_code == 206 else 0)

    def followed(self, url, headers):
        "The answer at the end of all redirects. requests would read the body of each into memory, however long it is."
        with requests.Session() as session:  # which remembers cookies on the way
            target, session.get_redirect_target = session.get_redirect_target, lambda response: None
            for _ in range(session.max_redirects + 1):
                try:  # `timeout` is for each piece of the head; a server may send it letter by letter
                    response = within(2 * self.timeout, session.get, url, headers=headers, stream=True, timeout=self.timeout)
                except TimeoutError as error:
                    raise requests.Timeout(str(error)) from error
                if not (goal := target(response)):
                    return response
                response.close()
                url = requests.compat.urljoin(response.url, goal)
        raise requests.TooManyRedirects("more than 30 redirects")

    def receive(self, url, response, start):
        "Write the body after byte `start`, and check the length that was promised."
        if response.status_code == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            self.forget()
            raise requests.ConnectionError("the server sent another part than was asked for")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and re.fullmatch("[0-9]{1,99}", length) else None
        if self.size and total and total != self.size:
            raise DownloadError(f"{url}: is {total} bytes long, expected {self.size}")
        if not start:
            tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
            weak = tag and tag.startswith("W/")  # a weak tag cannot promise the same bytes
            self.note.write_text(json.dumps({"url": url, "tag": None if weak else tag}), encoding="utf-8")
        if (total or 0) > self.max_bytes:
            raise DownloadError(f"{url}: is {total} bytes long, more than the {self.max_bytes} allowed")
        if total and total - start > (free := shutil.disk_usage(self.part.parent).free):
            raise OSError(errno.ENOSPC, f"{total - start} bytes are to come, and only {free} are free", str(self.part))
        done = start
        with open(self.part, "ab" if start else "wb") as part, Bar(f"Fetching {self.part.name[1:-5]}", total, self.progress) as bar:
            for chunk in self.chunks(response, total and total - start):
                done += len(chunk)
                if done > (self.size or self.max_bytes):
                    raise DownloadError(f"{url}: sends more than the {self.size or self.max_bytes} bytes {'expected' if self.size else 'allowed'}")
                part.write(chunk)
                bar.at(done)
        if total and done < total:
            raise requests.ConnectionError(f"{done} of {total} bytes came")
        if self.size and done != self.size:
            raise DownloadError(f"{url}: sent {done} bytes, expected {self.size}")

    def chunks(self, response, length):
        "The body in pieces of `PIECE` bytes. Raises `requests.Timeout` when in `timeout` seconds next to nothing comes."
        piece, came, since, lately = bytearray(), 0, time.monotonic(), 0
        while data := response.raw.read1(PIECE, decode_content=False):
            piece += data
            came, lately, now = came + len(data), lately + len(data), time.monotonic()
            if now - since > self.timeout:
                if lately < SLOWEST * self.timeout and came != length:
                    raise requests.Timeout(f"only {lately} bytes came in {now - since:.0f} s")
                since, lately = now, 0
            while len(piece) >= PIECE:
                yield bytes(piece[:PIECE])
                del piece[:PIECE]
        if piece and (not length or came >= length):
            yield bytes(piece)


def lock_of(path):
    "A lock on a file, kept in the cache: two processes that want the same file share one download."
    locks = cache_dir() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{text_sha256(str(path.resolve()).encode()).hexdigest()[:16]}.lock", timeout=LOCK_TIMEOUT)


def fault_of(path, sha256=None, size=None) -> str:
    "Why a fetched file is not the one that was asked for; '' when it is."
    if size and path.stat().st_size != size:
        return f"is {path.stat().st_size} bytes long, expected {size}"
    if sha256:
        return "" if file_sha256(path) == sha256.lower() else f"has not the checksum {sha256}"
    with open(path, "rb") as file:
        head = file.read(1024)
    if not head:
        return "is empty (0 bytes)"
    name, text = path.name.removeprefix(".").removesuffix(".part").lower(), head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if re.match(rb"<!doctype html|<html|<head|<script|<(\?xml|!--).*<html", text, re.DOTALL) and not name.endswith((".html", ".htm")):
        return "is a web page (perhaps of a login), not the file"
    if is_archive(name) and not name.endswith(".tar") and not head.startswith(ARCHIVE_HEADS):
        return "is no archive"
    return ""


def fetch(url, path, sha256=None, size=None, timeout=30.0, tries=5, wait=1.0, progress=False, max_bytes=None) -> Path:
    """Fetch `url` to the file `path`, once: a file that is there and is right (its checksum, where one is given) stays.

    Goes on where an earlier try was cut off, tries again `tries` times, and gives up on a server that is silent for
    `timeout` seconds or sends more than `max_bytes` (None: 1 TiB for archives, else 1 GiB).
    Raises `DownloadError` for a wrong checksum or length, for a web page or nothing in place of the file, for a redirect
    that leads nowhere, and for anything that the server refuses.
    """
    path = Path(path)
    if not url.lower().startswith(("http://", "https://")):
        raise DownloadError(f"{url}: is not a web address")
    path.parent.mkdir(parents=True, exist_ok=True)
    most = max_bytes or (MAX_BYTES if is_archive(path) else MAX_FILE)
    download = Resuming(path.with_name(f".{path.name}.part"), size, most, timeout, tries, wait, progress)
    try:
        with lock_of(path), full_disk_named(path):
            if path.is_file() and not fault_of(path, sha256, size):
                return path
            download(url)
            if fault := fault_of(download.part, sha256, size):
                download.forget()
                raise DownloadError(f"{url}: what came {fault}; it was thrown away")
            download.part.replace(path)
            download.note.unlink(missing_ok=True)
    except Timeout as error:
        raise DownloadError(f"{url}: another process has been fetching it for {LOCK_TIMEOUT // 60} minutes") from error
    return path


# ---- unpacking


def safe_name(name) -> PurePosixPath:
    "The path of a member inside its archive. Raises `ArchiveError` when it could lead out of the folder."
    if not name:
        raise ArchiveError("holds a file without a name")
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    if path.is_absolute() or windows.drive or windows.root or "\\" in name:
        raise ArchiveError(f"holds {name!r}, which is not a path inside it")
    if ".." in path.parts:
        raise ArchiveError(f"holds {name!r}, which leads out of its folder")
    if any(ord(letter) < 32 for letter in name) or any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise ArchiveError(f"holds a name that no file should have: {name[:60]!r}")
    return path


class Budget:
    "How much an archive may unpack to; the bytes are counted as they come, whatever its table of contents says."

    def __init__(self, packed, max_bytes, max_files):
        self.max_bytes = min(max_bytes, max(packed * MAX_RATIO, 100 * CHUNK))
        self.max_files, self.bytes, self.files = max_files, 0, 0

    def file(self):
        self.files += 1
        if self.files > self.max_files:
            raise ArchiveError(f"holds more than {self.max_files} files")

    def add(self, n):
        self.bytes += n
        if self.bytes > self.max_bytes:
            raise ArchiveError(f"unpacks to more than {self.max_bytes} bytes")


class Metered:
    "An unpacking stream that counts against the budget, and never hands out a huge piece at once."

    def __init__(self, stream, budget):
        self.stream, self.budget, self.high, self.in_member = stream, budget, 0, False

    def read(self, n=-1):
        if n < 0 or n > CHUNK:
            raise ArchiveError("has a header of absurd size")
        data = self.stream.read(n)
        self.count()
        # what Python's parser of headers would take hours for (CVE-2024-6232, mended in 3.12.6 and later)
        if not self.in_member and (LONG_NUMBER.search(data) or data.count(b"hdrcharset") > 1):
            raise ArchiveError("has a header of absurd size")
        return data

    def seek(self, *where):
        position = self.stream.seek(*where)
        self.count()
        return position

    def count(self):
        position = max(self.stream.tell(), self.high)
        self.budget.add(position - self.high)
        self.high = position

    def tell(self):
        return self.stream.tell()


def tar_members(path, budget):
    "(name, reader or None for a folder) of each member of a tar archive, in order."
    with open(path, "rb") as raw:
        magic = raw.read(6)
    openers = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
    with openers.get(magic[:2], open)(path, "rb") as plain:
        stream = Metered(plain, budget)
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                archive.members.clear()  # tarfile would remember a million of them
                check_tar_member(member, path.parent)
                stream.in_member = True
                yield member.name, None if member.isdir() else archive.extractfile(member)
                stream.in_member = False
            stream.in_member = True  # what follows is no header
            check_tar_end(stream, archive.offset)


def check_tar_member(member, folder):
    "Refuse what is neither a plain file nor a folder, or would be written elsewhere."
    safe_name(member.name)
    if not (member.isreg() or member.isdir()) or member.issparse():
        kind = "link" if member.issym() or member.islnk() else "sparse file" if member.isreg() else "device or pipe"
        raise ArchiveError(f"holds the {kind} {member.name!r}; only files and folders are unpacked")
    if hasattr(tarfile, "data_filter"):  # Python's own rules (3.10.12, 3.11.4 and later), as a second opinion
        tarfile.data_filter(member, str(folder))


def check_tar_end(stream, end):
    "tarfile takes a damaged header for the end; the true end is empty blocks, and after them nothing but more."
    if stream.tell() == end:
        raise ArchiveError("is cut off: it has no end")
    while rest := stream.read(CHUNK):  # to the very end, where gzip keeps its checksum
        if rest.strip(b"\0"):
            raise ArchiveError("is damaged: after its end there is more")


def zip_members(path, budget):
    "(name, reader or None for a folder) of each member of a zip archive, in order."
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "link" if kind == stat.S_IFLNK else "device or pipe"
                raise ArchiveError(f"holds the {what} {member.filename!r}; only files and folders are unpacked")
            if member.flag_bits & 1:
                raise ArchiveError("is locked with a password")
            safe_name(member.orig_filename)
            # zipfile cuts a name at its first NUL and turns separators: judge what the archive really says
            yield member.orig_filename, None if member.is_dir() else archive.open(member)


def is_archive(path) -> bool:
    "Whether a file is a tar (plain, gz, bz2, xz) or zip archive, by its name."
    return Path(path).name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip"))


def write_members(members, folder, budget, count_bytes, bar):
    "Write each member below `folder`, which is new and ours."
    for name, reader in members:
        budget.file()
        inside = safe_name(name)
        target = folder / inside
        if reader is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise ArchiveError(f"holds {name!r} twice")
        with reader, open(target, "xb") as out:
            while chunk := reader.read(CHUNK):
                if count_bytes:
                    budget.add(len(chunk))
                out.write(chunk)
        bar.at(budget.bytes)


def extract(archive, folder, max_bytes=MAX_BYTES, max_files=MAX_FILES, progress=False) -> Path:
    """Unpack a tar or zip archive into the new folder `folder`, whole or not at all.

    Only plain files and folders inside the folder are written: absolute paths, `..`, links, devices, and archives that
    grow beyond all measure are refused. Raises `ArchiveError`.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise ArchiveError(f"{archive}: no such file")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(folder), full_disk_named(folder):
        if folder.exists():
            raise ArchiveError(f"{folder}: is there already, so nothing was unpacked")
        for left in folder.parent.glob(f".{glob.escape(folder.name[:80])}-{'[0-9a-f]' * 12}"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        part = folder.with_name(f".{folder.name[:80]}-{secrets.token_hex(6)}")
        try:
            unpack(archive, part, max_bytes, max_files, progress)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def unpack(archive, part, max_bytes, max_files, progress):
    "Unpack an archive into the new folder `part`. Raises `ArchiveError`."
    budget = Budget(archive.stat().st_size, max_bytes, max_files)
    zipped = zipfile.is_zipfile(archive) and not archive.name.lower().endswith((".tar", ".gz", ".tgz", ".bz2", ".xz"))
    part.mkdir()
    try:
        with closing((zip_members if zipped else tar_members)(archive, budget)) as members, Bar(f"Unpacking {archive.name}", None, progress) as bar:
            write_members(members, part, budget, count_bytes=zipped, bar=bar)
        if not any(part.iterdir()):
            raise ArchiveError("is empty")
    except ArchiveError as error:
        raise ArchiveError(f"{archive}: {error}") from error
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in (errno.EACCES, *FULL):  # not the archive's fault
            raise
        raise ArchiveError(f"{archive}: is damaged, or no archive ({error})") from error


def extracted(archive, progress=False) -> Path:
    "The folder that an archive was unpacked to, in the cache; unpacked once for each content."
    folder = cache_dir() / "archives" / file_sha256(archive)[:16]
    return folder if folder.is_dir() else extract(archive, folder, progress=progress)
