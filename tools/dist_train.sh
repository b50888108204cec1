#!/usr/bin/env bash
# Train on several processes of one machine, or of several (set NNODES, NODE_RANK, MASTER_ADDR).
#
#   bash tools/dist_train.sh CONFIG NUM_PROCESSES [flags of tools/train.py]
#
# Without CUDA the processes run on the CPU.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG NUM_PROCESSES [flags of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2

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
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"
