"Pictures: what is read and what is refused, the first layer on bytes, the recipes, and the command line."

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from genre_nbs.app.course import copy_course
from genre_nbs.app.recipes import find_recipe
from genre_nbs.classifier import GenreClassifier, init_network
from genre_nbs.datasets import Examples
from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.io.pictures import PictureError, save_picture
from genre_nbs.networks import Standardize
from genre_nbs.picture_cnn import (
    GREY,
    MEL_HZ,
    PICTURE,
    PICTURE_BEST,
    PICTURE_FINAL,
    PICTURE_FIRST,
    SR,
    cached_run,
    crop_and_mask,
    grad_cam,
    linear_grey,
    mel_rows,
    picture_cnn,
    train_and_evaluate,
)
from genre_nbs.spectrograms import fit_picture, magma, magma_to_grey, plot_area

RNG = np.random.default_rng(0)
KAGGLE = "blues00009 blues00025 country00007 country00044 hiphop00003 hiphop00018 metal00002".split()


def grey_picture(genre, seed, shape=(128, 387)):
    "Noise with a held note (genre 0) or a beat (genre 1)."
    picture = np.random.default_rng(seed).integers(0, 90, shape).astype(np.uint8)
    if genre == 0:
        picture[20:40] += 150
    else:
        picture[:, 8::24] += 150
    return picture


def examples(representation=GREY, n=6):
    "n pictures of each of two genres."
    x = np.stack(
        [
            fit_picture(grey_picture(k, seed), representation.size, representation.channels)
            for k in range(2)
            for seed in range(k * n, k * n + n)
        ]
    )
    y = np.repeat([0, 1], n)
    return Examples(
        x, y, np.array([f"song {i}" for i in range(2 * n)]), ("blues", "metal"), artist=np.array([f"artist {i // 2}" for i in range(2 * n)])
    )


# --- networks


def test_parameters_of_the_source_project():
    assert sum(p.numel() for p in picture_cnn((3, 288, 432), 10).parameters()) == 10_654_154
    assert sum(p.numel() for p in picture_cnn((3, 288, 432), 10, channels=(16, 32, 16)).parameters()) == 2_644_346
    with pytest.raises(ValueError, match="too small"):
        picture_cnn((3, 60, 432), 10)
    assert picture_cnn((3, 61, 61), 10)(torch.zeros(2, 3, 61, 61)).shape == (2, 10)


@pytest.mark.parametrize("recipe", [PICTURE_FIRST, PICTURE_FINAL, PICTURE_BEST], ids=lambda r: r.name)
def test_layers_are_those_of_the_books_in_their_order(recipe):
    network = recipe.network(recipe.representation.shape, 10)
    assert all(type(layer) is Standardize or type(layer) is getattr(nn, type(layer).__name__, None) for layer in network)
    names = [type(layer).__name__ for layer in network]
    if recipe is not PICTURE_BEST:
        block = ["Conv2d", "ReLU", "MaxPool2d"]
        assert names == ["Standardize", "Conv2d", "ReLU", *block, *block, "Flatten", "Linear", "ReLU", "Linear"]


@pytest.mark.parametrize("recipe", [PICTURE_FIRST, PICTURE_FINAL, PICTURE_BEST], ids=lambda r: r.name)
def test_recipes_are_found_saved_and_loaded(recipe, tmp_path):
    assert find_recipe(recipe.name) is recipe
    data = examples(recipe.representation, 1)
    classifier = GenreClassifier(init_network(recipe, data).eval(), recipe.representation, data.genres, {})
    loaded = GenreClassifier.load(classifier.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(loaded.predict_proba_examples(data.x), classifier.predict_proba_examples(data.x))
    assert loaded.representation == recipe.representation


# --- augmentation


def test_crop_and_mask():
    x = torch.from_numpy(RNG.integers(1, 256, (50, 1, 128, 387), dtype=np.uint8))
    out = [crop_and_mask(x, torch.Generator().manual_seed(s), columns=100, bands=20, steps=30, eq=0) for s in (0, 0, 1)]
    assert out[0].shape == (50, 1, 128, 100) and out[0].dtype == torch.uint8
    assert torch.equal(out[0], out[1]) and not torch.equal(out[0], out[2])
    assert (x != 0).all(), "the pictures themselves stay as they are"
    dark = (out[0].float() - 128).abs() < 3
    assert dark.all(3).sum(2).max() <= 2 * 20 and dark.all(2).sum(2).max() <= 2 * 30 and 0.05 < dark.float().mean() < 0.6
    assert torch.equal(crop_and_mask(x, torch.Generator(), columns=500, bands=0, steps=0, eq=0), x)


def test_crops_are_parts_of_the_picture():
    x = torch.arange(387, dtype=torch.float32).expand(20, 1, 128, 387)
    out = crop_and_mask(x, torch.Generator().manual_seed(0), columns=50, bands=0, steps=0, eq=0)
    assert (out.diff(dim=3) == 1).all() and out[:, 0, 0, 0].unique().numel() > 10


# --- reading


def write_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(path):
    "A PNG of few bytes that claims 60,000 x 60,000 pixels."
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + write_chunk(b"IHDR", header) + write_chunk(b"IDAT", zlib.compress(bytes(1000))) + write_chunk(b"IEND", b"")
    )


def animated(path):
    frames = [Image.fromarray(grey_picture(k, 0)) for k in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def cut(path):
    save_picture(path, grey_picture(0, 0))
    path.write_bytes(path.read_bytes()[:5000])


def text(path):
    path.write_text("not a picture")


def tiny(path):
    save_picture(path, grey_picture(0, 0)[:20, :20])


def blank(path):
    save_picture(path, np.full((288, 432, 3), 255, np.uint8))


@pytest.mark.parametrize(
    "make, why",
    [
        (bomb, "too many"),
        (animated, "animated"),
        (cut, "broken or cut off"),
        (text, "neither a PNG nor"),
        (tiny, "too few"),
        (blank, "alike"),
    ],
)
@pytest.mark.parametrize("representation", [PICTURE, GREY], ids=["colour", "grey"])
def test_bad_pictures_are_refused(make, why, representation, tmp_path):
    path = tmp_path / "song.png"
    make(path)
    with pytest.raises(PictureError, match=why):
        representation.of_file(path)


@pytest.mark.parametrize("representation", [PICTURE, GREY], ids=["colour", "grey"])
def test_pictures_of_any_kind_agree(representation, tmp_path):
    "Grey, 16-bit grey, colour, with a border, see-through, palette, other sizes: the same song."
    pixels = grey_picture(1, 3)
    save_picture(tmp_path / "grey.png", pixels)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    save_picture(tmp_path / "colour.png", magma()[pixels])
    bordered = np.full((228, 507, 3), 255, np.uint8)
    bordered[40:168, 70:457] = magma()[pixels]
    save_picture(tmp_path / "border.png", bordered)
    Image.fromarray(np.dstack([bordered, np.full(bordered.shape[:2], 255, np.uint8)])).save(tmp_path / "rgba.png")
    palette = Image.fromarray(pixels).convert("P")
    palette.putpalette(magma().tobytes())
    palette.save(tmp_path / "palette.png")
    wanted = representation.of_file(tmp_path / "grey.png")
    assert wanted.shape == (1, *representation.shape) and wanted.dtype == np.uint8
    for name in "deep colour border rgba palette".split():
        np.testing.assert_array_equal(representation.of_file(tmp_path / f"{name}.png"), wanted, err_msg=name)
    save_picture(tmp_path / "large.png", np.kron(pixels, np.ones((2, 2), np.uint8)))
    large = representation.of_file(tmp_path / "large.png")
    assert large.shape == wanted.shape and (representation == PICTURE or np.array_equal(large, wanted))


def test_magma_to_grey_is_exact():
    np.testing.assert_array_equal(magma_to_grey(magma()[np.arange(256)[None]])[0], np.arange(256))


def test_plot_area_of_a_white_picture_is_all_of_it():
    assert plot_area(np.full((9, 9, 3), 255, np.uint8)).shape == (9, 9, 3)


def test_kaggle_pictures(real_data, genre_nbs_cli, tmp_path):
    "Kaggle's pictures (see-through, white border) are read and named without the user doing anything."
    paths = [real_data / "kaggle_pictures" / f"{name}.png" for name in KAGGLE]
    for representation in (PICTURE, GREY):
        x = np.concatenate([representation.of_file(path) for path in paths])
        assert x.shape == (7, *representation.shape) and not (x >= 250).all(1).all(-1).any(), "no white rows are left"
    data = examples(PICTURE)
    _, classifier = train_and_evaluate(PICTURE_FINAL, data, "artist", epochs=1)
    model = classifier.save(tmp_path / "m.safetensors")
    done = genre_nbs_cli("predict", "--model", model, *paths, "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)["songs"]) == 7


# --- runs that are kept, and the command line


def test_train_once_and_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("GENRE_NBS_RESULTS", str(tmp_path))
    calls = []

    def run():
        calls.append(1)
        return train_and_evaluate(PICTURE_BEST, examples(), "artist", epochs=1)

    row, classifier = cached_run("one", run)
    again, loaded = cached_run("one", run)
    assert len(calls) == 1 and again == json.loads(json.dumps(row))
    assert row["n_train"] + row["n"] == 12 and set(row) >= {"accuracy", "accuracy_interval", "seconds", "megabytes", "seed"}
    np.testing.assert_allclose(classifier.predict_proba_examples(examples().x), loaded.predict_proba_examples(examples().x), atol=1e-5)


def test_a_run_that_was_stopped_leaves_no_row(tmp_path, monkeypatch):
    monkeypatch.setenv("GENRE_NBS_RESULTS", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        cached_run("one", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert not list(tmp_path.iterdir())


def test_grad_cam_finds_what_speaks_for_a_genre():
    "A network that likes bright places for genre 0, and dark ones for genre 1."
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), (1.0, 0.0, 1.0, 0.0), strict=True):
            parameter.fill_(value)
        network[3].weight[1] = -1
    picture = np.zeros((1, 20, 30), np.float32)
    picture[0, 5:10, 7:9] = 3
    np.testing.assert_allclose(grad_cam(network, picture, 0), picture[0] / 3)
    assert grad_cam(network, picture, 1).max() == 0
    assert all(p.grad is None for p in network.parameters()), "no gradients are left behind"


def test_command_line_names_the_genre(genre_nbs_cli, tmp_path):
    for k, genre in enumerate(("blues", "metal")):
        for seed in range(6):
            save_picture(tmp_path / "data" / genre / f"{genre}{seed}.png", grey_picture(k, 10 * k + seed))
    model = tmp_path / "m.safetensors"
    done = genre_nbs_cli(
        "train",
        tmp_path / "data",
        "--recipe",
        "picture-final",
        "--out",
        model,
        "--epochs",
        6,
        "--optimizer",
        "Adam",
        "--lr",
        0.001,
        "--split",
        "track",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    save_picture(tmp_path / "new.png", grey_picture(0, 99))
    said = genre_nbs_cli("predict", "--model", model, tmp_path / "new.png")
    assert said.returncode == 0 and said.stdout.startswith("The song genre is Blues"), said
    judged = genre_nbs_cli("evaluate", "--model", model, tmp_path / "data", "--json")
    assert json.loads(judged.stdout)["n"] == 12
    cut(tmp_path / "cut.png")
    refused = genre_nbs_cli("predict", "--model", model, tmp_path / "cut.png")
    assert refused.returncode == 2 and "cut.png" in refused.stderr and len(refused.stderr.splitlines()) == 1


# --- another program's drawings


@pytest.mark.parametrize("hz", (500, 1000, 4000))
def test_rows_of_a_linear_axis_are_found_again_on_the_mel_axis(hz):
    linear = linear_grey(np.sin(2 * np.pi * hz * np.arange(30 * SR) / SR).astype(np.float32))
    assert linear.shape == (288, 387) and abs((1 - (linear.mean(1).argmax() + 0.5) / 288) * SR / 2 - hz) < SR / 2 / 288
    band = 127 - mel_rows(linear).mean(1).argmax()
    assert abs(MEL_HZ[band] / hz - 1) < 0.1


# --- results that the lesson draws


RESULTS = Path(__file__).parents[1] / "nbs" / "results"


def test_whole_songs_are_the_same_in_every_setting():
    table = pd.read_csv(RESULTS / "picture_whole_songs.csv")
    seeds = [column for column in table if column.startswith("seed ")]
    assert len(seeds) >= 3 and table[seeds].isin(GTZAN_GENRES).all(axis=None)
    for _, part in table.groupby(["recipe", "training", "testing"]):
        assert part.song.nunique() == len(part) == 200 and (part.true.value_counts() == 20).all()


def test_results_travel_with_the_course(tmp_path):
    copied, _ = copy_course(tmp_path)
    assert "results/picture_whole_songs.csv" in copied
    (tmp_path / "results" / "picture_whole_songs.csv").write_text("mine")
    assert copy_course(tmp_path) == ([], ["results/picture_whole_songs.csv"])
    assert (tmp_path / "results" / "picture_whole_songs.csv").read_text() == "mine"
