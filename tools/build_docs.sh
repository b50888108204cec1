#!/usr/bin/env bash
# Build the site in docs/_build; a warning or a dead link is an error.
#
#   bash tools/build_docs.sh
#
# VENV: path of the virtual environment (default .venv). PYTHON: interpreter, 3.10 to 3.12.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/environment.sh

install_stack openmmlab
pip install --quiet --requirement requirements/docs.txt
python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs docs/_build
python docs/check_links.py docs/_build
echo "The site: docs/_build/index.html"
