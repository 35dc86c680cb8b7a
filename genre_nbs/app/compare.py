"Both comparisons of optimizers, written into a folder as tables and pictures."

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd

from genre_nbs.app.pipeline import check_subsets, read_subsets
from genre_nbs.collections import adapt_representation, load_collection
from genre_nbs.comparison import final_runs, FULL, lr_trials, QUICK, SCORES, Study, untuned_runs
from genre_nbs.io.cluster import check_scheduler
from genre_nbs.io.files import atomic_path
from genre_nbs.io.pictures import save_figure
from genre_nbs.io.leftovers import swept_folder
from genre_nbs.networks import pick_device
from genre_nbs.optimizers import plot_lr_curves, plot_ranking, plot_training_curves, score_table, tuned_table, untuned_table

DPI = 110  # of the pictures
DEVICES = ("cpu", "cuda", "mps", "xpu")


def make_study(recipe, data, table, quick=False, changes=None, valid=None, split=None, test=None, seed=0, progress=False, **where):
    """A study of a recipe on collections; returns it with a table of the files that were skipped, and the `Split`.

    `changes` are fields of the plan, `where` are `jobs`, `scheduler` and `device`. Raises `ValueError` for a device that this
    machine does not have, and what reading the collections raises.
    """
    device = where.get("device")
    if device is not None and str(device).split(":")[0] not in DEVICES:  # PyTorch knows others, such as meta, on which nothing is computed
        raise ValueError(f"device {str(device)!r} cannot be used here: choose one of {', '.join(DEVICES)}")
    if where.get("scheduler") is None:
        pick_device(device)
    if split == "all":
        raise ValueError("a comparison needs validation songs, and --split all leaves none")
    if not hasattr(recipe, "optimizer_options") or hasattr(recipe, "train"):
        raise ValueError(f"recipe {recipe.name} is not one network, so optimizers cannot be compared on it")
    check_subsets(valid, split, test=test)
    check_scheduler(where.get("scheduler"))
    representation, jobs = adapt_representation(recipe.representation, data), where.get("jobs", 1)
    train, held_out, division = read_subsets(data, representation, valid, split, seed=seed, jobs=jobs, progress=progress)
    test_set = None if test is None else load_collection(test, representation, train.genres, jobs, progress)
    subsets = [train, *([held_out] if valid is not None else []), *([] if test_set is None else [test_set])]
    plan = replace(QUICK if quick else FULL, **(changes or {}))
    study = Study(recipe, train, held_out, table, test_set, plan, progress=progress, **where)
    return study, pd.concat([subset.bad for subset in subsets], ignore_index=True), division


def save_table(
    table: pd.DataFrame,  # a row for each candidate
    path: str | Path,  # CSV file
) -> list:  # the rows as dicts that JSON can hold
    "Write a table, atomically."
    with atomic_path(path) as part:
        table.round(6).to_csv(part, index_label="candidate", lineterminator="\n")
    return json.loads(table.rename_axis("candidate").reset_index().to_json(orient="records"))


def as_text(table):
    "A table for people."
    return table.round(3).astype(object).fillna("").to_string()


def compare(
    study: Study,  # what to compare
    out: str | Path,  # folder for untuned.csv, tuned.csv and four pictures
) -> dict:  # 'untuned' and 'tuned' (lists of rows), 'files', and 'text' for people
    "Both comparisons, in a folder without the half-written files of killed runs. Raises `ValueError` where another process is at work on the study's table, or that file holds something else."
    out, plan, label = Path(out), study.plan, f"validation {SCORES[study.plan.by]}"
    with swept_folder(out):
        rows = untuned_runs(study)
        untuned = untuned_table(rows, plan.by)
        result = {"untuned": save_table(untuned, out / "untuned.csv")}
        save_figure(plot_ranking(score_table(rows, plan.by), f"Learning rate {plan.lr:g} for all", label).figure, out / "untuned.png", DPI)
        trials = lr_trials(study)
        finals = final_runs(study, trials)
        tuned = tuned_table(trials, finals, plan.by)
        result["tuned"] = save_table(tuned, out / "tuned.csv")
        save_figure(plot_ranking(score_table(finals, plan.by), "Each with its own best learning rate", label).figure, out / "tuned.png", DPI)
        save_figure(plot_lr_curves(trials, plan.by)[0, 0].figure, out / "lr_curves.png", DPI)
        save_figure(plot_training_curves(finals)[0, 0].figure, out / "training_curves.png", DPI)
    names = ("untuned.csv", "tuned.csv", "untuned.png", "tuned.png", "lr_curves.png", "training_curves.png")
    text = f"Learning rate {plan.lr:g} for all\n{as_text(untuned)}\n\nEach with its own\n{as_text(tuned)}\n\nWritten: {out}"
    return result | {"files": [str(study.table), *(str(out / name) for name in names)], "text": text}
