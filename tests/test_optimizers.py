"The comparison of optimizers: what is kept on disk, what is chosen, and what the statistics say."

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import genre_nbs.app.compare as room
from genre_nbs import comparison as runner
from genre_nbs.app.compare import compare
from genre_nbs.classifier import Recipe, init_network
from genre_nbs.comparison import (
    CANDIDATES,
    COLUMNS,
    HEADER,
    Candidate,
    Job,
    Plan,
    Study,
    append_rows,
    best_lr,
    can_stack,
    final_runs,
    lr_grid,
    lr_scores,
    lr_trials,
    make_jobs,
    read_rows,
    run_job,
    run_scores,
    truncate_partial_line,
    untuned_runs,
)
from genre_nbs.datasets import Examples
from genre_nbs.optimizers import mean_intervals, score_table, tuned_table, untuned_table
from genre_nbs.statistics import holm
from genre_nbs.training import fit

GENRES = ("blues", "jazz", "metal")


def network(shape, n_genres):
    return nn.Sequential(nn.Linear(*shape, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, n_genres))


RECIPE = Recipe("small", None, network, epochs=2)
SMALL = Plan(seeds=2, trials=3, widen=1, candidates=("SGD", "Adam"))


def examples(n=60, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = (rng.standard_normal((n, 5)) + 1.5 * np.eye(5)[y]).astype(np.float32)
    return Examples(x, y, np.array([f"song {i}" for i in range(n)]), GENRES)


@pytest.fixture
def study(tmp_path):
    return Study(RECIPE, examples(), examples(30, 1), tmp_path / "out" / "runs.csv", plan=SMALL)


def job_of(stage, name, lr, seeds):
    return Job(stage, name, CANDIDATES[name], lr, seeds)


def row(candidate="Adam", lr=0.002, seed=0, f1=0.5, **more):
    return {"candidate": candidate, "lr": lr, "seed": seed, "valid_f1_macro": f1, "diverged_at": np.nan, "reason": "", **more}


def table(rows):
    return pd.DataFrame([row(*r) if isinstance(r, tuple) else row(**r) for r in rows])


# --- the table on disk


def test_rows_come_back_as_they_were_written(tmp_path):
    lr = 0.1 + 0.2  # not exact in a few digits
    written = dict.fromkeys(COLUMNS, "") | {
        "settings": "123456789012e456",  # no number
        "stage": "trial",
        "candidate": "SGD with momentum",
        "optimizer": CANDIDATES["SGD with momentum"].text,
        "lr": lr,
        "seed": 7,
        "epochs": 2,
        "best_epoch": 0,
        "reason": 'lr "1e9", too large',
        "threads": 1,
    }
    append_rows(tmp_path / "runs.csv", [written, written])
    append_rows(tmp_path / "runs.csv", [written])
    rows = read_rows(tmp_path / "runs.csv")
    assert len(rows) == 3 and rows.lr.tolist() == [lr] * 3 and rows.settings[2] == "123456789012e456"
    assert rows.optimizer[0] == 'SGD {"momentum": 0.9, "nesterov": true}'
    assert rows.reason[0] == 'lr "1e9", too large' and rows.seed[0] == 7 and np.isnan(rows.diverged_at[0])


@pytest.mark.parametrize("cut", [1, 30, len(HEADER) - 3, len(HEADER), len(HEADER) + 9])
def test_half_a_line_is_cut_off_wherever_the_power_failed(tmp_path, cut):
    path, one = tmp_path / "runs.csv", {"settings": "ab", "stage": "untuned", "candidate": "Adam", "lr": 1.0, "seed": 0, "epochs": 1, "best_epoch": 1, "threads": 1}
    append_rows(path, [one])
    path.write_bytes(path.read_bytes()[:cut])
    assert len(read_rows(path)) == 0
    truncate_partial_line(path)
    append_rows(path, [one])
    assert read_rows(path).seed.tolist() == [0]


def test_another_file_is_never_touched(study):
    study.table.parent.mkdir()
    study.table.write_text("my,own,notes\nhalf a li")
    with pytest.raises(ValueError, match="no table of runs"):
        untuned_runs(study)
    assert study.table.read_text() == "my,own,notes\nhalf a li"


def test_a_second_process_at_the_same_table_is_refused(study):
    study.table.parent.mkdir()
    with runner.FileLock(study.table.with_suffix(".lock")), pytest.raises(ValueError, match="another run is writing"):
        untuned_runs(study)


# --- resuming


def count_jobs(monkeypatch):
    done = []
    monkeypatch.setattr(runner, "run_job", lambda study, job: done.append(job) or run_job(study, job))
    return done


def test_what_is_done_is_not_done_again(study, monkeypatch):
    done = count_jobs(monkeypatch)
    first = untuned_runs(study)
    assert [job.name for job in done] == ["SGD", "Adam"] and len(first) == 4
    lines = study.table.read_text().splitlines(keepends=True)
    study.table.write_text("".join(lines[:2]) + lines[2][:40])  # one run of four, and a half
    again = untuned_runs(study)
    assert {(job.name, job.seeds) for job in done[2:]} == {("SGD", (1,)), ("Adam", (0, 1))}
    np.testing.assert_allclose(score_table(again), score_table(first), atol=0.04)  # alone or in a stack: to rounding, a song at most
    untuned_runs(replace(study, plan=replace(SMALL, seeds=3)))
    assert [(job.name, job.seeds) for job in done[4:]] == [("SGD", (2,)), ("Adam", (2,))]


def test_a_final_run_that_the_course_asked_for_too_is_trained_once(study, monkeypatch):
    trials, done = lr_trials(study), count_jobs(monkeypatch)
    lr = best_lr(lr_scores(trials)["Adam"], CANDIDATES["Adam"].lr)
    course = untuned_runs(replace(study, plan=replace(SMALL, lr=lr, candidates=("Adam",))))
    finals = final_runs(study, trials)
    assert [(job.stage, job.name) for job in done] == [("untuned", "Adam"), ("final", "SGD")]
    assert score_table(finals).Adam.tolist() == score_table(course).Adam.tolist()
    judged = final_runs(replace(study, test=examples(30, 2)), trials)  # test songs ask for runs of their own
    assert judged.test_accuracy.notna().all() and [job.name for job in done[2:]] == ["SGD", "Adam"]


def test_a_candidate_of_ones_own_runs_in_several_processes_and_anew_with_other_options(study, monkeypatch):
    plan, rows = {"seeds": 1, "trials": 1, "widen": 0, "epochs": 8}, []
    study = replace(study, jobs=2)
    for momentum in (0.1, 0.99, 0.1):
        monkeypatch.setitem(CANDIDATES, "mine", Candidate("Muon", {"momentum": momentum}))
        rows.append(untuned_runs(replace(study, plan=Plan(**plan, candidates=("mine", "Adam")))))
    losses = [found[found.candidate == "mine"].train_loss.item() for found in rows]
    assert losses[0] == losses[2] != losses[1] and len(read_rows(study.table)) == 3
    assert set(rows[1].optimizer) == {'Muon {"momentum": 0.99}', "Adam {}"}


@pytest.mark.parametrize(
    "change",
    [
        {"train": examples(60, 5)},
        {"valid": examples(30, 5)},
        {"recipe": replace(RECIPE, batch_size=8)},
        {"recipe": replace(RECIPE, standardize=False)},
        {"recipe": replace(RECIPE, label_smoothing=0.1)},
        {"plan": replace(SMALL, epochs=1)},
    ],
)
def test_rows_of_another_study_in_the_same_file_are_left_alone(study, change):
    own, other = untuned_runs(study), untuned_runs(replace(study, **change))
    assert len(read_rows(study.table)) == 8 and set(own.settings).isdisjoint(other.settings) and len(other) == 4
    pd.testing.assert_frame_equal(untuned_runs(study), own)


PAIR = tuple(name for name in ("Muon", "Adafactor") if name in CANDIDATES)  # PyTorch 2.4 has no Adafactor


def test_a_killed_comparison_goes_on_where_it_was(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from test_optimizers import *\n"
        "plan = Plan(seeds=8 // len(PAIR), candidates=PAIR, epochs=int(sys.argv[3]))\n"
        "if __name__ == '__main__': untuned_runs(Study(RECIPE, examples(200), examples(30, 1), sys.argv[2], plan=plan))\n"
    )
    path, here = tmp_path / "runs.csv", os.path.dirname(__file__)
    child = subprocess.Popen([sys.executable, script, here, path, "10"])
    while child.poll() is None and len(read_rows(path)) < 1:
        time.sleep(0.02)
    assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = read_rows(path)
    assert 1 <= len(kept) < 8
    with open(path, "a") as f:
        f.write("half a line, as a kill in the middle of writing leaves it")
    plan = Plan(seeds=8 // len(PAIR), candidates=PAIR, epochs=10)
    rows = untuned_runs(Study(RECIPE, examples(200), examples(30, 1), path, plan=plan))
    assert len(rows) == 8 and rows.seconds.tolist()[: len(kept)] == kept.seconds.tolist()


def test_several_processes_give_the_same_numbers(study):
    alone = untuned_runs(study)
    both = untuned_runs(replace(study, table=study.table.with_name("other.csv"), jobs=2))
    pd.testing.assert_frame_equal(score_table(alone), score_table(both))
    assert set(both.threads) == {1}


def test_a_dask_cluster_gives_the_same_numbers(study):
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    alone, threads = untuned_runs(study), torch.get_num_threads()
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        far = untuned_runs(replace(study, table=study.table.with_name("far.csv"), scheduler=cluster.scheduler_address))
        moves = cluster.scheduler.transition_counter
    torch.set_num_threads(threads)  # two workers in one process take it from each other
    pd.testing.assert_frame_equal(score_table(alone), score_table(far))
    assert moves > 2


def test_threads_of_one_process_take_turns_since_they_share_the_dice(study, monkeypatch):
    inside, most = [], []

    def train_job(study, job):
        inside.append(job)
        time.sleep(0.1)
        most.append(len(inside))
        inside.pop()
        return [], []

    monkeypatch.setattr(runner, "train_job", train_job)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda seed: run_job(study, job_of("untuned", "SGD", 0.1, ())), range(3)))
    assert most == [1, 1, 1]


# --- runs


def test_a_run_is_what_fit_gives_alone(study):
    (found,) = run_job(study, job_of("untuned", "SGD with momentum", 0.05, (3,)))
    model = init_network(RECIPE, study.train, 3)
    history = fit(model, study.train, study.valid, optimizer="SGD", lr=0.05, optimizer_options={"momentum": 0.9, "nesterov": True}, epochs=2, seed=3)
    kept = history.table.loc[history.best_epoch - 1]
    assert found["valid_f1_macro"] == pytest.approx(kept.valid_f1_macro, abs=1e-6) and found["best_epoch"] == history.best_epoch
    assert found["valid_accuracy"] == pytest.approx(kept.valid_accuracy, abs=1e-6) and len(found["valid_curve"].split()) == 2


def test_all_optimizers_begin_with_the_same_weights_and_batches(study):
    frozen = [run_job(study, job_of("untuned", name, 1e-30, (4,)))[0]["train_loss"].split()[0] for name in ("SGD", "Adam", *PAIR)]
    assert len(set(frozen)) == 1 and frozen[0] != run_job(study, job_of("untuned", "SGD", 1e-30, (5,)))[0]["train_loss"].split()[0]


def test_stacks_are_for_dense_layers_and_optimizers_that_treat_each_weight_alone():
    dense, pictures = network((5,), 3), nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    assert can_stack(dense, CANDIDATES["Adam"]) and can_stack(dense, CANDIDATES["SGD with momentum"])
    assert not can_stack(dense, CANDIDATES["Muon"]) and not can_stack(pictures, CANDIDATES["Adam"])
    assert can_stack(pictures, CANDIDATES["Adam"], "cuda") and not can_stack(pictures, CANDIDATES["Muon"], "cuda")
    assert not can_stack(nn.Sequential(nn.BatchNorm1d(5), *dense), CANDIDATES["Adam"], "cuda") and not can_stack(dense, CANDIDATES["Adam"], "mps")


@pytest.mark.skipif("Adafactor" not in CANDIDATES, reason="PyTorch 2.4 has no Adafactor")
def test_lone_runs_go_seed_by_seed(study):
    runs = [(name, 0.002, seed) for seed in range(2) for name in ("Muon", "Adafactor", "Adam")]
    order = [(job.name, job.seeds) for job in make_jobs(study, "untuned", runs)]
    assert order == [("Muon", (0,)), ("Adafactor", (0,)), ("Adam", (0, 1)), ("Muon", (1,)), ("Adafactor", (1,))]


def test_a_diverging_run_is_a_row_with_its_epoch_and_comes_last(study):
    wild = replace(study, plan=replace(SMALL, lr=1e30))
    rows = untuned_runs(wild)
    assert set(rows[rows.candidate == "SGD"].diverged_at) == {1} and rows[rows.candidate == "SGD"].best_epoch.tolist() == [0, 0]
    both = table([("Adam", 0.1, 0, 0.2), {"candidate": "SGD", "f1": 0.9, "diverged_at": 5.0}])
    assert untuned_table(both).index.tolist() == ["Adam", "SGD"] and untuned_table(both).failed.tolist() == [0, 1]


def test_an_optimizer_that_cannot_work_is_a_row_with_its_reason(study, monkeypatch):
    monkeypatch.setitem(CANDIDATES, "SGD", replace(CANDIDATES["SGD"], options={"momentum": -1.0}))
    rows = untuned_runs(study)
    assert rows.groupby("candidate").reason.first().to_dict() == {"Adam": "", "SGD": "Invalid momentum value: -1.0"}
    assert untuned_table(rows).loc["SGD", ["mean", "failed"]].tolist() == [0, 2]


def test_the_callers_threads_are_given_back(study):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        (found,) = run_job(replace(study, jobs=2), job_of("untuned", "SGD", 0.1, (0,)))
        assert found["threads"] == 1 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"plan": replace(SMALL, epochs=0)}, "epochs must be 1 or more"),
        ({"plan": replace(SMALL, lr=-1.0)}, "positive number"),
        ({"test": replace(examples(), genres=("blues", "jazz", "rock"))}, "differ"),
        ({"valid": replace(examples(), x=np.zeros((60, 4), np.float32))}, "shape|size|mat1"),
    ],
)
def test_what_is_wrong_for_all_runs_is_said_before_the_first(study, change, words):
    with pytest.raises(ValueError, match=words):
        replace(study, **change)
    assert not study.table.exists()


@pytest.mark.parametrize("change", [{"seeds": 0}, {"trials": 0}, {"widen": -1}, {"by": "loss"}, {"candidates": ("Adam", "Magic")}, {"candidates": ()}])
def test_plans_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError, match="must be|unknown"):
        replace(SMALL, **change)


# --- learning rates


def test_grids_are_half_a_power_of_ten_apart():
    assert lr_grid(0.002, -2, 1) == (0.0002, 0.000632, 0.002, 0.00632)


def test_of_equal_learning_rates_the_one_closest_to_the_default_is_chosen():
    assert best_lr(pd.Series({0.001: 0.7, 0.01: 0.9, 0.1: 0.9, 1.0: 0.9}), 0.2) == 0.1


def fake_scores(monkeypatch, score):
    def carry(study, job):
        about = {"settings": study.checksums[job.stage], "stage": job.stage, "candidate": job.name, "optimizer": job.candidate.text, "lr": job.lr}
        about |= {"epochs": 2, "best_epoch": 1, "threads": 1}
        return [about | {"seed": seed, "valid_f1_macro": score(job.name, job.lr)} for seed in job.seeds]

    monkeypatch.setattr(runner, "run_job", carry)


@pytest.mark.parametrize("far, edge", [(1e9, -1), (1e-15, 0)])
def test_the_grid_widens_while_the_best_is_at_the_edge_and_no_further_than_the_plan_says(study, monkeypatch, far, edge):
    fake_scores(monkeypatch, lambda name, lr: -abs(np.log10(lr / (0.001 if name == "Adam" else far))))
    for widen in (0, 1, 4):
        grid = lr_grid(0.001, -1 - widen, 1) if edge == 0 else lr_grid(0.001, -1, 1 + widen)
        trials = lr_trials(replace(study, plan=replace(SMALL, widen=widen)))
        assert tuple(sorted(trials[trials.candidate == "SGD"].lr)) == grid and len(trials[trials.candidate == "Adam"]) == 3


def test_the_grid_widens_on_both_sides_while_all_learning_rates_are_equally_bad(study, monkeypatch):
    fake_scores(monkeypatch, lambda name, lr: 0.9 if lr > 0.005 else 0.1)
    trials = lr_trials(replace(study, plan=replace(SMALL, widen=3)))
    assert tuple(sorted(trials[trials.candidate == "SGD"].lr)) == lr_grid(0.001, -2, 4)  # 0.01 is better than 0.00316, and 0.0316 and 0.1 as good


def test_final_runs_take_the_best_learning_rate_and_seeds_that_chose_nothing(study, monkeypatch):
    fake_scores(monkeypatch, lambda name, lr: 1 - abs(np.log10(lr / (0.00316 if name == "Adam" else 0.001))))
    trials = lr_trials(replace(study, plan=replace(SMALL, trial_seeds=2)))
    finals = final_runs(study, trials)
    assert finals.groupby("candidate").lr.first().to_dict() == {"Adam": 0.00316, "SGD": 0.001}
    assert set(trials.seed) == {1000, 1001} and set(finals.seed) == {0, 1}


def test_test_songs_are_judged_by_final_runs_only_and_close_the_trials(study):
    opened = replace(study, test=examples(30, 2))
    assert untuned_runs(opened).test_accuracy.isna().all()
    trials = lr_trials(opened)
    finals = final_runs(opened, trials)
    assert trials.test_accuracy.isna().all() and finals.test_accuracy.between(0.2, 1).all()
    assert tuned_table(trials, finals).test.notna().all() and "test" not in tuned_table(trials, final_runs(study, trials))
    assert len(lr_trials(opened)) == len(trials)  # reading is free
    with pytest.raises(ValueError, match="has been used"):
        lr_trials(replace(opened, plan=replace(SMALL, trials=5)))


def test_the_test_score_is_that_of_the_kept_weights(study):
    found = run_job(replace(study, test=study.valid), job_of("final", "Adam", 0.01, (0,)))[0]
    assert found["test_f1_macro"] == pytest.approx(found["valid_f1_macro"], abs=1e-6)
    assert found["test_accuracy"] == pytest.approx(found["valid_accuracy"], abs=1e-6)


# --- statistics


def test_first_places_are_shared_and_bands_are_those_of_the_seeds():
    scores = {"SGD": (0.5, 0.9, 0.7), "Adam": (0.6, 0.8, 0.7)}
    rows = table([(name, 0.1, seed, f1) for name, values in scores.items() for seed, f1 in enumerate(values)])
    found = untuned_table(rows)
    assert found["ranked first"].to_dict() == pytest.approx({"SGD": 0.5, "Adam": 0.5})
    assert found.loc["SGD", ["seed 0", "rank of seed 0", "lowest", "mean", "highest"]].tolist() == pytest.approx([0.5, 2, 0.5, 0.7, 0.9])


def test_only_seeds_that_all_have_done_count():
    rows = table([("SGD", 0.1, 0, 0.5), ("Adam", 0.1, 0, 0.6), ("SGD", 0.1, 1, 0.9)])
    assert score_table(rows).index.tolist() == [0] and untuned_table(rows).loc["SGD", "mean"] == 0.5


def test_holm_as_worked_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.7, 0.9])).tolist() == [1, 1]


def test_ranks_have_wide_intervals_between_equals_and_narrow_ones_apart():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.1, (10, 1))  # shared by all: pairs do not mind it
    scores = pd.DataFrame(luck + [[0.5, 0.5, 0.2]] + rng.normal(0, 0.01, (10, 3)), columns=["a", "b", "c"])
    mean, ranks = mean_intervals(scores)
    assert ranks.loc["c", ["rank", "rank_low", "rank_high"]].tolist() == [3, 3, 3] and ranks.loc["a", "rank_low"] == 1 and ranks.loc["a", "rank_high"] == 2
    assert (mean.low < mean["mean"]).all() and (mean["mean"] < mean.high).all() and mean.high["c"] - mean.low["c"] > 0.05


def test_small_differences_that_all_seeds_share_are_seen_and_those_they_do_not_are_not():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.1, 10)
    values = {"Adam": luck + 0.5, "SGD": luck + 0.48 + rng.normal(0, 0.002, 10), "RAdam": 0.499 + luck + rng.normal(0, 0.05, 10)}
    finals = table([(name, 0.1, seed, f1) for name, own in values.items() for seed, f1 in enumerate(own)]).assign(test_f1_macro=np.nan)
    found = tuned_table(finals, finals)
    leader = found.index[0]
    assert found.loc[leader, "difference"] == 0 and np.isnan(found.loc[leader, "p-value"])
    finals = finals[finals.candidate != "RAdam"]
    found = tuned_table(finals, finals)
    assert found.loc["SGD", "difference"] == pytest.approx(0.02, abs=0.002) and found.loc["SGD", "p-value"] < 0.01
    noisy = pd.concat([finals[finals.candidate == "Adam"], table([("RAdam", 0.1, s, v) for s, v in enumerate(values["RAdam"])]).assign(test_f1_macro=np.nan)])
    assert tuned_table(noisy, noisy)["p-value"].max() > 0.3


def test_a_collapsed_run_cannot_be_chosen_by_its_last_epochs():
    collapsed, steady = "0.1 0.9 0.1 0.1 0.1", "0.1 0.5 0.6 0.7 0.6"
    rows = table([("Adam", 0.1, 0, 0.9), ("Adam", 0.01, 0, 0.7), ("SGD", 0.1, 0, 0.7), ("SGD", 0.01, 0, 0.7)])
    rows = rows.assign(valid_curve=[collapsed, steady, steady, steady], diverged_at=[np.nan, np.nan, 3.0, np.nan])
    assert best_lr(lr_scores(rows)["Adam"], 0.001) == 0.1 and best_lr(lr_scores(rows, last=3)["Adam"], 0.001) == 0.01
    assert run_scores(rows, last=3).tolist() == pytest.approx([0.1, 1.9 / 3, 0, 1.9 / 3])
    with pytest.raises(ValueError, match="only the validation macro F1"):
        run_scores(rows, "accuracy", last=3)
    with pytest.raises(ValueError, match="macro F1 alone"):
        replace(SMALL, last=3, by="accuracy")


def test_final_runs_take_the_learning_rate_that_the_plans_score_chooses(study):
    trials = table([(name, lr, 1000, f1) for name in SMALL.candidates for lr, f1 in ((0.1, 0.9), (0.01, 0.7))])
    trials = trials.assign(valid_curve=["0.9 0.1 0.1", "0.5 0.6 0.7"] * len(SMALL.candidates))
    assert set(final_runs(study, trials).lr) == {0.1}
    assert set(final_runs(replace(study, plan=replace(SMALL, last=2)), trials).lr) == {0.01}


# --- everything together


def test_compare_writes_tables_and_pictures(study):
    result = compare(study, study.table.parent)
    course = pd.read_csv(study.table.parent / "untuned.csv", index_col=0)
    assert set(course.index) == {"SGD", "Adam"} and len(result["tuned"]) == 2 and json.dumps(result)
    assert all(os.path.getsize(path) > 100 for path in result["files"]) and len(result["files"]) == 7
    assert "Adam" in result["text"] and {row["candidate"] for row in result["untuned"]} == {"SGD", "Adam"}


@pytest.fixture
def clips(tmp_path):
    "A folder of arrays, as `genre-nbs prepare` writes them."
    data = examples(60)
    (tmp_path / "clips").mkdir()
    np.save(tmp_path / "clips" / "X.npy", np.tile(data.x, 6)[:, :26])
    np.save(tmp_path / "clips" / "labels.npy", np.array(GENRES)[data.y])
    np.save(tmp_path / "clips" / "tracks.npy", data.track.astype(str))
    return tmp_path / "clips"


def comparison(genre_nbs_cli, clips, out, *words):
    return genre_nbs_cli("optimizers", clips, "--quick", "--seeds", 2, "--trials", 1, "--epochs", 1, "--out", out, *words)


def test_the_command_compares_resumes_and_prints(clips, genre_nbs_cli, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "save_figure", lambda figure, path, dpi: matplotlib.pyplot.close(figure))
    done = comparison(genre_nbs_cli, clips, tmp_path, "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 0 and len(result["tuned"]) == len(CANDIDATES) and {"mean", "p-value", "rank_low"} <= set(result["tuned"][0])
    runs = (tmp_path / "runs.csv").read_bytes()
    text = comparison(genre_nbs_cli, clips, tmp_path).stdout
    assert (tmp_path / "runs.csv").read_bytes() == runs and "Muon" in text and "ranked first" in text


@pytest.mark.parametrize(
    "words, said",
    [
        (("--recipe", "magic"), "magic"),
        (("--seeds", "0"), "--seeds"),
        (("--valid", "x", "--split", "random"), "exclude"),
        (("--test", "DATA"), "cannot be the test"),
        (("--test", "nowhere.csv"), "nowhere.csv"),
        (("--epochs", "0"), "--epochs"),
        (("--device", "gramophone"), "device 'gramophone' cannot be used here"),
    ],
)
def test_the_command_refuses_in_one_line(clips, genre_nbs_cli, tmp_path, words, said):
    done = genre_nbs_cli("optimizers", clips, "--out", tmp_path / "out", *(str(clips) if word == "DATA" else word for word in words))
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1 and done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_the_command_trains_where_it_is_told(clips, genre_nbs_cli, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(room, "compare", lambda study, out: asked.append(study.device) or {"text": ""})
    for words in ((), ("--device", "cpu:0")):
        assert comparison(genre_nbs_cli, clips, tmp_path, *words).returncode == 0
    assert asked == ["cpu", "cpu:0"]


def test_ctrl_c_says_how_to_go_on(clips, genre_nbs_cli, tmp_path, monkeypatch):
    calls = []

    def stop(study, job):
        calls.append(job)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run_job(study, job)

    monkeypatch.setattr(runner, "run_job", stop)
    done = comparison(genre_nbs_cli, clips, tmp_path)
    assert done.returncode == 130 and "goes on from there" in done.stderr and len(read_rows(tmp_path / "runs.csv")) == 4


@pytest.mark.parametrize("default, chosen", [(0.2, 0.1), (0.9, 1.0), (5.0, 1.0), (0.01, 0.1)])
def test_of_equally_good_learning_rates_the_one_next_to_the_default_is_taken(default, chosen):
    tried = pd.Series({0.01: 0.4, 0.1: 0.5, 1.0: 0.5, 10.0: 0.3})
    assert best_lr(tried, default) == chosen
