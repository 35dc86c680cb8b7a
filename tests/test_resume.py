"`genre-nbs train` goes on where a kill stopped it, and ends with the same bytes."

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("genre-nbs")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def train(tones, out, epochs=400):
    return [COMMAND, "train", tones, "--recipe", "mlp", "--epochs", str(epochs), "--out", out]


def kill_in_training(command, checkpoint):
    "Kill a training as soon as it has written a checkpoint."
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.time() + 120
    while not checkpoint.exists() and process.poll() is None and time.time() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    return process.wait()


def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(tones, tmp_path):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    checkpoint = tmp_path / ".cut.safetensors.checkpoint"
    assert subprocess.run(train(tones, whole), capture_output=True).returncode == 0
    for _ in range(2):
        assert kill_in_training(train(tones, cut), checkpoint) == -signal.SIGKILL
        assert checkpoint.exists() and not cut.exists()
    assert subprocess.run(train(tones, cut), capture_output=True).returncode == 0
    assert cut.read_bytes() == whole.read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["cut.safetensors", "whole.safetensors"]


@pytest.mark.parametrize("left", [b"", b"no checkpoint", None])
def test_a_checkpoint_of_something_else_is_thrown_away(tones, tmp_path, genre_nbs_cli, left):
    out, checkpoint = tmp_path / "m.safetensors", tmp_path / ".m.safetensors.checkpoint"
    if left is None:  # of a run with other settings
        assert kill_in_training(train(tones, out, epochs=300), checkpoint) == -signal.SIGKILL
    else:
        checkpoint.write_bytes(left)
    done = genre_nbs_cli("train", tones, "--recipe", "mlp", "--epochs", 2, "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.is_file() and not checkpoint.exists()
