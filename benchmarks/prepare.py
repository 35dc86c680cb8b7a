"""Songs a second of `genre-nbs prepare`, on one and two processes and on a Dask cluster of two workers.

    python benchmarks/prepare.py [--songs 1000] [--seconds 30] [--folder FOLDER]

Makes practice songs once, prepares them anew each time (summary, mel and picture), checks that every run gave the same
bytes, and writes its table into benchmarks/README.md.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dask
from distributed import LocalCluster
from sections import write_section

from genre_nbs.practice import write_corpus

COMMAND = Path(sys.executable).with_name("genre-nbs")
KINDS = "summary,mel,picture"
# Dask tells its workers to hand memory back to the system at every chance, which makes arrays of a few MB slow to get.
KEEP_MEMORY = {f"distributed.nanny.pre-spawn-environ.MALLOC_{name}_THRESHOLD_": 1 << 30 for name in ("TRIM", "MMAP")}


def digest(folder):
    "One checksum over the names and bytes of all files that a run is for."
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "cache" not in p.relative_to(folder).parts):
        total.update(str(path.relative_to(folder)).encode())
        with open(path, "rb") as f:
            total.update(hashlib.file_digest(f, "sha256").digest())
    return total.hexdigest()


def timed(songs, out, *words):
    "Seconds of one run of the command, start-up included, and the checksum of what it wrote."
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    subprocess.run([COMMAND, "prepare", songs, out, "--as", KINDS, *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    result = digest(out)
    shutil.rmtree(out)
    return seconds, result


def measure(songs, out):
    "Rows of the table: (how, seconds, checksum)."
    rows = [("1 process", *timed(songs, out)), ("2 processes", *timed(songs, out, "--jobs", "2"))]
    for how, config in (("Dask, 2 workers, its own settings", {}), ("Dask, 2 workers that keep their memory", KEEP_MEMORY)):
        with dask.config.set(config), LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            rows.append((how, *timed(songs, out, "--scheduler", cluster.scheduler_address)))
    return rows


def write_table(rows, n, seconds):
    "Put the table between its marks in README.md."
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    lines = [
        f"`genre-nbs prepare --as {KINDS}` on {n:,} practice songs of {seconds:g} s (FLAC), each run from nothing, the start",
        f"of the program included; {machine}.", "",
        "| how | seconds | songs a second | same bytes as the first |", "|---|---|---|---|",
        *(f"| {how} | {t:.1f} | {n / t:.1f} | {'yes' if mark == rows[0][2] else 'NO'} |" for how, t, mark in rows), "",
        "Dask tells its workers to hand memory back to the system at every chance (`MALLOC_TRIM_THRESHOLD_=65536`), which makes",
        "arrays of a few MB slow to get. Workers started with `MALLOC_TRIM_THRESHOLD_` and `MALLOC_MMAP_THRESHOLD_` at 1073741824 keep it.",
    ]  # fmt: skip
    write_section("prepare", "Preparing a collection", "\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--folder", type=Path, default=Path("prepare-benchmark"))
    args = parser.parse_args()
    write_corpus(args.folder / "songs", args.songs // 10, args.seconds, artists_per_genre=10, jobs=os.cpu_count())
    rows = measure(args.folder / "songs", args.folder / "out")
    for how, seconds, mark in rows:
        print(f"{how:<16} {seconds:7.1f} s {args.songs / seconds:6.1f} songs/s {mark[:12]}")
    write_table(rows, args.songs, args.seconds)
    assert len({mark for *_, mark in rows}) == 1, "the runs differ"


if __name__ == "__main__":
    main()
