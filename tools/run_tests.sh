#!/usr/bin/env bash
# Install a stack in a virtual environment and run the tests there.
#
#   bash tools/run_tests.sh [arguments of pytest]
#
# Without arguments of their own, tests marked slow are left out; `-m slow` runs these alone.
# STACK=openmmlab (default) or onedl: which of the two supported stacks. VENV: where the
# environment lies, .venv or .venv-onedl. PYTHON: the interpreter, from 3.10 on.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/environment.sh

install_stack "${STACK:-openmmlab}"
pip install --quiet --requirement requirements/tests.txt
# Two files side by side; each test on one thread, or they would wait for each other.
OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile -m 'not slow' "$@"
