"Downloads and archives, against a real HTTP server on this machine and archives made to do harm."

import contextlib
import errno
import gzip
import hashlib
import io
import os
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from genre_nbs.io import downloads
from genre_nbs.io.downloads import ArchiveError, DownloadError, extract, extracted, fetch

BODY = np.random.default_rng(0).bytes(300_000)
SUM = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    "Serves BODY with ranges; the server's attributes say how it misbehaves."

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if server.head_drips:
            with contextlib.suppress(OSError):
                for letter in b"HTTP/1.1 200 OK\r\nX-Words: " + 80 * b"a":
                    self.wfile.write(bytes([letter]))
                    time.sleep(0.05)
            self.close_connection = True
            return
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        if server.raw:
            self.wfile.write(server.raw)
            self.close_connection = True
            return
        if server.leads_to and not self.path.startswith("/other"):
            self.send_response(302)
            self.send_header("Location", server.leads_to)
            self.send_header("Set-Cookie", "ticket=1")
            self.send_header("Content-Length", str(server.goodbye))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(bytes(server.goodbye))
                server.taken = True
            return
        if server.leads_to and self.headers.get("Cookie") != "ticket=1":
            return self.send_error(403)
        start, tag = 0, server.tag
        if server.ranges and self.headers.get("Range") and (not tag or self.headers.get("If-Range") == tag):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(server.body) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        rest = server.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        if tag:
            self.send_header("ETag", tag)
        if server.says_length:
            self.send_header("Content-Length", str(len(rest)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        if server.stall:
            threading.Event().wait(server.stall)
        try:
            for i in range(100 if server.drips else 0):
                self.wfile.write(rest[i : i + 1])
                threading.Event().wait(0.05)
            self.wfile.write(rest[:cut])
        except OSError:  # the other side has had enough
            self.close_connection = True
        if cut is not None:
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("GENRE_NBS_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.tag, server.ranges, server.says_length, server.stall = BODY, '"one"', True, True, 0
    server.asked, server.cuts, server.statuses, server.leads_to, server.drips, server.head_drips = [], [], [], "", False, False
    server.goodbye, server.taken, server.raw = 0, False, b""
    server.url = f"http://127.0.0.1:{server.server_port}/songs.bin"
    server.handle_error = lambda *args: None  # of clients that hang up
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fetch_is_done_once(server, tmp_path):
    path = fetch(server.url, tmp_path / "in" / "songs.bin", SUM, len(BODY), wait=0)
    assert path.read_bytes() == BODY and leftovers(path.parent) == ["songs.bin"]
    fetch(server.url, path, SUM, wait=0)
    assert server.asked == [None]


def test_progress_is_shown_on_standard_error(server, tmp_path, capsys):
    path = fetch(server.url, tmp_path / "songs.zip", SUM, progress=True, wait=0)
    zipped(tmp_path / "a.zip", GOOD)
    extract(tmp_path / "a.zip", tmp_path / "out", progress=True)
    assert path.exists() and capsys.readouterr().out == ""


def test_a_cut_off_download_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [100_000, 100_000]
    path = fetch(server.url, tmp_path / "in" / "songs.bin", SUM, wait=0)
    assert path.read_bytes() == BODY
    assert server.asked == [None, "bytes=65536-", "bytes=131072-"]  # whole pieces of 64 KiB are kept
    assert leftovers(path.parent) == ["songs.bin"]


def test_a_later_run_goes_on_with_what_an_earlier_one_left(server, tmp_path):
    server.cuts = [70_000]
    with pytest.raises(DownloadError, match="failed 1 times; what came is kept"):
        fetch(server.url, tmp_path / "in" / "songs.bin", SUM, tries=1, wait=0)
    assert leftovers(tmp_path / "in") == [".songs.bin.part", ".songs.bin.part.json"]
    path = fetch(server.url, tmp_path / "in" / "songs.bin", SUM, wait=0)
    assert path.read_bytes() == BODY and server.asked[-1] == "bytes=65536-"


def test_a_part_that_is_complete_already_is_used(server, tmp_path):
    server.cuts = [70_000]
    with pytest.raises(DownloadError):
        fetch(server.url, tmp_path / "songs.bin", SUM, tries=1, wait=0)
    (tmp_path / ".songs.bin.part").write_bytes(BODY)
    assert fetch(server.url, tmp_path / "songs.bin", SUM, wait=0).read_bytes() == BODY
    assert server.asked == [None, "bytes=300000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path):
    server.cuts = [70_000]
    with pytest.raises(DownloadError):
        fetch(server.url, tmp_path / "songs.bin", tries=1, wait=0)
    server.body, server.tag = BODY[::-1], '"two"'
    assert fetch(server.url, tmp_path / "songs.bin", wait=0).read_bytes() == BODY[::-1]


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_what_may_have_changed_unseen_is_not_pieced_together(server, tmp_path, tag):
    server.tag, server.cuts = tag, [70_000]
    with pytest.raises(DownloadError):
        fetch(server.url, tmp_path / "songs.bin", tries=1, wait=0)
    server.body = BODY[::-1]
    assert fetch(server.url, tmp_path / "songs.bin", wait=0).read_bytes() == BODY[::-1]


@pytest.mark.parametrize("size, complaint", [(300_001, "sent 300000 bytes, expected 300001"), (299_999, "more than the 299999")])
def test_wrong_length_of_a_body_that_does_not_say(server, tmp_path, size, complaint):
    server.says_length = False
    with pytest.raises(DownloadError, match=complaint):
        fetch(server.url, tmp_path / "in" / "songs.bin", size=size, wait=0)
    assert leftovers(tmp_path / "in") == []


@pytest.mark.parametrize("tag, ranges", [(None, True), ('W/"weak"', True), ('"one"', False)])
def test_without_a_firm_tag_or_ranges_it_begins_again(server, tmp_path, tag, ranges):
    server.tag, server.ranges, server.cuts = tag, ranges, [70_000]
    assert fetch(server.url, tmp_path / "songs.bin", SUM, wait=0).read_bytes() == BODY


def test_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(DownloadError, match="has not the checksum"):
        fetch(server.url, tmp_path / "in" / "songs.bin", "0" * 64, wait=0)
    assert leftovers(tmp_path / "in") == []


def test_a_damaged_file_on_disk_is_fetched_again(server, tmp_path):
    (tmp_path / "songs.bin").write_bytes(b"old")
    assert fetch(server.url, tmp_path / "songs.bin", SUM, wait=0).read_bytes() == BODY


def test_wrong_length_is_refused_before_the_body(server, tmp_path):
    with pytest.raises(DownloadError, match="is 300000 bytes long, expected 299999"):
        fetch(server.url, tmp_path / "in" / "songs.bin", size=299_999, wait=0)
    assert leftovers(tmp_path / "in") == []


def test_refusals_and_busy_servers(server, tmp_path):
    server.statuses = [404]
    with pytest.raises(DownloadError, match="answered 404"):
        fetch(server.url, tmp_path / "songs.bin", wait=0)
    assert len(server.asked) == 1  # a refusal is not asked again
    server.statuses = [503, 429]
    assert fetch(server.url, tmp_path / "songs.bin", SUM, wait=0).read_bytes() == BODY


def test_a_silent_server_is_given_up(server, tmp_path):
    server.stall = 1.5
    with pytest.raises(DownloadError, match="failed 2 times"):
        fetch(server.url, tmp_path / "songs.bin", timeout=0.2, tries=2, wait=0)


def test_a_server_that_drips_is_given_up(server, tmp_path, monkeypatch):
    server.drips = True  # a byte every 50 ms, so that no single wait is long
    start = time.monotonic()
    with pytest.raises(DownloadError, match="failed 1 times"):
        fetch(server.url, tmp_path / "songs.bin", timeout=0.5, tries=1, wait=0)
    assert time.monotonic() - start < 4


def test_a_server_that_drips_its_head_is_given_up(server, tmp_path):
    server.head_drips = True
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"failed 2 times \(no answer in 1 s\)"):
        fetch(server.url, tmp_path / "songs.bin", timeout=0.5, tries=2, wait=0)
    assert time.monotonic() - start < 4
    server.head_drips = False
    assert fetch(server.url, tmp_path / "songs.bin", SUM).read_bytes() == BODY


LOGIN = b"\n<!DOCTYPE html>\n<html><body>Please log in</body></html>"


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [("list.txt", LOGIN, "web page"), ("list.txt", b"", "is empty"), ("songs.tar.gz", LOGIN, "web page"), ("songs.tar.gz", b"busy", "no archive"), ("songs.zip", b"", "is empty")],
)
def test_a_login_page_or_nothing_is_not_kept(server, tmp_path, name, body, reason):
    server.body, path = body, tmp_path / "in" / name
    with pytest.raises(DownloadError, match=reason):
        fetch(server.url, path, wait=0)
    assert leftovers(path.parent) == []
    path.write_bytes(body)  # left by an earlier version, or by hand: does not stand in the way
    server.body = (zipped(tmp_path / "a.zip", GOOD) if name.endswith("zip") else tar(tmp_path / "a.tar.gz", GOOD)).read_bytes()
    assert fetch(server.url, path, wait=0).read_bytes() == server.body
    asked = len(server.asked)
    fetch(server.url, path, wait=0)
    assert len(server.asked) == asked


def test_a_web_page_that_was_asked_for_is_kept(server, tmp_path):
    server.body = LOGIN
    assert fetch(server.url, tmp_path / "index.html", wait=0).read_bytes() == LOGIN


@pytest.mark.parametrize("goal", ["http://[broken", "file:///etc/passwd", "http://exa mple..org:port/", "gopher://example.org/", "/songs.bin", "http://\u00ff..\u00ff/"])
@pytest.mark.parametrize("checksum", [None, SUM])
def test_a_bad_redirect_is_called_that(server, tmp_path, goal, checksum):
    server.leads_to = goal.encode("utf-8").decode("latin-1")  # the last but one leads in a circle
    with pytest.raises(DownloadError, match="leads to an address that cannot be followed"):
        fetch(server.url, tmp_path / "in" / "songs.bin", checksum, wait=0)
    assert leftovers(tmp_path / "in") == []


def test_what_a_redirect_says_beside_its_address_is_not_read(server, tmp_path):
    "requests reads all of it into memory. Its cookies count."
    server.leads_to, server.goodbye = "/other/songs.bin", 200_000_000
    assert fetch(server.url, tmp_path / "songs.bin", SUM, wait=0).read_bytes() == BODY
    assert not server.taken


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("length", [b"abc", b"300000, 300000", b"-7", b"\xb2"])
def test_a_length_that_is_no_number(server, tmp_path, length):
    server.raw = HEAD + b"Content-Length: " + length + b"\r\nConnection: close\r\n\r\n" + BODY
    assert fetch(server.url, tmp_path / "songs.bin", SUM, wait=0).read_bytes() == BODY


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 9-99/100\r\nContent-Length: 3\r\n\r\nabc", "another part than was asked for"),
        (b"HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n", "does not fit"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "answered 500"),
        (HEAD + b"Content-Length: 9\r\n\r\nabc", "failed 2 times"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", "failed 2 times"),
        (b"SSH-2.0-OpenSSH\r\n", "failed 2 times"),
        (b"", "failed 2 times"),
        (HEAD + b"Content-Length: 42\r\n\r\n<?xml version='1.0'?><!DOCTYPE html><html>\n", "web page"),
        (HEAD + b"Content-Length: 24\r\n\r\n<script>login()</script>\n", "web page"),
    ],
)
def test_answers_that_are_none(server, tmp_path, raw, reason):
    server.raw = raw or b"\0"
    with pytest.raises(DownloadError, match=reason) as caught:
        fetch(server.url, tmp_path / "songs.txt", tries=2, wait=0)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("says_length", [True, False])
def test_a_download_without_end_is_bounded(server, tmp_path, says_length):
    server.says_length = says_length
    with pytest.raises(DownloadError, match="more than the 100000"):
        fetch(server.url, tmp_path / "in" / "songs.bin", max_bytes=100_000, wait=0)
    assert leftovers(tmp_path / "in") == []


def test_a_disk_that_is_too_small_is_said_before_the_body(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: type("Disk", (), {"free": 1000}))
    with pytest.raises(OSError, match="300000 bytes are to come, and only 1000 are free"):
        fetch(server.url, tmp_path / "songs.bin", wait=0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
def test_a_disk_that_becomes_full_is_said_with_the_file(server, tmp_path):
    (tmp_path / ".songs.bin.part").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        fetch(server.url, tmp_path / "songs.bin", wait=0)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "songs.bin"))


def test_nothing_of_a_killed_download_stays_but_its_part(server, tmp_path):
    code = "import sys; from genre_nbs.io.downloads import fetch; fetch(sys.argv[1], sys.argv[2], timeout=30)"
    server.stall = 20
    process = subprocess.Popen([sys.executable, "-c", code, server.url, str(tmp_path / "in" / "songs.bin")])
    while not server.asked:
        time.sleep(0.05)
    time.sleep(0.2)
    process.kill()
    process.wait()
    assert {name for name in leftovers(tmp_path / "in")} <= {".songs.bin.part", ".songs.bin.part.json"}
    server.stall = 0
    assert fetch(server.url, tmp_path / "in" / "songs.bin", SUM, wait=0).read_bytes() == BODY
    assert leftovers(tmp_path / "in") == ["songs.bin"]


def test_a_lock_that_is_never_given_back(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "LOCK_TIMEOUT", 0.1)
    with downloads.lock_of(tmp_path / "songs.bin"), pytest.raises(DownloadError, match="another process"):
        fetch(server.url, tmp_path / "songs.bin", wait=0)


def test_only_web_addresses(tmp_path):
    for url in ("file:///etc/passwd", "ftp://example.org/x", "songs.bin"):
        with pytest.raises(DownloadError, match="not a web address"):
            fetch(url, tmp_path / "x")


def test_two_at_once_share_one_download(server, tmp_path):
    threads = [threading.Thread(target=fetch, args=(server.url, tmp_path / "songs.bin", SUM)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == [None] and (tmp_path / "songs.bin").read_bytes() == BODY


# ---- archives


def tar(path, members, mode="w:gz"):
    "A tar archive of (name, content or TarInfo) pairs."
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            if isinstance(content, bytes):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                content.name = name
                archive.addfile(content)
    return path


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def special(kind, target=""):
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


GOOD = [("genres/blues/blues.00000.wav", b"a" * 5000), ("genres/rock/rock.00000.wav", BODY)]


@pytest.mark.parametrize(
    "name, mode", [("a.tar.gz", "w:gz"), ("a.tar", "w"), ("a.tar.bz2", "w:bz2"), ("a.tar.xz", "w:xz"), ("a.zip", None)]
)
def test_good_archives(tmp_path, name, mode):
    archive = tar(tmp_path / name, GOOD, mode) if mode else zipped(tmp_path / name, GOOD)
    folder = extract(archive, tmp_path / "out")
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.wav")} == dict(GOOD)
    with pytest.raises(ArchiveError, match="is there already"):
        extract(archive, tmp_path / "out")


HOSTILE_NAMES = [
    "../evil.wav",
    "genres/../../evil.wav",
    "/tmp/evil.wav",
    "..\\evil.wav",
    "C:/evil.wav",
    "//server/evil.wav",
    "a\x01b.wav",
    "x" * 300,
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out(tmp_path, name, kind):
    inside = tmp_path / "deep" / "in"
    inside.mkdir(parents=True)
    members = [*GOOD, (name, b"evil")]
    archive = tar(inside / "a.tar.gz", members) if kind == "tar" else zipped(inside / "a.zip", members)
    with pytest.raises(ArchiveError, match="holds"):
        extract(archive, inside / "out")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [archive.name]
    assert leftovers(inside) == [archive.name]


SPECIAL = [
    (tarfile.SYMTYPE, "/etc"), (tarfile.SYMTYPE, "../.."), (tarfile.LNKTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "genres/blues/blues.00000.wav"),
    (tarfile.CHRTYPE, ""), (tarfile.BLKTYPE, ""), (tarfile.FIFOTYPE, ""),
]  # fmt: skip


@pytest.mark.parametrize("kind, target", SPECIAL)
def test_links_and_devices(tmp_path, kind, target):
    archive = tar(tmp_path / "a.tar.gz", [*GOOD, ("genres/x.wav", special(kind, target)), ("genres/x.wav/evil.wav", b"evil")])
    with pytest.raises(ArchiveError, match="holds the (link|device or pipe) 'genres/x.wav'"):
        extract(archive, tmp_path / "out")
    assert leftovers(tmp_path) == ["a.tar.gz"]


def test_links_in_zip(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with pytest.raises(ArchiveError, match="holds the link 'link'"):
        extract(zipped(tmp_path / "a.zip", [(link, "/etc")]), tmp_path / "out")
    assert leftovers(tmp_path) == ["a.zip"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_in_latin_1(tmp_path, format):
    "As old systems wrote them: no UTF-8, and no fault."
    song = tarfile.TarInfo(os.fsdecode("jazz/Björk.wav".encode("latin-1")))
    with tarfile.open(tmp_path / "a.tar", "w", format=format) as archive:
        archive.addfile(song, io.BytesIO())
    folder = extract(tmp_path / "a.tar", tmp_path / "out")
    assert os.listdir(os.fsencode(folder / "jazz")) == ["Björk.wav".encode("latin-1")]


def test_the_same_name_twice(tmp_path):
    with pytest.raises(ArchiveError, match="blues.00000.wav' twice"):
        extract(tar(tmp_path / "a.tar", [*GOOD, GOOD[0]], "w"), tmp_path / "out")


def test_a_file_where_a_folder_is_needed(tmp_path):
    with pytest.raises(ArchiveError, match="damaged"):
        extract(tar(tmp_path / "a.tar", [("a", b"1"), ("a/b", b"2")], "w"), tmp_path / "out")
    assert leftovers(tmp_path) == ["a.tar"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
def test_a_disk_that_becomes_full_while_unpacking_is_said_with_the_folder(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "songs.zip", [("genres/a.wav", bytes(30_000))])
    monkeypatch.setattr(downloads, "open", lambda path, mode: open("/dev/full" if mode == "xb" else path, "wb" if mode == "xb" else mode), raising=False)
    with pytest.raises(OSError) as caught:
        extract(archive, tmp_path / "in")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "in"))
    assert leftovers(tmp_path) == ["songs.zip"]


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_bombs(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(downloads, "CHUNK", 1 << 14)  # so that 100 chunks, the least that any archive may have, are 1.6 MB
    zeros = [("zeros.wav", bytes(8_000_000))]
    archive = tar(tmp_path / "a.tar.gz", zeros) if kind == "tar" else zipped(tmp_path / "a.zip", zeros)
    assert archive.stat().st_size < 20_000
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        extract(archive, tmp_path / "out")
    assert leftovers(tmp_path) == [archive.name]


def test_limits_of_size_and_number(tmp_path):
    archive = tar(tmp_path / "a.tar", [(f"{i}.wav", bytes(10_000)) for i in range(20)], "w")
    with pytest.raises(ArchiveError, match="more than 5 files"):
        extract(archive, tmp_path / "out", max_files=5)
    with pytest.raises(ArchiveError, match="more than 50000 bytes"):
        extract(archive, tmp_path / "out", max_bytes=50_000)
    assert leftovers(tmp_path) == ["a.tar"]


def test_a_zip_whose_table_lies_about_sizes(tmp_path):
    archive = zipped(tmp_path / "a.zip", [("zeros.wav", bytes(3_000_000))])
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 10)))
    with pytest.raises(ArchiveError):
        extract(archive, tmp_path / "out")
    assert leftovers(tmp_path) == ["a.zip"]


def test_a_header_of_absurd_size(tmp_path):
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 10**9
    with gzip.open(tmp_path / "a.tar.gz", "wb") as out:
        out.write(header.tobuf())
        out.write(bytes(1 << 20))
    with pytest.raises(ArchiveError, match="absurd size"):
        extract(tmp_path / "a.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("content", [b"9" * 500_000, b"20 comment=" + b"1" * 500_000 + b"\n", b"1 hdrcharset=" * 40_000, b"9" * 5_000_000])
def test_headers_that_take_hours(tmp_path, content):
    "CVE-2024-6232: a header of digits, which Python before 3.12.6 reads in quadratic time."
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(content)
    with gzip.open(tmp_path / "a.tar.gz", "wb") as out:
        out.write(header.tobuf() + content + bytes(-len(content) % 512))
        out.write(tarfile.TarInfo("a.wav").tobuf() + bytes(1024))
    start = time.monotonic()
    with pytest.raises(ArchiveError, match="absurd size"):
        extract(tmp_path / "a.tar.gz", tmp_path / "out")
    assert time.monotonic() - start < 5


def test_digits_in_songs_are_no_headers(tmp_path):
    songs = [("a.wav", b"9" * 3_000_000), ("b.wav", b"hdrcharset" * 100_000)]
    folder = extract(tar(tmp_path / "a.tar.gz", songs), tmp_path / "out")
    assert [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())] == songs


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_members_without_a_name(tmp_path, kind):
    if kind == "tar":
        archive = tar(tmp_path / "a.tar", [*GOOD, ("", b"nameless")], "w")
    else:
        archive = zipped(tmp_path / "a.zip", GOOD)
        with zipfile.ZipFile(archive, "a") as out, out.open(zipfile.ZipInfo(""), "w") as member:
            member.write(b"nameless")
    with pytest.raises(ArchiveError, match="without a name|not a path"):
        extract(archive, tmp_path / "out")
    assert leftovers(tmp_path) == [archive.name]


def test_what_a_killed_run_left_is_swept(tmp_path, monkeypatch):
    monkeypatch.setenv("GENRE_NBS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "in" / ".out-0123456789ab" / "genres").mkdir(parents=True)
    (tmp_path / "in" / ".outer-0123456789ab").mkdir()
    extract(tar(tmp_path / "a.tar", GOOD, "w"), tmp_path / "in" / "out")
    assert leftovers(tmp_path / "in") == [".outer-0123456789ab", "out"]


def test_sparse_files_are_refused(tmp_path):
    info = special(tarfile.GNUTYPE_SPARSE)
    data = bytearray(info.tobuf())
    data[386:398], data[398:410] = b"%011o\0" % 0, b"%011o\0" % 0
    data[483:495] = b"%011o\0" % 8**10
    data[0:1], data[148:156] = b"s", b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "a.tar").write_bytes(bytes(data) + bytes(10240))
    with pytest.raises(ArchiveError, match="sparse"):
        extract(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("mode", ["w:gz", "w"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.97])
def test_cut_off_archives(tmp_path, mode, keep):
    whole = tar(tmp_path / "whole", GOOD, mode).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: int(len(whole) * keep)])
    (tmp_path / "whole").unlink()
    with pytest.raises(ArchiveError, match="damaged|cut off|is empty"):
        extract(tmp_path / "a.tar", tmp_path / "out")
    assert leftovers(tmp_path) == ["a.tar"]


def test_cut_off_between_two_files_and_damaged_headers(tmp_path):
    whole = tar(tmp_path / "a.tar", GOOD, "w").read_bytes()
    second = whole.index(b"genres/rock")
    (tmp_path / "a.tar").write_bytes(whole[:second])
    with pytest.raises(ArchiveError, match="cut off"):
        extract(tmp_path / "a.tar", tmp_path / "out")
    (tmp_path / "a.tar").write_bytes(whole[:second] + b"\xff" * 512 + whole[second + 512 :])
    with pytest.raises(ArchiveError, match="after its end there is more"):
        extract(tmp_path / "a.tar", tmp_path / "out")
    (tmp_path / "b.zip").write_bytes(zipped(tmp_path / "c.zip", GOOD).read_bytes()[:1000])
    with pytest.raises(ArchiveError, match="damaged"):
        extract(tmp_path / "b.zip", tmp_path / "out")


def test_a_flipped_bit_is_noticed(tmp_path):
    archive = zipped(tmp_path / "a.zip", GOOD)
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged"):
        extract(archive, tmp_path / "out")


def test_no_archive_at_all(tmp_path):
    (tmp_path / "a.tar.gz").write_text("a letter")
    with pytest.raises(ArchiveError, match="damaged, or no archive"):
        extract(tmp_path / "a.tar.gz", tmp_path / "out")
    with pytest.raises(ArchiveError, match="no such file"):
        extract(tmp_path / "b.tar.gz", tmp_path / "out")


def test_unpacked_once_for_each_content(tmp_path, monkeypatch):
    monkeypatch.setenv("GENRE_NBS_CACHE", str(tmp_path / "cache"))
    archive = tar(tmp_path / "a.tar.gz", GOOD)
    folder = extracted(archive)
    stamp = os.stat(folder).st_mtime_ns
    assert extracted(archive) == folder and os.stat(folder).st_mtime_ns == stamp
    tar(archive, GOOD[:1])
    assert extracted(archive) != folder
