#!/usr/bin/env bash
# The batch job of slurm_train.sh --requeue: run TOOL [arguments] in all tasks. SIGTERM ends a training
# with a checkpoint and status 143. Before the time limit, the job is then queued again; after a
# preemption or the failure of a node, Slurm does that, and after scancel nobody.
set -uo pipefail

srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" python -u "$@"
status=$?
if [ "$status" = 143 ] && scontrol show job "$SLURM_JOB_ID" | grep -q 'JobState=RUNNING'; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
