"Scores against scikit-learn, known values, and bad input."

import json
import warnings

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn import metrics

from genre_nbs.evaluation import (
    apply_temperature,
    bootstrap_intervals,
    evaluate,
    expected_calibration_error,
    f1_macro,
    fit_temperature,
    plot_confusion,
    plot_confusion_pair,
    plot_reliability,
    reliability,
    save_confusion,
    top_k_accuracy,
    worst_mistakes,
)
from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.statistics import (
    average_by_track,
    balanced_tracks,
    check_predictions,
    cluster_interval,
    compare_models,
    learning_curve,
    mcnemar_exact,
    plot_learning_curve,
    sign_flip_test,
    wilson_interval,
)

matplotlib.use("Agg")
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    matplotlib.pyplot.close("all")


def predictions(n=200, k=10, seed=0, bonus=1.5):
    "Random probabilities (n, k) that favour the true label, and labels (n,)."
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    return softmax(rng.normal(size=(n, k)) + bonus * np.eye(k)[y], axis=1), y


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n,k", [(3, 2), (30, 10), (500, 4), (40, 30)])
def test_scores_agree_with_scikit_learn(seed, n, k):
    proba, y = predictions(n, k, seed)
    predicted, labels = proba.argmax(1), np.arange(k)
    scores = evaluate(proba, y, [f"g{i}" for i in labels])
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(y, predicted))
    assert scores.f1_macro == pytest.approx(metrics.f1_score(y, predicted, average="macro", zero_division=0))
    assert (scores.confusion == metrics.confusion_matrix(y, predicted, labels=labels)).all()
    assert scores.confusion.dtype == np.int64
    assert np.allclose(scores.per_genre[["precision", "recall", "f1"]].T, (precision, recall, f1))
    assert (scores.per_genre["support"] == support).all()
    for top in {1, 2, k}:
        expected = 1.0 if top == k else metrics.top_k_accuracy_score(y, proba[:, 1] if k == 2 else proba, k=top, labels=labels)
        assert top_k_accuracy(proba, y, top) == pytest.approx(expected)


# Wilson's score interval in Newcombe, Statistics in Medicine 17 (1998), table I
NEWCOMBE = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize("correct,n,low,high", NEWCOMBE)
def test_wilson_known_values(correct, n, low, high):
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_agrees_with_scipy_and_is_exact_at_the_ends():
    for correct, n, confidence in [(186, 300, 0.95), (3, 7, 0.9), (20, 20, 0.99), (0, 1, 0.95)]:
        expected = binomtest(correct, n).proportion_ci(confidence, method="wilson")
        assert wilson_interval(correct, n, confidence) == pytest.approx(tuple(expected))
    assert wilson_interval(7, 7)[1] == 1 and wilson_interval(0, 7)[0] == 0


@pytest.mark.parametrize("args", [(1, 0), (-1, 5), (6, 5), (float("nan"), 5), (1, 5, 0), (1, 5, 1), (1, float("nan"))])
def test_wilson_refuses(args):
    with pytest.raises(ValueError):
        wilson_interval(*args)


def test_cluster_interval_by_hand():
    # 4 songs of 2 segments: 2, 2, 0, 0 right. p = 1/2, excess 1, 1, -1, -1: variance 4/8^2 * 4/3, binomial 1/32, effect 8/3 > 2: 2
    assert cluster_interval([1, 1, 1, 1, 0, 0, 0, 0], list("aabbccdd")) == pytest.approx(wilson_interval(2, 4, z=3.182446305284263))
    # songs that are as even as can be: the effect is not below 1
    assert cluster_interval([1, 0, 1, 0, 1, 0, 1, 0], list("aabbccdd")) == pytest.approx(wilson_interval(4, 8, z=3.182446305284263))


def test_cluster_interval_takes_the_variance_between_songs_as_of_a_sample():
    # 4 songs of 10 segments: 8, 6, 7, 3 right. p = 0.6, excess 2, 0, 1, -3: sum of squares 14.
    # Design effect 14 * 4/3 / (40 * 0.6 * 0.4) = 1.9444, between 1 and 10; without the factor 4/3 it would be 1.4583.
    hit = np.concatenate([np.arange(10) < right for right in (8, 6, 7, 3)])
    effect = 14 * (4 / 3) / 9.6
    expected = wilson_interval(24 / effect, 40 / effect, z=3.182446305284263)  # Student's t, 3 degrees of freedom, 97.5 %
    assert cluster_interval(hit, np.repeat(list("abcd"), 10)) == pytest.approx(expected, abs=1e-12)


def test_cluster_interval_of_single_segments_is_wilson():
    hit = np.arange(30) % 3 == 0
    assert cluster_interval(hit, range(30)) == wilson_interval(10, 30)


def test_cluster_interval_without_variance_counts_songs():
    low, high = cluster_interval(np.ones(40), np.repeat(range(4), 10))
    assert low == pytest.approx(wilson_interval(4, 4, z=3.182446305284263)[0]) and high == 1
    low, high = cluster_interval([1, 1, 0, 1], ["one"] * 4)
    assert low < 0.1 and high > 0.9


@pytest.mark.parametrize("songs,accuracy", [(20, 0.62), (60, 0.85)])
def test_cluster_interval_keeps_its_promise_and_wilson_does_not(songs, accuracy):
    rng, held, naive = np.random.default_rng(0), 0, 0
    for _ in range(600):
        skill = rng.beta(accuracy, 1 - accuracy, size=songs)  # segments of a song correlate at 0.5
        hit = rng.random((songs, 8)) < skill[:, None]
        low, high = cluster_interval(hit.ravel(), np.repeat(range(songs), 8))
        held += low <= accuracy <= high
        low, high = wilson_interval(hit.sum(), hit.size)
        naive += low <= accuracy <= high
    assert held > 0.92 * 600 and naive < 0.75 * 600


def test_by_track():
    proba, y, names = average_by_track([[0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8]], [1, 0, 1, 1], ["b", "a", "b", "b"])
    assert names.tolist() == ["b", "a"] and y.tolist() == [1, 0]
    assert np.allclose(proba, [[0.3, 0.7], [0.9, 0.1]])
    scores = evaluate([[0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8]], [1, 0, 1, 1], ("x", "y"), ["b", "a", "b", "b"], by="track")
    assert (scores.accuracy, scores.n, scores.n_tracks, scores.by) == (1, 2, 2, "track")
    assert scores.accuracy_interval == wilson_interval(2, 2)


def test_evaluate_by_example_uses_tracks_for_the_interval():
    proba, y = predictions(60)
    track = np.repeat(np.arange(6), 10)
    plain, by_song = evaluate(proba, y, GTZAN_GENRES), evaluate(proba, y, GTZAN_GENRES, track)
    assert plain.accuracy == by_song.accuracy and plain.n_tracks is None and by_song.n_tracks == 6
    assert np.diff(by_song.accuracy_interval) > np.diff(plain.accuracy_interval)
    assert evaluate(proba, y, GTZAN_GENRES, range(60)).accuracy_interval == plain.accuracy_interval


def test_to_dict_is_json_with_the_contract():
    proba, y = predictions()
    data = json.loads(json.dumps(evaluate(proba.astype(np.float32), y.astype(np.int32), GTZAN_GENRES, np.arange(200)).to_dict()))
    assert {"accuracy", "f1_macro", "n", "genres", "confusion", "accuracy_interval"} <= set(data)
    assert data["n"] == 200 and np.sum(data["confusion"]) == 200 and data["genres"] == list(GTZAN_GENRES)
    assert data["per_genre"]["jazz"]["support"] == int((y == 5).sum())


def test_ties_go_to_the_first_genre():
    scores = evaluate([[0.5, 0.5], [0.5, 0.5]], [0, 1], ("x", "y"))
    assert scores.confusion.tolist() == [[1, 0], [1, 0]]
    assert top_k_accuracy([[0.5, 0.5], [0.5, 0.5]], [0, 0], 1) == 1
    assert top_k_accuracy([[0.3, 0.4, 0.3]], [2], 2) == 0


def test_genres_without_examples_count_as_zero_without_warnings():
    proba = np.eye(4)[[0, 0, 2, 2]]
    scores = evaluate(proba, [0, 0, 0, 1], ("a", "b", "c", "d"))
    table = scores.per_genre
    assert table["precision"].tolist() == [1, 0, 0, 0]
    assert table["recall"].tolist() == pytest.approx([2 / 3, 0, 0, 0])
    # 'd' is neither true nor predicted: it is left out of the mean, 'b' and 'c' are not
    assert scores.f1_macro == pytest.approx(0.8 / 3)
    assert f1_macro(np.stack([scores.confusion, np.eye(4)])).tolist() == pytest.approx([0.8 / 3, 1])
    plot_confusion(scores, normalize=True)


def test_one_true_genre_is_fine():
    scores = evaluate(np.eye(3)[[1, 1, 1]], [1, 1, 1], ("a", "b", "c"))
    assert scores.accuracy == 1 and scores.f1_macro == 1


P, Y, G = np.full((3, 2), 0.5), np.array([0, 1, 1]), ("a", "b")
BAD = {
    "flat": (P[0], Y, G, "shape"),
    "three axes": (P[None], Y, G, "shape"),
    "no rows": (P[:0], Y[:0], G, "no predictions"),
    "one column": (np.ones((3, 1)), Y * 0, ("a",), "two genres"),
    "too many names": (P, Y, ("a", "b", "c"), "2 columns"),
    "name twice": (P, Y, ("a", "a"), "different genres"),
    "labels short": (P, Y[:2], G, r"shape \(3,\)"),
    "labels as columns": (P, np.eye(2)[Y], G, r"shape \(3,\)"),
    "label too high": (P, Y + 1, G, "between 0 and 1"),
    "label negative": (P, Y - 1, G, "between 0 and 1"),
    "labels float": (P, Y * 1.0, G, "integer labels"),
    "labels text": (P, np.array(["a", "b", "b"]), G, "integer labels"),
    "nan": (np.array([[0.5, 0.5], [np.nan, 0.5], [1, 0]]), Y, G, "row 1 .* not finite"),
    "inf": (np.array([[0.5, 0.5], [1, 0], [np.inf, 0.5]]), Y, G, "row 2 .* not finite"),
    "negative": (np.array([[1.5, -0.5], [1, 0], [1, 0]]), Y, G, "row 0 .* negative"),
    "logits": (P * 7, Y, G, "sum to 1"),
    "texts": (np.array([["a", "b"]] * 3), Y, G, "could not convert"),
}


@pytest.mark.parametrize("proba,y,genres,message", BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_error(proba, y, genres, message):
    for call in (evaluate, bootstrap_intervals):
        with pytest.raises(ValueError, match=message):
            call(proba, y, genres)
    with pytest.raises(ValueError, match=message):
        compare_models(proba, proba, y, genres)
    with pytest.raises(ValueError, match=message):
        worst_mistakes(proba, y, genres, ["x"] * 3)


@pytest.mark.parametrize("call", [reliability, fit_temperature, top_k_accuracy, check_predictions])
def test_bad_input_of_the_rest(call):
    with pytest.raises(ValueError, match="sum to 1"):
        call(P * 3, Y)


@pytest.mark.parametrize(
    "track,message",
    [(None, "need the track"), (["a"], "1 track names"), (["a", None, "b"], "example 1"), (["a", "b", float("nan")], "example 2")],
)
def test_bad_tracks(track, message):
    with pytest.raises(ValueError, match=message):
        evaluate(P, Y, G, track, by="track")


def test_track_of_two_genres_and_unknown_by():
    with pytest.raises(ValueError, match="'s' has segments of two genres"):
        average_by_track(P, Y, ["s", "s", "t"])
    with pytest.raises(ValueError, match="not 'song'"):
        evaluate(P, Y, G, by="song")
    with pytest.raises(ValueError, match="not 'song'"):
        compare_models(P, P, Y, G, by="song")


@pytest.mark.parametrize("total", [0.95, 0.985, 1.015, 1.05])
def test_rows_must_sum_to_one_within_a_hundredth(total):
    proba = np.array([[0.5, 0.5], [0.5, total - 0.5], [1.0, 0.0]])
    with pytest.raises(ValueError, match="row 1 of proba does not sum to 1"):
        check_predictions(proba, Y)


@pytest.mark.parametrize("total", [0.991, 1.0, 1.009])
def test_rows_that_are_rounded_are_taken(total):
    check_predictions(np.array([[0.5, 0.5], [0.5, total - 0.5], [1.0, 0.0]]), Y)


def test_float16_probabilities_are_taken():
    proba, y = predictions()
    assert evaluate(proba.astype(np.float16), y, GTZAN_GENRES).n == 200


def test_bootstrap_is_seeded_and_near_wilson():
    proba, y = predictions(300)
    a = bootstrap_intervals(proba, y, GTZAN_GENRES, seed=1)
    assert a == bootstrap_intervals(proba, y, GTZAN_GENRES, seed=1) != bootstrap_intervals(proba, y, GTZAN_GENRES, seed=2)
    assert a["accuracy"] == pytest.approx(evaluate(proba, y, GTZAN_GENRES).accuracy_interval, abs=0.02)
    assert a["f1_macro"][0] < evaluate(proba, y, GTZAN_GENRES).f1_macro < a["f1_macro"][1]


def test_bootstrap_draws_whole_tracks():
    y = np.repeat([0, 1], 50)
    proba = np.eye(2)[np.repeat([0, 0, 1, 1], 25)]
    proba[:25] = [0.0, 1.0]  # of 4 tracks of 25 segments one is wrong: only multiples of 1/4 can come out
    low, high = bootstrap_intervals(proba, y, G, np.repeat(range(4), 25), n_resamples=500)["accuracy"]
    assert low in (0, 0.25) and high == 1


def test_mcnemar_known_values():
    assert mcnemar_exact(0, 0) == 1
    assert mcnemar_exact(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar_exact(9, 1) == mcnemar_exact(1, 9)
    assert mcnemar_exact(5, 5) == 1


def test_sign_flips_agree_with_mcnemar_where_songs_are_single():
    difference = np.array([1] * 9 + [-1] + [0] * 50)
    assert sign_flip_test(difference) == pytest.approx(mcnemar_exact(1, 9), abs=1e-12)  # all 1,024 ways
    assert sign_flip_test(difference, n_flips=1000) == pytest.approx(mcnemar_exact(1, 9), abs=0.02)  # at random
    assert sign_flip_test([0, 0]) == 1


def test_random_sign_flips_count_the_observed_signs():
    # 40 songs, all in favour of one model: of 2^40 ways two are as extreme, and 999 random ones do not meet them
    assert sign_flip_test(np.ones(40), n_flips=999) == 1 / 1000
    assert sign_flip_test(np.ones(40), n_flips=99) == 1 / 100  # never 0: the observed signs are one of the ways


def test_sign_flips_count_what_is_equal_but_for_rounding():
    gains = np.random.default_rng(4).uniform(0.01, 0.02, (200, 10))  # always ahead: 2 of the 1,024 ways lie as far out
    assert {sign_flip_test(g) for g in gains} == {2 / 2**10}
    assert sign_flip_test(gains[0], n_flips=1000) < 0.02


def test_compare_models():
    proba, y = predictions(400, seed=3)
    better = softmax(np.log(proba) + np.eye(10)[y], axis=1)
    result = compare_models(proba, better, y, GTZAN_GENRES)
    assert result.difference == pytest.approx(result.accuracy_b - result.accuracy_a) and result.only_a == 0
    assert result.only_b == round(400 * result.difference) and result.test == "McNemar exact"
    assert result.difference_interval[0] > 0 and result.p_value < 1e-6
    back = compare_models(better, proba, y, GTZAN_GENRES)
    assert back.difference == -result.difference and back.p_value == result.p_value
    same = compare_models(proba, proba, y, GTZAN_GENRES)
    assert same.p_value == 1 and same.difference_interval == (0, 0)


def test_compare_models_by_song():
    y = np.repeat(np.arange(2), 40)
    track = np.repeat(np.arange(8), 10)
    a, b = np.eye(2)[1 - y], np.eye(2)[1 - y]
    b[:10] = b[:10, ::-1]  # one song of eight is won, with all ten of its segments
    result = compare_models(a, b, y, G, track)
    assert result.test == "sign-flip test of tracks" and result.only_b == 10 and result.p_value == 1
    assert compare_models(a, b, y, G).p_value < 0.01  # what it says when segments pass for songs
    by_track = compare_models(a, b, y, G, track, by="track")
    assert (by_track.n, by_track.only_b, by_track.p_value, by_track.test) == (8, 1, 1, "McNemar exact")


def test_reliability_by_hand():
    proba = [[0.95, 0.05], [0.92, 0.08], [0.6, 0.4], [1.0, 0.0], [0.35, 0.65]]
    table = reliability(proba, [0, 1, 0, 0, 0])
    assert table["n"].tolist() == [2, 3] and table.index.tolist() == [6, 9]
    assert table["accuracy"].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert table["confidence"].tolist() == pytest.approx([0.625, 2.87 / 3])
    assert (table.loc[9, "low"], table.loc[9, "high"]) == wilson_interval(2, 3)
    assert expected_calibration_error(proba, [0, 1, 0, 0, 0]) == pytest.approx((2 * 0.125 + 3 * (2.87 / 3 - 2 / 3)) / 5)
    with pytest.raises(ValueError, match="bins"):
        reliability(proba, [0, 1, 0, 0, 0], bins=0)


def test_temperature_finds_what_was_done():
    rng = np.random.default_rng(0)
    honest = rng.dirichlet(np.full(5, 0.5), size=4000)
    y = np.array([rng.choice(5, p=row) for row in honest])
    for sharp in (0.5, 1, 3):
        proba = apply_temperature(honest, 1 / sharp)
        assert fit_temperature(proba, y) == pytest.approx(sharp, rel=0.05)
    assert np.allclose(apply_temperature(honest, 1), honest, atol=1e-9)
    assert (apply_temperature(honest, 2).argmax(1) == honest.argmax(1)).all()


def test_temperature_with_zeros_and_ends():
    assert fit_temperature(np.eye(2)[[0, 1]], [0, 1]) >= 0.05  # all right and sure
    assert fit_temperature(np.eye(2)[[0, 1]], [1, 0]) == pytest.approx(20, rel=0.01)  # all wrong and sure
    assert np.isfinite(apply_temperature(np.eye(3), 0.05)).all()
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive"):
            apply_temperature(P, bad)


@pytest.mark.parametrize("k", [0, 3])
def test_top_k_refuses(k):
    with pytest.raises(ValueError, match="between 1 and 2"):
        top_k_accuracy(P, Y, k)


def test_balanced_tracks_and_learning_curve():
    y = np.repeat([0, 1, 2], 40)
    track = np.repeat(np.arange(30), 4)
    for size in (3, 6, 30):
        assert np.bincount(balanced_tracks(y, track, 5)[:size] // 10).tolist() == [size // 3] * 3
    seen = {}

    def train(chosen, seed):
        seen[seed, len(chosen)] = set(chosen)
        return evaluate(np.eye(3)[y], y, ("a", "b", "c"))

    table = learning_curve(train, y, track, [3, 6, 30], seeds=[0, 1])
    assert table["examples"].tolist() == [12, 24, 120] * 2 and (table["accuracy"] == 1).all()
    assert seen[0, 12] < seen[0, 24] < seen[0, 120] == set(range(120)) and seen[0, 12] != seen[1, 12]
    assert plot_learning_curve(table).get_xlabel() == "training songs"
    for sizes in ([], [0], [31]):
        with pytest.raises(ValueError, match="between 1 and 30"):
            learning_curve(train, y, track, sizes)


def test_worst_mistakes():
    proba = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4], [0.8, 0.2]]
    table = worst_mistakes(proba, [0, 0, 0, 1, 1], ("jazz", "rock"), list("abcde"), n=3)
    assert table["name"].tolist() == ["b", "e", "c"]  # a tie keeps its order
    assert table["example"].tolist() == [1, 4, 2] and table["predicted"].tolist() == ["rock", "jazz", "rock"]
    assert table["confidence"].tolist() == [0.8, 0.8, 0.7] and table["true_proba"].tolist() == [0.2, 0.2, 0.3]
    assert len(worst_mistakes(proba, [0, 1, 1, 0, 0], ("jazz", "rock"), list("abcde"))) == 0
    with pytest.raises(ValueError, match="4 names"):
        worst_mistakes(proba, [0] * 5, ("jazz", "rock"), list("abcd"))
    with pytest.raises(ValueError, match="negative"):
        worst_mistakes(proba, [0] * 5, ("jazz", "rock"), list("abcde"), n=-1)


def test_confusion_picture_has_fixed_order_and_all_numbers():
    scores = evaluate(np.eye(3)[[0, 0, 1, 2]], [0, 1, 1, 2], ("rock", "zydeco", "blues"))
    ax = plot_confusion(scores)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Blues", "Rock", "Zydeco"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["Blues", "Rock", "Zydeco"]
    assert [t.get_text() for t in ax.texts] == ["1", "", "", "", "1", "", "", "1", "1"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    fractions = plot_confusion_pair(scores)[1]
    assert [t.get_text() for t in fractions.texts][-3:] == ["", "50", "50"]
    given = matplotlib.pyplot.figure().subplots()
    assert plot_confusion(scores, ax=given) is given


def test_save_confusion(tmp_path):
    scores = evaluate(P, Y, G)
    assert save_confusion(scores, tmp_path / "new" / "c.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError):
        save_confusion(scores, tmp_path / "c.nonsense")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["c.png", "new"]
    assert not matplotlib.pyplot.get_fignums()


def test_reliability_picture():
    proba, y = predictions()
    ax = plot_reliability(proba, y, title="Test")
    assert ax.get_title().startswith("Test: calibration error")


def test_large_input_is_quick():
    with warnings.catch_warnings():
        proba, y = predictions(100_000, 10)
        track = pd.Series(np.arange(100_000) // 30).astype(str)
        scores = evaluate(proba, np.repeat(y[::30], 30)[:100_000], GTZAN_GENRES, track, by="track")
    assert scores.n == 3334
