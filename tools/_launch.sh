# shellcheck shell=bash
# Shared by dist_*.sh and slurm_*.sh, which source it. It starts a tool in several processes.

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Use the package beside the tools, whether or not one is installed.
export PYTHONPATH="${TOOLS%/*}${PYTHONPATH:+:$PYTHONPATH}"

# require_arguments USAGE MINIMUM "$@": exit with the usage if there are fewer arguments.
require_arguments() {
    if [ $(($# - 2)) -lt "$2" ]; then
        echo "usage: bash tools/$1" >&2
        exit 2
    fi
}

# launch_dist NUM_PROCESSES TOOL [arguments]: start processes on this machine, or on several
# machines (NNODES, NODE_RANK, MASTER_ADDR, PORT).
launch_dist() {
    if ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
        echo "NUM_PROCESSES: got '$1', expected a number of processes, such as 2" >&2
        exit 2
    fi
    check_node
    local port=${PORT:-29500} # machines have to agree on a port
    if [ -z "${PORT:-}" ] && [ "${NNODES:-1}" = 1 ]; then
        # a free one, so that two runs on one machine do not collide
        port=$(python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
    fi
    exec python "$TOOLS/launch.py" \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="$port" \
        --nproc_per_node="$1" \
        "$TOOLS/$2" "${@:3}" --launcher pytorch
}

# check_node: exit unless NODE_RANK is one of NNODES, and several machines have a MASTER_ADDR.
check_node() {
    local nodes=${NNODES:-1} rank=${NODE_RANK:-0}
    if ! [[ $nodes =~ ^[1-9][0-9]*$ && $rank =~ ^[0-9]+$ ]] || [ "$rank" -ge "$nodes" ]; then
        echo "NODE_RANK: got '$rank' with NNODES='$nodes', expected 0 to NNODES-1; set NNODES to" \
            'the number of machines on all of them, and NODE_RANK to another number on each' >&2
        exit 2
    fi
    if [ "$nodes" -gt 1 ] && [ -z "${MASTER_ADDR:-}" ]; then
        echo "MASTER_ADDR: got nothing with NNODES='$nodes', expected the address of the machine" \
            'with NODE_RANK=0; set it on all machines' >&2
        exit 2
    fi
}

# launch_slurm PARTITION JOB_NAME TOOL [arguments]: start GPUS processes on a cluster.
launch_slurm() {
    set_slurm_options "$1" "$2"
    # shellcheck disable=SC2086  # SRUN_ARGS holds several arguments
    exec srun "${SLURM_OPTIONS[@]}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        python -u "$TOOLS/$3" "${@:4}" --launcher=slurm
}

# submit_slurm PARTITION JOB_NAME TOOL [arguments]: submit a job of GPUS processes that Slurm may
# start again.
submit_slurm() {
    set_slurm_options "$1" "$2"
    # shellcheck disable=SC2086  # SRUN_ARGS holds several arguments
    exec sbatch "${SLURM_OPTIONS[@]}" --requeue --open-mode=append ${SRUN_ARGS:-} \
        "$TOOLS/_slurm_job.sh" "$TOOLS/$3" "${@:4}" --launcher=slurm
}

# set_slurm_options PARTITION JOB_NAME: options of srun and sbatch that describe a job. The tasks get
# SIGTERM 60 seconds before the time limit.
set_slurm_options() {
    local gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
    if [ "$per_node" -gt "$gpus" ]; then per_node=$gpus; fi
    SLURM_OPTIONS=(-p "$1" --job-name="$2")
    if [ "$per_node" -gt 0 ]; then
        SLURM_OPTIONS+=(--gres="gpu:$per_node" --ntasks-per-node="$per_node")
    fi
    SLURM_OPTIONS+=(--ntasks="$gpus" --cpus-per-task="${CPUS_PER_TASK:-5}" --signal=TERM@60)
}
