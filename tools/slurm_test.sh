#!/usr/bin/env bash
# Score a checkpoint on a Slurm cluster.
#
#   GPUS=8 GPUS_PER_NODE=4 bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [flags]
#
# GPUS (default 8), GPUS_PER_NODE (8, at most GPUS; 0: none, on the CPU), CPUS_PER_TASK (5) and
# SRUN_ARGS shape the job; one process runs for each of GPUS.
set -euo pipefail

if [ "$#" -lt 4 ]; then
    echo "usage: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [flags of tools/test.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
CHECKPOINT=$4
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
if [ "$GPUS_PER_NODE" -gt "$GPUS" ]; then GPUS_PER_NODE=$GPUS; fi
if [ "$GPUS_PER_NODE" -gt 0 ]; then
    RESOURCES=(--gres="gpu:$GPUS_PER_NODE" --ntasks-per-node="$GPUS_PER_NODE")
else
    RESOURCES=()
fi

# The package beside this script is used, installed or not.
export PYTHONPATH="$(cd "$(dirname "$0")/.." && pwd)${PYTHONPATH:+:$PYTHONPATH}"
# shellcheck disable=SC2086  # SRUN_ARGS holds several arguments
exec srun -p "$PARTITION" --job-name="$JOB_NAME" \
    ${RESOURCES[@]+"${RESOURCES[@]}"} --ntasks="$GPUS" --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --launcher=slurm "${@:5}"
