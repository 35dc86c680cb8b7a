"Splits that cannot leak, duplicates, and list files."

import unicodedata

import numpy as np
import pandas as pd
import pytest

from genre_nbs.audio import load_audio
from genre_nbs.collections import load_collection, read_artists, read_collection, with_artists
from genre_nbs.datasets import Examples
from genre_nbs.duplicates import duplicate_table, find_duplicates, fingerprint, fingerprint_of, similarity, with_duplicates
from genre_nbs.io.decode import save_audio
from genre_nbs.io.pictures import save_picture
from genre_nbs.practice import practice_song
from genre_nbs.spectrograms import log_mel, to_grey
from genre_nbs.splitting import (
    LeakError,
    SplitError,
    check_leak,
    group_split,
    hash_split,
    joined_groups,
    leak_report,
    list_key,
    list_split,
    random_split,
    read_list,
    split_examples,
    stratified_split,
)


def made_up(artists_per_genre=4, songs=3, pieces=5, **more):
    "Examples of three genres: `songs` songs by each artist, `pieces` examples of each song."
    n = 3 * artists_per_genre * songs * pieces
    song = np.arange(n) // pieces
    track = np.array([f"g/song{i:03}" for i in song])
    artist = np.array([f"artist{i // songs}" for i in song])
    y = (song // (songs * artists_per_genre)).astype(np.int64)
    return Examples(np.zeros((n, 2), np.float32), y, track, ("blues", "jazz", "rock"), artist, **more)


EXAMPLES = made_up()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("how", ["random", "stratified", "track", "artist", "hash"])
def test_every_way_uses_every_example_once(how, seed):
    train, valid = split_examples(EXAMPLES, how, 0.3, seed)
    assert len(train) + len(valid) == len(EXAMPLES) and min(len(train), len(valid)) > 0
    if how in ("track", "artist", "hash"):
        assert not set(train.track) & set(valid.track)
    if how == "artist":
        assert not set(train.artist) & set(valid.artist)
        assert set(valid.y) == {0, 1, 2}


def test_fractions_and_seeds():
    train, valid = random_split(100, 0.3, 1)
    assert (
        len(valid) == 30 and np.array_equal(valid, random_split(100, 0.3, 1)[1]) and not np.array_equal(valid, random_split(100, 0.3, 2)[1])
    )
    assert np.array_equal(np.sort(np.concatenate([train, valid])), np.arange(100))
    y = np.repeat([0, 1], [80, 20])
    assert np.bincount(y[stratified_split(y, 0.25, 0)[1]]).tolist() == [20, 5]


def test_a_small_fraction_still_takes_a_group_of_each_genre():
    y, groups = np.repeat(np.arange(10), 2), np.array([f"artist{i}" for i in range(20)])
    train, valid = group_split(y, groups, 0.1, 0)  # two of twenty groups would not do for ten genres
    assert sorted(y[valid]) == list(range(10)) == sorted(y[train])


@pytest.mark.parametrize("seed", range(20))
def test_rounding_leaves_no_genre_out(seed):
    "Of 2, 2, 2 and 30 groups at 0.3, stratifying alone gives some genre no group in a subset."
    sizes = [2, 2, 2, 30]
    y = np.repeat(np.arange(4), sizes)
    train, valid = group_split(y, np.array([f"g{i}" for i in range(36)]), 0.3, seed)
    assert set(y[train]) == set(y[valid]) == {0, 1, 2, 3} and 9 <= len(valid) <= 13


def test_the_number_of_groups_is_rounded_up():
    y = np.repeat([0, 1], 5)
    groups = np.array([f"g{i}" for i in range(10)])
    assert [len(group_split(y, groups, size, 0)[1]) for size in (0.2, 0.21, 0.25, 0.3, 0.31)] == [2, 3, 3, 3, 4]


def test_a_genre_whose_artists_are_all_shared_is_named():
    y = np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, 0])  # jazz is only ever played by artists of mostly blues
    groups = np.array(["a", "a", "a", "a", "b", "b", "b", "b", "c", "d"])
    for seed in range(5):
        train, valid = group_split(y, groups, 0.3, seed, ("blues", "jazz"), "artist")
        assert set(y[train]) == set(y[valid]) == {0, 1}
    alone = np.where(groups == "b", "a", groups)
    with pytest.raises(SplitError, match="genre jazz cannot be in both subsets of a split by artist"):
        group_split(y, alone, 0.3, 0, ("blues", "jazz"), "artist")


def test_errors_name_the_genre():
    examples = made_up(artists_per_genre=1, songs=2)
    with pytest.raises(SplitError, match="genre blues has a single artist"):
        split_examples(examples, "artist")
    with pytest.raises(SplitError, match="genre blues has a single track"):
        split_examples(made_up(artists_per_genre=1, songs=1), "track")
    with pytest.raises(SplitError, match="genre 0 has a single group"):
        group_split(np.array([0, 0, 1, 1]), np.array(["a", "a", "b", "c"]))
    with pytest.raises(SplitError, match="cannot split 1 items"):
        random_split(1)


def test_check_leak_counts_and_names():
    groups = np.array(["a", "a", "b", "c"])
    assert check_leak(groups, np.array([0, 1]), np.array([2, 3])) is None
    with pytest.raises(LeakError, match="1 of 3 artists are in both subsets of the split: a"):
        check_leak(groups, np.array([0, 2]), np.array([1, 3]), "artist")


def test_unknown_songs_are_refused_with_the_reason():
    examples = made_up()
    examples.songs_known = False
    for how in ("track", "hash"):
        with pytest.raises(SplitError, match="does not say which rows were cut from the same song"):
            split_examples(examples, how)
    assert len(split_examples(examples, "random")) == 2
    examples.artist = None
    with pytest.raises(SplitError, match="artists of this data are not known"):
        split_examples(examples, "artist")


def test_hash_subsets_never_change():
    names = np.array([f"song{i}" for i in range(500)])
    train, valid = hash_split(names)
    assert 0.24 < len(valid) / 500 < 0.36
    assert names[valid][:3].tolist() == ["song3", "song4", "song9"]  # for ever
    assert set(names[hash_split(names[::3])[1] * 3]) == set(names[valid]) & set(names[::3])
    assert set(hash_split(names, salt="other")[1]) != set(valid)


def test_own_split():
    examples = made_up(split=np.array(["train", "valid", "test"])[np.arange(180) // 5 % 3])
    train, valid = split_examples(examples, "own")
    assert len(train) == len(valid) == 60
    for names in (("Training", "VALIDATION", "Test"), ("train", "val", "test"), ("TRAIN", "dev", "eval"), ("train_set", "valid-set", "x")):
        spelled = made_up(split=np.array(names)[np.arange(180) // 5 % 3])
        assert np.array_equal(split_examples(spelled, "own")[1].track, valid.track)
    with pytest.raises(SplitError, match="brings no split"):
        split_examples(made_up(), "own")
    with pytest.raises(SplitError, match="names no validation songs"):
        split_examples(made_up(split=np.full(180, "train")), "own")
    with pytest.raises(LeakError):
        split_examples(made_up(split=np.array(["train", "valid"])[np.arange(180) % 2]), "own")


def test_unknown_way(tmp_path):
    with pytest.raises(SplitError, match="unknown way to split 'nonsense': use random, stratified, track, artist, hash, own, or a folder"):
        split_examples(EXAMPLES, "nonsense")


# ---- groups


def test_joined_groups_follow_chains():
    assert joined_groups(list("abcde"), list("xxyyz"), list("12233")).tolist() == ["a"] * 5
    assert joined_groups(list("aabb")).tolist() == list("aabb")
    assert joined_groups(list("abcd"), list("wxyw")).tolist() == ["a", "b", "c", "a"]


def test_groups_of_duplicates_stay_together():
    group = EXAMPLES.track.copy()
    group[EXAMPLES.track == "g/song035"] = "g/song000"  # the last rock song is a duplicate of the first blues song
    examples = made_up(group=group)
    for how in ("track", "artist", "hash"):
        for seed in range(8):
            train, valid = split_examples(examples, how, 0.3, seed)
            assert not set(train.group) & set(valid.group)
            if how == "artist":
                assert not set(train.artist) & set(valid.artist)
    report = leak_report(examples, *random_split(len(examples), 0.3, 0))
    assert report.loc["recording", "groups"] == 35 and report.loc["artist", "shared"] == 12
    assert duplicate_table(examples).tracks.tolist() == [["g/song000", "g/song035"]]


def test_a_song_of_two_artists_stays_whole():
    examples = made_up()
    examples.artist = np.where(np.arange(180) % 2, examples.artist, "guest " + examples.track.astype(object)).astype(str)
    for seed in range(5):
        train, valid = split_examples(examples, "artist", 0.3, seed)
        assert not set(train.track) & set(valid.track) and not set(train.artist) & set(valid.artist)


# ---- duplicates


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    "Ten songs, and duplicates of three of them."
    folder = tmp_path_factory.mktemp("songs")
    for i, genre in enumerate(("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")):
        y, truth = practice_song(genre, song=i, seconds=12.0)
        save_audio(folder / genre / f"{genre}.wav", y, 22050)
        if genre == "jazz":
            save_audio(folder / "jazz" / "a later.flac", 0.3 * y[40_000:], 22050)
            save_audio(folder / "jazz" / "b much later.mp3", 0.8 * y[88_200:], 22050)
        if genre == "pop":
            save_audio(folder / "rock" / "c wrong genre.ogg", y, 22050)
    (folder / "blues" / "broken.wav").write_text("no song")
    return folder


def test_duplicates_are_found_and_nothing_else(songs):
    tracks = read_collection(songs)
    found = find_duplicates(tracks)
    pairs = {frozenset(pair) for pair in found[["track", "duplicate"]].itertuples(index=False, name=None)}
    assert frozenset(["jazz/jazz", "jazz/a later"]) in pairs and frozenset(["pop/pop", "rock/c wrong genre"]) in pairs
    assert all(pair <= {"jazz/jazz", "jazz/a later", "jazz/b much later"} or pair == {"pop/pop", "rock/c wrong genre"} for pair in pairs)
    assert set(found.genres) == {"jazz", "pop and rock"} and found.similarity.between(0.75, 1).all()
    marked = with_duplicates(tracks)
    groups = marked.groupby("group").track.agg(sorted).loc[lambda g: g.str.len() > 1].tolist()
    assert groups == [["jazz/a later", "jazz/b much later", "jazz/jazz"], ["pop/pop", "rock/c wrong genre"]]


def test_duplicates_among_pictures(songs, tmp_path):
    for path in [songs / genre / f"{genre}.wav" for genre in ("blues", "country", "jazz", "metal", "rock")]:
        mel = log_mel(*load_audio(path))
        save_picture(tmp_path / path.parent.name / f"{path.stem}.png", to_grey(mel))
    mel = log_mel(*load_audio(songs / "jazz" / "jazz.wav"))
    save_picture(tmp_path / "jazz" / "softer.png", to_grey(np.maximum(mel - 5, -80)))
    found = find_duplicates(read_collection(tmp_path))
    assert found[["track", "duplicate"]].to_numpy().tolist() == [["jazz/jazz", "jazz/softer"]]


def test_files_without_a_fingerprint(songs, tmp_path):
    assert fingerprint(songs / "blues" / "broken.wav") is None and fingerprint(tmp_path / "missing.png") is None
    save_picture(tmp_path / "flat.png", np.full((128, 300), 7, np.uint8))
    flat = fingerprint(tmp_path / "flat.png")
    assert not flat.any() and next(similarity([flat, flat]))[1][0, 1] == 0  # two blank pictures are no duplicates
    none = find_duplicates(pd.DataFrame({"path": [str(songs / "blues" / "broken.wav")], "genre": ["blues"], "track": ["x"]}))
    assert none.empty and with_duplicates(read_collection(songs).head(1)).group.tolist() == ["blues/blues"]


def test_the_same_loudness_makes_no_duplicate():
    gates = np.repeat(np.random.default_rng(0).uniform(0.003, 1, 40) ** 3, 22050 * 12 // 40).astype(np.float32)
    prints = []
    for genre in ("classical", "metal", "country"):
        y = practice_song(genre, seconds=12.0)[0][: len(gates)]
        prints.append(fingerprint_of(log_mel(gates * y, 22050, hop_length=1102)))
    assert np.triu(next(similarity(prints))[1], k=1).max() < 0.6


def test_similarity_by_hand():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(60, 16)).astype(np.float32)
    a /= np.sqrt((a**2).sum())
    late = a[20:50] / np.sqrt((a[20:50] ** 2).sum())  # cut at both ends
    other = rng.normal(size=(50, 16)).astype(np.float32)
    other /= np.sqrt((other**2).sum())
    (first, alike), *rest = similarity([a, late, other])
    assert first == 0 and not rest
    assert np.allclose(np.diag(alike), 1, atol=1e-5) and alike[0, 1] == pytest.approx(1, abs=1e-5)
    best = max(
        (a[max(0, lag) : 50 + lag] * other[max(0, -lag) : 60 - lag]).sum()
        / np.sqrt(max(0.25, (a[max(0, lag) : 50 + lag] ** 2).sum()) * max(0.25, (other[max(0, -lag) : 60 - lag] ** 2).sum()))
        for lag in range(-49, 60)
    )
    assert alike[0, 2] == pytest.approx(best, abs=1e-4)


def test_what_is_slower_than_two_seconds_is_taken_away():
    "Two tones of loudness, 2 s and 8 s long: moving averages over 0.25 s, twice, and over 11 columns let through what their formulas say."
    t = np.arange(1600)  # 80 s
    mel = np.zeros((1600, 128))
    for band, period in ((3, 40), (9, 160)):
        mel[:, 8 * band : 8 * band + 8] = 10 * np.sin(2 * np.pi * t / period)[:, None]
        mel[:, 8 * band + 8 : 8 * band + 16] = -10 * np.sin(2 * np.pi * t / period)[:, None]  # so that the mean over the bands is 0
    fast, slow = np.sqrt((fingerprint_of(mel)[20:-20, [3, 9]].astype(float) ** 2).mean(0))

    def kept(width, period):
        return np.sin(np.pi * width / period) / (width * np.sin(np.pi / period))

    expected = kept(5, 40) ** 2 * (1 - kept(11, 10)) / (kept(5, 160) ** 2 * (1 - kept(11, 40)))
    assert fast / slow == pytest.approx(expected, rel=0.03)


def test_songs_that_share_a_groove_are_no_duplicates(tmp_path):
    "Drums on the same beats under other notes: the fingerprints agree beyond 0.75, the harmonics do not."
    rng, time = np.random.default_rng(0), np.arange(12 * 22050) / 22050
    drums = np.zeros_like(time)
    for beat in np.cumsum(rng.uniform(0.3, 0.9, 18)):
        drums += np.where(time > beat, np.exp(-12 * np.maximum(time - beat, 0)), 0) * rng.normal(size=len(time))
    for name, notes in (("a", (220, 277, 330)), ("b", (247, 311, 392))):
        chord = sum(np.sin(2 * np.pi * f * k * time) / k for f in notes for k in (1, 2, 3, 4))
        save_audio(tmp_path / "pop" / f"{name}.wav", (0.12 * drums + 0.01 * chord).astype(np.float32), 22050)
    tracks = read_collection(tmp_path)
    assert next(similarity([fingerprint(path) for path in tracks.path]))[1][0, 1] > 0.75
    assert find_duplicates(tracks).empty


def test_a_noisy_copy_is_a_duplicate(tmp_path):
    "Noise that is louder than the song brings the fingerprints below 0.75; the harmonics are still there."
    y = practice_song("country", song=3, seconds=12.0)[0]
    noise = np.random.default_rng(0).normal(size=len(y)).astype(np.float32)
    save_audio(tmp_path / "country" / "song.wav", 0.3 * y / np.abs(y).max(), 22050)
    save_audio(tmp_path / "pop" / "copy.wav", 0.3 * (y + 1.5 * y.std() * noise) / np.abs(y).max(), 22050)
    found = find_duplicates(read_collection(tmp_path))
    assert len(found) == 1 and 0.65 <= found.similarity[0] < 0.75 and found.detail[0] > 0.45


# ---- list files


def lists(folder, **sides):
    for name, names in sides.items():
        (folder / f"{name}.txt").write_text("\n".join(names))
    return folder


def test_names_of_lists():
    assert [list_key(name) for name in ("blues/blues.00029.wav", "blues.00029", "C:\\x\\blues.00029.AU ", "song one.mp3")] == [
        "blues.00029"
    ] * 3 + ["song one"]


def test_lists_fit_any_way_of_writing(tmp_path):
    tracks = np.array(["blues/blues.00000"] * 2 + ["blues/blues.00001", "rock/rock.00000", "rock/rock.00001"])
    folder = lists(
        tmp_path, train=["blues/blues.00000.wav", "# a comment", "", "rock.00000"], valid_filtered=["blues.00001.au"], test=["x"]
    )
    train, valid = list_split(tracks, folder)
    assert read_list(folder / "train.txt") == ["blues.00000", "rock.00000"]
    assert train.tolist() == [0, 1, 3] and valid.tolist() == [2]  # rock.00001 is on no list


def test_lists_that_do_not_serve(tmp_path):
    tracks = np.array(["blues/a", "rock/b"])
    with pytest.raises(SplitError, match=r"expected one file train\*.txt, found 0"):
        list_split(tracks, tmp_path)
    lists(tmp_path, train=["a"], valid=["b", "a"])
    with pytest.raises(SplitError, match="1 tracks are in both lists, such as a"):
        list_split(tracks, tmp_path)
    lists(tmp_path, valid=["c"])
    with pytest.raises(SplitError, match="name no track of this data"):
        list_split(tracks, tmp_path)
    lists(tmp_path, valid=["b"])
    with pytest.raises(SplitError, match="several tracks are called 'a'"):
        list_split(np.array(["blues/a", "rock/a", "rock/b"]), tmp_path)
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SplitError, match="cannot be read as a list"):
        list_split(tracks, tmp_path)
    lists(tmp_path, train_2=["a"])
    with pytest.raises(SplitError, match="found 2"):
        list_split(tracks, tmp_path)


# ---- the real case


def test_the_filtered_lists_keep_real_artists_apart(real_data):
    tracks = with_artists(read_collection(real_data / "gtzan_mel"), real_data / "gtzan_lists" / "GTZANindex.txt")
    train, valid = list_split(tracks.track.to_numpy(), real_data / "gtzan_lists")
    assert (len(train), len(valid)) == (442, 197)  # jazz.00054 cannot be read, so its picture is not there
    shared = set(tracks.artist[train]) & set(tracks.artist[valid])
    assert all(name.startswith("unknown") for name in shared)
    by_song = group_split(pd.factorize(tracks.genre)[0], tracks.track.to_numpy(), 0.3, 0)
    shared = set(tracks.artist[by_song[0]]) & set(tracks.artist[by_song[1]])
    assert 50 < len(shared) < 80


def test_no_duplicate_is_left_in_the_filtered_set(real_data):
    assert find_duplicates(read_collection(real_data / "gtzan_mel")).empty


def test_artists_of_the_index_split_pictures(real_data):
    from genre_nbs.datasets import Representation

    data = real_data / "gtzan_mel"
    tracks = read_collection(data).groupby("genre").head(12)
    examples = load_collection(tracks, Representation("mel"), artists=real_data / "gtzan_lists" / "GTZANindex.txt")
    artists = read_artists(real_data / "gtzan_lists" / "GTZANindex.txt")
    assert len(artists) == 1000 and artists["blues/blues.00000"] == "John Lee Hooker"
    assert examples.artist[0] == "John Lee Hooker"


@pytest.mark.parametrize("sizes, fraction", [([2, 2], 0.7), ([2, 2], 0.99), ([3, 3, 100], 0.99), ([2] * 10, 0.9), ([2, 9], 0.001)])
def test_each_genre_keeps_a_group_however_large_the_fraction(sizes, fraction):
    y = np.repeat(np.arange(len(sizes)), sizes)
    train, valid = group_split(y, np.array([f"g{i}" for i in range(len(y))]), fraction, 0)
    assert set(y[train]) == set(y[valid]) == set(y)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_a_fraction_that_is_none(fraction):
    with pytest.raises(SplitError, match="must lie between 0 and 1"):
        group_split(np.repeat([0, 1], 4), np.arange(8).astype(str), fraction)


def test_a_genre_with_two_groups_of_which_one_is_shared_is_in_both_subsets():
    y, groups = np.array([0, 0, 0, 1, 1]), np.array(["a", "both", "both", "both", "b"])
    for seed in range(10):
        train, valid = group_split(y, groups, 0.3, seed)
        assert set(y[train]) == set(y[valid]) == {0, 1} and not set(groups[train]) & set(groups[valid])


def test_groups_that_a_manifest_names_outlive_the_search_for_duplicates(songs):
    tracks = read_collection(songs)
    named = {"disco/disco": "live", "metal/metal": "live", "jazz/jazz": "club", "hiphop/hiphop": "club", "rock/rock": ""}
    marked = with_duplicates(tracks.assign(group=tracks.track.map(named).fillna("nan")))
    groups = marked.groupby("group").track.agg(set).loc[lambda g: g.str.len() > 1].tolist()
    expected = [{"disco/disco", "metal/metal"}, {"jazz/jazz", "jazz/a later", "jazz/b much later", "hiphop/hiphop"}, {"pop/pop", "rock/c wrong genre"}]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, expected))


def test_lists_fit_names_in_both_spellings_of_unicode():
    assert list_key(unicodedata.normalize("NFD", "jazz/é.wav")) == list_key(unicodedata.normalize("NFC", "é"))
