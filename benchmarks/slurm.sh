#!/usr/bin/env bash
# Train and test under a real Slurm of one node with two fake GPUs (root on Linux; skipped otherwise).
#
#   apt-get install slurmctld slurmd munge
#   sudo bash benchmarks/slurm.sh [CHECK...]
#
# slurmctld, slurmd and munged run in a temporary folder with a configuration of their own, and
# tools/slurm_train.sh and slurm_test.sh in them on a few drawn faces (gloo, CPU). `python` has to be
# that of the environment with abaw_mm. A training passes if it ends with the weights and momenta of
# tools/dist_train.sh with two processes, bit for bit. The status is 1 if a check fails.
set -euo pipefail
cd "$(dirname "$0")/.."

for command in slurmctld slurmd munged srun sbatch; do
    if [ "$(id -u)" != 0 ] || ! command -v "$command" >/dev/null; then
        echo "skipped: needs root and $command (Debian: slurmctld, slurmd, slurm-client, munge)"
        exit 0
    fi
done

WORK=$(mktemp -d)
FAILED=0
CONFIG=$WORK/config.py
DAEMONS=()
export SLURM_CONF=$WORK/slurm.conf OMP_NUM_THREADS=1
export GPUS=2 GPUS_PER_NODE=2 CPUS_PER_TASK=1

clean_up() {
    scancel --user=root 2>/dev/null || true
    sleep 2
    for pid in "${DAEMONS[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$WORK"
}
trap clean_up EXIT

start_slurm() {
    local host
    host=$(hostname -s)
    chmod 755 "$WORK"
    mkdir -p "$WORK/state" "$WORK/spool"
    touch "$WORK/gpu0" "$WORK/gpu1"
    head -c 1024 /dev/urandom >"$WORK/key"
    chmod 600 "$WORK/key"
    cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$WORK/munge.socket
CredType=cred/munge
StateSaveLocation=$WORK/state
SlurmdSpoolDir=$WORK/spool
SlurmctldPidFile=$WORK/slurmctld.pid
SlurmdPidFile=$WORK/slurmd.pid
SlurmctldLogFile=$WORK/slurmctld.log
SlurmdLogFile=$WORK/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
MpiDefault=none
KillWait=60
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=requeue_delay=1,sched_min_interval=500000
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 Gres=gpu:2
PartitionName=low Nodes=$host Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=$host PriorityTier=10 PreemptMode=OFF
END
    echo "NodeName=$host Name=gpu File=$WORK/gpu[0-1]" >"$WORK/gres.conf"
    munged --foreground --force --socket="$WORK/munge.socket" --key-file="$WORK/key" \
        --pid-file="$WORK/munged.pid" --log-file="$WORK/munged.log" --seed-file="$WORK/seed" 2>"$WORK/munged.out" &
    DAEMONS+=($!)
    sleep 1
    slurmctld -D -c -f "$SLURM_CONF" >"$WORK/slurmctld.out" 2>&1 &
    DAEMONS+=($!)
    slurmd -D -f "$SLURM_CONF" >"$WORK/slurmd.out" 2>&1 &
    DAEMONS+=($!)
    for _ in $(seq 60); do
        if [ "$(sinfo --noheader --partition=low --format=%T 2>/dev/null)" = idle ]; then break; fi
        sleep 0.5
    done
    sinfo --format='%P %D %c CPUs %G %T' || {
        cat "$WORK"/*.out "$WORK"/*.log
        exit 1
    }
    sinfo --version
}

make_data() {
    python demo/make_demo_data.py "$WORK/data" --train-clips 4 --val-clips 2 --test-clips 0 \
        --frames 40 --size 48 --workers 1
    cat >"$CONFIG" <<END
_base_ = ['abaw_mm::res18_srp_demo.py']
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data_root='$WORK/data'))
val_dataloader = dict(batch_size=16, num_workers=0, dataset=dict(data_root='$WORK/data'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=100, val_interval=100)
default_hooks = dict(checkpoint=dict(interval=20, max_keep_ckpts=-1), logger=dict(interval=5))
END
}

# conclude OK TEXT: print the result of a check.
conclude() {
    local word=ok
    if [ "$1" != 0 ]; then
        word=FAILED
        FAILED=1
    fi
    printf '%-6s %3s s  %s: %s\n' "$word" "$SECONDS" "$CHECK" "$2"
}

# has_same_weights WORK_DIR: compare the last checkpoint with that of the reference.
has_same_weights() {
    python - "$WORK/reference/iter_100.pth" "$1/iter_100.pth" <<'END'
import sys

import torch

from abaw_mm.checkpoints.load import load_checkpoint_file

one, other = (load_checkpoint_file(path) for path in sys.argv[1:])
momenta = [
    {key: state['momentum_buffer'] for key, state in check['optimizer']['state'].items()}
    for check in (one, other)
]
for first, second in ((one['state_dict'], other['state_dict']), momenta):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
END
}

# get_job FIELD: a field of the last job.
get_job() {
    scontrol show job "$JOB" | grep -oP "\b$1=\K\S+"
}

# wait_until SECONDS COMMAND...: wait until a command succeeds.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -gt "$end" ]; then return 1; fi
        sleep 0.5
    done
}

# submit FLAGS...: submit a training with --requeue; sets JOB, LOG and RUN.
submit() {
    RUN=$WORK/$CHECK LOG=$WORK/$CHECK.log
    local line
    line=$(SRUN_ARGS="--output=$LOG ${SRUN_ARGS:-}" bash tools/slurm_train.sh --requeue low "$CHECK" \
        "$CONFIG" "$RUN" "$@")
    JOB=${line##* }
}

is_state() { [ "$(get_job JobState)" = "$1" ]; }
is_restarted() { [ "$(get_job Restarts)" -ge 1 ] && is_state RUNNING; }

# expect_continued: the job must have been started again and end with the weights of the reference.
expect_continued() {
    local good=0 step
    wait_until 900 is_state COMPLETED || good=1
    [ "$(get_job Restarts)" = 1 ] && has_same_weights "$RUN" || good=1
    step=$(grep -oP 'stopped after step \K\d+' "$LOG" | head -n 1) || good=1
    conclude "$good" "stopped after step ${step:-?}, Restarts=$(get_job Restarts), weights and momenta bit for bit"
    if [ "$good" != 0 ]; then tail -n 30 "$LOG"; fi
}

check_train() {
    local good=0
    bash tools/slurm_train.sh low train "$CONFIG" "$WORK/train" >"$WORK/train.log" 2>&1 &&
        has_same_weights "$WORK/train" || good=1
    conclude "$good" "slurm_train.sh, $(grep -o 'batch: .*' "$WORK/train.log" | head -n 1), weights and momenta bit for bit"
    if [ "$good" != 0 ]; then tail -n 30 "$WORK/train.log"; fi
}

check_test() {
    local good=0
    bash tools/slurm_test.sh low test "$CONFIG" "$WORK/reference/iter_100.pth" \
        --work-dir "$WORK/test" --out "$WORK/slurm.json" --out-item metrics >"$WORK/test.log" 2>&1 &&
        python tools/test.py "$CONFIG" "$WORK/reference/iter_100.pth" --work-dir "$WORK/test1" \
            --out "$WORK/plain.json" --out-item metrics >"$WORK/test1.log" 2>&1 &&
        cmp "$WORK/slurm.json" "$WORK/plain.json" || good=1
    conclude "$good" 'slurm_test.sh, the scores of one process, digit for digit'
    if [ "$good" != 0 ]; then tail -n 30 "$WORK"/test*.log; fi
}

check_preempted() {
    submit
    wait_until 240 test -e "$RUN/iter_20.pth"
    srun --partition=high --ntasks=2 --gres=gpu:2 --job-name=urgent sleep 2
    expect_continued
}

check_requeued() {
    submit
    wait_until 240 test -e "$RUN/iter_20.pth"
    scontrol requeue "$JOB"
    expect_continued
}

check_time_limit_and_scancel() {
    local good=0
    SRUN_ARGS='--time=3' submit --cfg-options train_cfg.max_iters=1000000
    wait_until 300 is_restarted || good=1
    grep -q 'SIGTERM: stopped after step' "$LOG" || good=1
    wait_until 120 test "$(grep -c 'Iter(train)' "$LOG")" -gt 0
    scancel "$JOB"
    wait_until 120 is_state CANCELLED || good=1
    sleep 5
    is_state CANCELLED || good=1
    conclude "$good" "$(grep -o 'SIGTERM: stopped after step.*' "$LOG" | head -n 1), started again; after scancel $(get_job JobState)"
    if [ "$good" != 0 ]; then tail -n 30 "$LOG"; fi
}

CHECKS=("$@")
if [ $# = 0 ]; then
    mapfile -t CHECKS < <(declare -F | sed -n 's/^declare -f check_//p')
fi
start_slurm
make_data
SECONDS=0 CHECK=reference
bash tools/dist_train.sh "$CONFIG" 2 --work-dir "$WORK/reference" >"$WORK/reference.log" 2>&1 || {
    cat "$WORK/reference.log"
    exit 1
}
conclude 0 'dist_train.sh with two processes'
for CHECK in "${CHECKS[@]}"; do
    SECONDS=0
    "check_$CHECK"
done
exit "$FAILED"
