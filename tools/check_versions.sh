#!/usr/bin/env bash
# Run the notebooks and the tests on the oldest or the newest versions that settings.ini allows, in a fresh environment made by uv:
#
#   tools/check_versions.sh lowest             Python 3.10, each direct requirement at its lower bound
#   tools/check_versions.sh newest [PYTEST...] Python 3.13, the newest of everything (librosa 1.0 or later)
#
# Tests what is committed, in a clone below TMPDIR that is removed afterwards; uv keeps its downloads (about 6 GB with
# PyTorch's CUDA libraries) for the next time. Further words are passed to pytest, and the notebooks are then left out.
# GENRE_NBS_DATA turns on the cells and tests with real songs.
set -euo pipefail
which=${1:?usage: tools/check_versions.sh lowest|newest [words for pytest]}
shift
case $which in
  lowest) python=3.10 resolution=lowest-direct ;;
  newest) python=3.13 resolution=highest ;;
  *) echo "usage: tools/check_versions.sh lowest|newest [words for pytest]" >&2; exit 2 ;;
esac
command -v uv >/dev/null || { echo 'uv is not installed; get it with: pip install uv' >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q "$(dirname "$0")/.." "$work/repo"
cd "$work/repo"
uv venv -q --python "$python" "$work/venv"
. "$work/venv/bin/activate"
uv pip install -q --compile-bytecode --resolution "$resolution" -e '.[dev]'
python --version
uv pip list | grep -E '^(numpy|scipy|torch|torchvision|librosa|numba|matplotlib|soundfile|scikit-learn|pandas|jinja2|typer|rich|pillow|av|jupyterlab|nbdev) '
if [ "$which" = newest ]; then python -c 'import librosa; assert int(librosa.__version__.split(".")[0]) >= 1, librosa.__version__'; fi
unset PYTHONPATH
export GENRE_NBS_CACHE=$work/cache MPLBACKEND=agg
failed=0
if [ $# = 0 ]; then
  nbdev_test --n_workers 1 --do_print || failed=1
  if [ -n "${GENRE_NBS_DATA:-}" ]; then nbdev_test --n_workers 1 --do_print --flags data || failed=1; fi
fi
python -m pytest -o addopts= --dist loadfile -n "${WORKERS:-auto}" "$@" || failed=1
exit $failed
