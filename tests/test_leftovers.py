"Half-written files of killed runs are swept, and those of runs at work are not."

from contextlib import ExitStack

import pytest

from genre_nbs.io.leftovers import fcntl, swept_folder

pytestmark = pytest.mark.skipif(fcntl is None, reason="Windows holds no folder for a run")


def test_a_folder_is_swept_by_the_first_run_only(tmp_path):
    folder, half = tmp_path / "new" / "out", tmp_path / "new" / "out" / "sub" / ".song-0123456789ab.flac"
    first, second = ExitStack(), ExitStack()
    first.enter_context(swept_folder(folder))
    half.parent.mkdir()
    for name in (half, half.with_name(".mine.flac"), half.with_name("song-0123456789ab.flac")):
        name.write_text("half")
    second.enter_context(swept_folder(folder))
    assert half.exists()  # of the first run
    first.close()
    with swept_folder(folder):
        assert half.exists()  # or of the second, which still works
    second.close()
    with swept_folder(folder):
        assert sorted(path.name for path in half.parent.iterdir()) == [".mine.flac", "song-0123456789ab.flac"]


def test_half_written_files_of_workers_that_are_killed_are_swept_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt), swept_folder(tmp_path):
        (tmp_path / ".song-0123456789ab.flac").write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
