#!/usr/bin/env bash
# Train on two nodes, and check how wrong settings and killed nodes end (root on Linux; skipped otherwise).
#
#   sudo bash benchmarks/nodes.sh [CHECK...]
#
# The nodes are two network namespaces of this machine, joined by a pair of virtual interfaces. Each
# has a host name and an /etc/hosts of its own, in which its name is 127.0.1.1, as Debian and Ubuntu
# install it. They run the commands of docs/getting_started.md with one process each (gloo, CPU) on
# a few drawn faces. `python` has to be that of the environment with abaw_mm.
#
# A failure passes if every node ends with status 1 or 2 and with its one line within 60 seconds; a
# training passes if its last checkpoint has the weights and momenta of one machine with two
# processes, bit for bit. The status is 1 if a check fails.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ] || ! command -v ip >/dev/null || ! unshare --net --mount --uts true 2>/dev/null; then
    echo 'skipped: needs root on Linux, with network namespaces and the command ip (iproute2)'
    exit 0
fi

LIMIT=60 # seconds until both nodes have ended
WORK=$(mktemp -d)
NAMES=(node-a node-b)
ADDRESSES=(10.77.0.1 10.77.0.2)
NETS=("abaw-$$-a" "abaw-$$-b")
PORT=29500
FAILED=0
CONFIG=$WORK/config.py
export OMP_NUM_THREADS=1

clean_up() {
    for net in "${NETS[@]}"; do
        ip netns pids "$net" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
        ip netns del "$net" 2>/dev/null || true
    done
    rm -rf "$WORK"
}
trap clean_up EXIT

set_up() {
    ip netns add "${NETS[0]}"
    ip netns add "${NETS[1]}"
    ip link add v0 netns "${NETS[0]}" type veth peer name v1 netns "${NETS[1]}"
    for node in 0 1; do
        ip -n "${NETS[node]}" address add "${ADDRESSES[node]}/24" dev "v$node"
        ip -n "${NETS[node]}" link set lo up
        ip -n "${NETS[node]}" link set "v$node" up
    done
    write_hosts 127.0.1.1
    python demo/make_demo_data.py "$WORK/data" --train-clips 4 --val-clips 2 --test-clips 0 \
        --frames 40 --size 48 --workers 1
    cat >"$CONFIG" <<END
_base_ = ['abaw_mm::res18_srp_demo.py']
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data_root='$WORK/data'))
val_dataloader = dict(batch_size=16, num_workers=0, dataset=dict(data_root='$WORK/data'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=16, val_interval=16)
default_hooks = dict(checkpoint=dict(interval=4, max_keep_ckpts=-1), logger=dict(interval=5))
END
}

# write_hosts ADDRESS: write /etc/hosts of both nodes, where the own name has this address.
write_hosts() {
    for node in 0 1; do
        printf '127.0.0.1 localhost\n%s %s\n%s %s\n' "$1" "${NAMES[node]}" \
            "${ADDRESSES[1 - node]}" "${NAMES[1 - node]}" >"$WORK/hosts$node"
    done
}

# on_node NODE COMMAND...: run a command on a node. BIND1='SOURCE TARGET' mounts SOURCE over TARGET
# on node 1 only.
on_node() {
    local node=$1 binds=("$WORK/hosts$1" /etc/hosts)
    # shellcheck disable=SC2206  # two words
    if [ "$node" = 1 ]; then binds+=(${BIND1:-}); fi
    shift
    # shellcheck disable=SC2016  # expanded by the inner shell
    exec ip netns exec "${NETS[node]}" unshare --mount --uts bash -c '
        hostname "$1"; shift
        while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done
        shift; exec "$@"' bash "${NAMES[node]}" "${binds[@]}" -- "$@"
}

# start NODE VARIABLE=VALUE... -- [FLAGS]: start a training on a node in the background, in a session
# of its own. Its log is $RUN/log$NODE, its process PIDS[NODE].
start() {
    local node=$1 environment=("NNODES=2" "NODE_RANK=$1" "MASTER_ADDR=${ADDRESSES[0]}" "PORT=$PORT")
    shift
    while [ "$1" != -- ]; do
        environment+=("$1")
        shift
    done
    shift
    (
        export -f on_node
        on_node "$node" env "${environment[@]}" setsid bash tools/dist_train.sh "$CONFIG" 1 \
            --work-dir "$RUN/work" "$@" >"$RUN/log$node" 2>&1 </dev/null
    ) &
    PIDS[node]=$!
}

# new_run: prepare a folder and a port for a run.
new_run() {
    RUN=$WORK/$CHECK$((PORT++))
    PIDS=()
    mkdir -p "$RUN"
    SECONDS=0
}

# wait_nodes: wait for the nodes that run; STATUS[NODE] and SECONDS say how they ended and when.
wait_nodes() {
    STATUS=()
    for node in "${!PIDS[@]}"; do
        while kill -0 "${PIDS[node]}" 2>/dev/null && [ "$SECONDS" -lt $((6 * LIMIT)) ]; do sleep 0.2; done
        if kill -0 "${PIDS[node]}" 2>/dev/null; then
            pkill -9 -P "${PIDS[node]}" || true
        fi
        STATUS[node]=0
        wait "${PIDS[node]}" 2>/dev/null || STATUS[node]=$?
    done
}

# wait_for FILE: wait until the run has written a file.
wait_for() {
    while [ ! -e "$1" ] && [ "$SECONDS" -lt 180 ]; do sleep 0.1; done
}

# conclude OK [TEXT]: print the result of a check.
conclude() {
    local word=ok
    if [ "$1" != 0 ]; then
        word=FAILED
        FAILED=1
    fi
    printf '%-6s %3s s  %s%s\n' "$word" "$SECONDS" "$CHECK" "${2:+: $2}"
}

# expect_lines PATTERN0 PATTERN1: both nodes must have failed in time, each with one line that has its
# pattern. The line that names ABAW_MM_TRACEBACK and the training's own log do not count.
expect_lines() {
    wait_nodes
    local seconds=$SECONDS good=0 lines=() node
    for node in "${!PIDS[@]}"; do
        lines[node]=$(grep -v -e ABAW_MM_TRACEBACK -e ' - mmengine - ' -e UserWarning -e '^ ' "$RUN/log$node" || true)
        if [ "${STATUS[node]}" -lt 1 ] || [ "${STATUS[node]}" -gt 2 ] || [ "$seconds" -gt "$LIMIT" ] ||
            [ "$(wc -l <<<"${lines[node]}")" != 1 ] || ! [[ ${lines[node]} =~ ${*:node+1:1} ]]; then
            good=1
        fi
    done
    SECONDS=$seconds
    conclude "$good"
    for node in "${!PIDS[@]}"; do
        sed "s/^/         ${NAMES[node]} (status ${STATUS[node]}): /" <<<"${lines[node]}"
    done
}

# expect_same_weights: both nodes must have ended with the weights of the reference.
expect_same_weights() {
    wait_nodes
    local good=0
    [ "${STATUS[*]}" = '0 0' ] && python - "$WORK/reference/iter_16.pth" "$RUN/work/iter_16.pth" <<'END' || good=1
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
    conclude "$good" "${1:-}weights and momenta of one machine, bit for bit"
    if [ "$good" != 0 ]; then tail -n 5 "$RUN"/log?; fi
}

# run_reference: train on one machine, once, for the checks that compare with it.
run_reference() {
    if [ -e "$WORK/reference" ]; then return; fi
    SECONDS=0 CHECK='one machine, two processes'
    bash tools/dist_train.sh "$CONFIG" 2 --work-dir "$WORK/reference" >"$WORK/reference.log" 2>&1 || {
        cat "$WORK/reference.log"
        exit 1
    }
    conclude 0 'the reference'
}

both() {
    start 0 "$@" --
    start 1 "$@" --
}

check_same_weights() {
    both
    expect_same_weights
}

check_name_of_master() {
    both MASTER_ADDR=node-a
    expect_same_weights 'MASTER_ADDR=node-a, which is 127.0.1.1 there: '
}

check_name_is_localhost() {
    write_hosts 127.0.0.1
    both MASTER_ADDR=node-a
    expect_same_weights 'MASTER_ADDR=node-a, which is 127.0.0.1 there: '
    write_hosts 127.0.1.1
}

check_wrong_address() {
    start 0 --
    start 1 MASTER_ADDR=10.77.0.9 --
    expect_lines '1/2 clients joined' 'MASTER_ADDR=10.77.0.9.*node 1 of 2'
}

check_unknown_name() {
    start 0 --
    start 1 MASTER_ADDR=node-c --
    expect_lines '1/2 clients joined' 'MASTER_ADDR=node-c.*node 1 of 2'
}

check_wrong_port() {
    start 0 --
    start 1 PORT=$((PORT + 100)) --
    expect_lines '1/2 clients joined' "PORT=$((PORT + 100)).*node 1 of 2"
}

check_port_in_use() {
    # shellcheck disable=SC2016
    on_node 0 python -c "
import socket, time
busy = socket.create_server(('', $PORT)); time.sleep(120)" &
    sleep 1
    start 0 --
    start 1 --
    expect_lines 'a port that another program of node-a uses' 'node 1 of 2'
    pkill -9 -P $! 2>/dev/null || kill -9 $! 2>/dev/null || true
}

check_too_few_nodes() {
    both NNODES=3
    expect_lines '2/3 clients joined' 'node 1 of 3'
}

check_nodes_2_and_3() {
    start 0 --
    start 1 NNODES=3 --
    expect_lines 'NNODES: got 3 on rank 1 \(node-b\) and 2' 'NNODES: got 3 on rank 1 \(node-b\) and 2'
}

check_nodes_3_and_2() {
    start 0 NNODES=3 --
    start 1 --
    expect_lines '2/3 clients joined' 'node 1 of 2'
}

check_one_rank_twice() {
    start 0 --
    start 1 NODE_RANK=0 --
    expect_lines 'NODE_RANK from 0 to 1, each once' 'NODE_RANK from 0 to 1, each once'
}

check_no_number_of_nodes() {
    start 0 --
    start 1 NNODES=1 --
    expect_lines '1/2 clients joined' "NODE_RANK: got '1' with NNODES='1'"
}

check_other_code() {
    sed '$a # changed' abaw_mm/version.py >"$RUN/version.py"
    BIND1="$RUN/version.py $PWD/abaw_mm/version.py" both
    expect_lines 'code of abaw_mm .*rank 1 \(node-b\)' 'code of abaw_mm .*rank 1 \(node-b\)'
}

check_other_config() {
    start 0 --
    start 1 -- --cfg-options optim_wrapper.optimizer.lr=0.03
    local line='optim_wrapper.optimizer.lr: got 0.03 on rank 1 \(node-b\) and 0.02 on rank 0 \(node-a\)'
    expect_lines "$line" "$line"
}

check_other_label() {
    cp -r "$WORK/data" "$RUN/data"
    local file
    file=$(find "$RUN/data/annotations/EXPR_Recognition_Challenge/Train_Set" -name '*.txt' | sort | head -n 1)
    sed -i '5s/.*/7/;6s/.*/6/' "$file"
    BIND1="$RUN/data $WORK/data" both
    expect_lines 'train_dataloader.dataset: got .* rank 1 \(node-b\)' 'train_dataloader.dataset: got'
}

check_other_images() {
    cp -r "$WORK/data" "$RUN/data"
    python - "$RUN/data" <<'END'
import sys
from pathlib import Path

from PIL import Image

for path in Path(sys.argv[1]).rglob('*.jpg'):
    Image.open(path).save(path, quality=50)
END
    BIND1="$RUN/data $WORK/data" both
    expect_lines 'train_dataloader.dataset: got .* rank 1 \(node-b\)' 'train_dataloader.dataset: got'
}

check_no_data() {
    mkdir "$RUN/data"
    BIND1="$RUN/data $WORK/data" both
    expect_lines 'another process of this run ended' 'expected'
}

check_mistake_on_one_node() {
    start 0 --
    start 1 -- --cfg-options randomness.seed=-1
    expect_lines 'another node failed: train.py: randomness.seed=-1' 'train.py: randomness.seed=-1'
}

check_killed_node() {
    both
    wait_for "$RUN/work/iter_4.pth"
    kill_node 1
    SECONDS=0
    unset 'PIDS[1]'
    expect_lines 'another process of this run ended'
}

check_killed_first_node_and_resume() {
    both
    wait_for "$RUN/work/iter_4.pth"
    kill_node 0
    unset 'PIDS[0]'
    SECONDS=0
    expect_lines '' 'another process of this run ended'
    SECONDS=0
    start 0 -- --resume
    start 1 -- --resume
    expect_same_weights 'then --resume on both: '
}

check_killed_process() {
    both
    wait_for "$RUN/work/iter_4.pth"
    ip netns pids "${NETS[1]}" | while read -r pid; do
        if tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q 'tools/train.py' &&
            ! tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q 'launch.py'; then kill -9 "$pid"; fi
    done
    SECONDS=0
    expect_lines 'another process of this run ended' 'rank 1 .* on node-b was killed by SIGKILL'
}

check_cut_link() {
    local flags=(--cfg-options env_cfg.dist_cfg.timeout=20 train_cfg.max_iters=2000
        default_hooks.checkpoint.interval=1000)
    start 0 -- "${flags[@]}"
    start 1 -- "${flags[@]}"
    until grep -qs 'Iter(train)' "$RUN/log0" || [ "$SECONDS" -gt 120 ]; do sleep 0.2; done
    ip -n "${NETS[1]}" link set v1 down
    SECONDS=0
    expect_lines 'another process of this run ended or cannot be reached' 'cannot be reached'
    ip -n "${NETS[1]}" link set v1 up
}

check_resume_without_the_checkpoints() {
    mkdir -p "$RUN/work" "$RUN/empty"
    cp "$WORK/reference/iter_8.pth" "$RUN/work"
    BIND1="$RUN/empty $RUN/work"
    start 0 -- --resume
    start 1 -- --resume
    BIND1=
    local line='load_from: got None on rank 1 \(node-b\) and SHA-256'
    expect_lines "$line" "$line"
}

# kill_node NODE: kill everything on a node at once.
kill_node() {
    ip netns pids "${NETS[$1]}" | xargs kill -9
    wait "${PIDS[$1]}" 2>/dev/null || true
}

CHECKS=("$@")
if [ $# = 0 ]; then
    mapfile -t CHECKS < <(declare -F | sed -n 's/^declare -f check_//p')
fi
set_up
for NAME in "${CHECKS[@]}"; do
    case $NAME in same_weights | name_* | *resume*) run_reference ;; esac
    CHECK=$NAME
    new_run
    "check_$CHECK"
done
exit "$FAILED"
