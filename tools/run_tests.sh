#!/usr/bin/env bash
# Install a stack in a virtual environment and run the tests there.
#
#   bash tools/run_tests.sh [arguments of pytest]
#
# Tests marked slow are left out; `-m slow` runs them alone.
# STACK: openmmlab (default) or onedl. VENV: path of the environment (default .venv or .venv-onedl).
# PYTHON: interpreter, 3.10 to 3.12.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/environment.sh

install_stack "${STACK:-openmmlab}"
pip install --quiet --requirement requirements/tests.txt
# Two processes with one thread each, so that they do not compete for cores.
OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile -m 'not slow' "$@"
