"`genre-nbs train` goes on where a kill stopped it, and ends with the same bytes."

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import save

from genre_nbs.io.checkpoints import HEADER, content_checksum, read_checkpoint, save_checkpoint

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
    assert "note: the training began anew, since" in done.stderr and ("epochs: 300 there, 2 here" in done.stderr or left is not None)
    assert out.is_file() and not checkpoint.exists()


def changed_content(change):
    "A checkpoint that is whole, with other settings, history or tensors."

    def write(path):
        about, tensors = read_checkpoint(path)
        about = change(about, tensors) or about
        path.write_bytes(save(tensors, {HEADER: json.dumps([content_checksum(about, tensors), about])}))

    return write


def flip(path):
    "One bit of the last number changes."
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        changed_content(lambda about, tensors: {"settings": about["settings"]}),
        changed_content(lambda about, tensors: [1]),
        changed_content(lambda about, tensors: about["history"].update(later=1)),
        changed_content(lambda about, tensors: about.update(groups=[])),
        changed_content(lambda about, tensors: about["plain"].update({"optimizer.x.y": 1})),
        changed_content(lambda about, tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("best.")] and None),
        changed_content(lambda about, tensors: tensors.update({name: value.reshape(-1)[:1] for name, value in tensors.items()})),
    ],
    ids=["a bit", "no history", "a list", "later history", "no groups", "odd values", "no best weights", "other shapes"],
)
def test_a_checkpoint_of_another_version_or_with_a_changed_bit_is_begun_anew(tones, tmp_path, genre_nbs_cli, damage):
    "None of these may end in an error, which would come again each time, nor in another model."
    whole, cut, checkpoint = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors", tmp_path / ".cut.safetensors.checkpoint"
    words = ("train", tones, "--recipe", "mlp", "--epochs", 3, "--out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genre_nbs.training.save_checkpoint", lambda path, run: (save_checkpoint(path, run), shutil.copy(path, tmp_path / "kept")))
        assert genre_nbs_cli(*words, whole).returncode == 0
    shutil.copy(tmp_path / "kept", checkpoint)
    damage(checkpoint)
    done = genre_nbs_cli(*words, cut)
    assert done.returncode == 0 and "note: the training began anew" in done.stderr, done.stderr
    assert cut.read_bytes() == whole.read_bytes() and not checkpoint.exists()


def test_half_written_files_of_a_killed_training_are_swept_and_no_others(tones, tmp_path, genre_nbs_cli):
    ours = [tmp_path / ".m-0123456789ab.safetensors", tmp_path / "..m.safetensors-0123456789ab.checkpoint"]
    others = [tmp_path / ".other-0123456789ab.safetensors", tmp_path / ".m-notes.txt", tmp_path / "m-0123456789ab.safetensors"]
    for path in (*ours, *others):
        path.write_text("half")
    assert genre_nbs_cli("train", tones, "--recipe", "mlp", "--epochs", 1, "--out", tmp_path / "m.safetensors").returncode == 0
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "m.safetensors"])
