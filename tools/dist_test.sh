#!/usr/bin/env bash
# Score a checkpoint on several processes of one machine, or of several (set NNODES, NODE_RANK,
# MASTER_ADDR).
#
#   bash tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [flags of tools/test.py]
#
# Without CUDA the processes run on the CPU. The score does not depend on their number.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: bash tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [flags of tools/test.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3

# The package beside this script is used, installed or not.
export PYTHONPATH="$(cd "$(dirname "$0")/.." && pwd)${PYTHONPATH:+:$PYTHONPATH}"
# A free port, so that two runs on one machine do not meet; machines have to agree on one.
if [ -z "${PORT:-}" ]; then
    PORT=29500
    if [ "${NNODES:-1}" = 1 ]; then
        PORT=$(python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
    fi
fi
exec python "$(dirname "$0")/launch.py" \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="$PORT" \
    --nproc_per_node="$GPUS" \
    "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
