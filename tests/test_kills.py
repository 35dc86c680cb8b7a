"Long commands are killed at random moments and go on: the short version of tools/check_kills.py, which kills each twenty times."

import os
import random
import sys
from pathlib import Path

import pytest
from website import Website

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import check_kills

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    "What the commands read, and a web server for those that fetch."
    folder = tmp_path_factory.mktemp("kills")
    check_kills.make_inputs(folder)
    with Website(folder / "site", pause=0.02) as site:
        yield folder, site


@pytest.mark.parametrize("name, kills", [("corpus", 4), ("demo", 2), ("optimizers", 3), ("fetch-gtzan", 3), ("fetch-course-data", 4)])
def test_a_command_that_is_killed_ends_with_the_same_bytes(inputs, name, kills):
    folder, site = inputs
    words = check_kills.commands(folder, site)[name]
    said, good = check_kills.check(name, words, folder, kills, random.Random(0), check_kills.environment_for(folder))
    assert good, said


APPENDS = """
import sys, time, pathlib
folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
open(folder / "log.txt", "a").write("begun\\n")
time.sleep(3)
"""


def test_a_command_that_does_not_resume_is_caught(tmp_path):
    words = check_kills.command(APPENDS)
    said, good = check_kills.check("appends", words, tmp_path, 1, random.Random(0), check_kills.environment_for(tmp_path))
    assert not good and said == "appends: after 1 kills these differ: log.txt"
