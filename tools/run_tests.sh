#!/usr/bin/env bash
# Install a stack in a virtual environment and run the tests there.
#
#   bash tools/run_tests.sh [arguments of pytest]
#
# STACK=openmmlab (default) or onedl: which of the two supported stacks. VENV: where the
# environment lies, .venv or .venv-onedl. PYTHON: the interpreter, from 3.10 on.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/environment.sh

install_stack "${STACK:-openmmlab}"
pip install --quiet --requirement requirements/tests.txt
python -m pytest "$@"
