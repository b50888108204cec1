#!/usr/bin/env bash
# Test, time and profile the package on a machine with a GPU, in under 9 minutes, without a network.
#
#   bash benchmarks/cuda.sh [--out DIR] [--wheels DIR] [--list-wheels] [--rehearse]
#
# --out DIR      folder of cuda.json, cuda.md and the logs (default work_dirs/cuda)
# --wheels DIR   install what this Python lacks from a folder of wheels, into DIR/site of --out
# --list-wheels  only list what this Python lacks (benchmarks/missing_wheels.py says how to get it)
# --rehearse     run every part on the CPU, much smaller, to check the kit itself
#
# Without a GPU every part is skipped and named. PYTHON: interpreter that has PyTorch (default
# .venv/bin/python, or python3).
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
out=work_dirs/cuda wheels='' rehearse=()
while [ $# -gt 0 ]; do
    case $1 in
        --out | --wheels)
            if [ $# -lt 2 ]; then
                echo "$1: got nothing, expected a folder" >&2
                exit 2
            fi
            if [ "$1" = --out ]; then out=$2; else wheels=$2; fi
            shift 2
            ;;
        --list-wheels) exec "$PYTHON" benchmarks/missing_wheels.py ;;
        --rehearse) rehearse=(--rehearse) && shift ;;
        *)
            echo "got '$1', expected --out DIR, --wheels DIR, --list-wheels or --rehearse" >&2
            exit 2
            ;;
    esac
done
mkdir -p "$out"
out=$(cd "$out" && pwd)

missing=$("$PYTHON" benchmarks/missing_wheels.py)
if [ -n "$missing" ] && [ -n "$wheels" ]; then
    # shellcheck disable=SC2086  # one requirement per word
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --upgrade \
        --find-links "$wheels" --target "$out/site" $missing
    export PYTHONPATH=$out/site${PYTHONPATH:+:$PYTHONPATH}
elif [ -n "$missing" ]; then
    printf 'Python lacks these packages; put their wheels into a folder and add --wheels DIR:\n%s\n' \
        "$missing" >&2
    exit 1
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
exec "$PYTHON" benchmarks/cuda_parts.py --out "$out" "${rehearse[@]}"
