#!/usr/bin/env bash
# Train on a Slurm cluster.
#
#   GPUS=8 GPUS_PER_NODE=4 bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [flags]
#
# GPUS (default 8) is the number of processes. GPUS_PER_NODE (default 8, at most GPUS; 0 for a run
# on the CPU), CPUS_PER_TASK (default 5) and SRUN_ARGS describe the job.
set -euo pipefail
# shellcheck source=tools/_launch.sh
source "$(dirname "$0")/_launch.sh"

require_arguments \
    'slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [flags of tools/train.py]' 4 "$@"
launch_slurm "$1" "$2" train.py "$3" --work-dir="$4" "${@:5}"
