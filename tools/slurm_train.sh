#!/usr/bin/env bash
# Train on a Slurm cluster.
#
#   GPUS=8 GPUS_PER_NODE=4 bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [flags]
#   GPUS=8 bash tools/slurm_train.sh --requeue PARTITION JOB_NAME CONFIG WORK_DIR [flags]
#
# SIGTERM (scancel, preemption, 60 seconds before the time limit) saves a checkpoint. With --requeue
# the training is a batch job that continues from it after a preemption, the failure of a node and
# the time limit; its log is appended to.
#
# GPUS (default 8) is the number of processes. GPUS_PER_NODE (default 8, at most GPUS; 0 for a run
# on the CPU), CPUS_PER_TASK (default 5) and SRUN_ARGS (such as --time=24:00:00) describe the job.
set -euo pipefail
# shellcheck source=tools/_launch.sh
source "$(dirname "$0")/_launch.sh"

launch=launch_slurm resume=()
if [ "${1:-}" = --requeue ]; then
    launch=submit_slurm resume=(--resume)
    shift
fi
require_arguments \
    'slurm_train.sh [--requeue] PARTITION JOB_NAME CONFIG WORK_DIR [flags of tools/train.py]' 4 "$@"
"$launch" "$1" "$2" train.py "$3" --work-dir="$4" ${resume[@]+"${resume[@]}"} "${@:5}"
