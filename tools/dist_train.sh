#!/usr/bin/env bash
# Train on several processes of one machine, or of several (set NNODES, NODE_RANK, MASTER_ADDR).
#
#   bash tools/dist_train.sh CONFIG NUM_PROCESSES [flags of tools/train.py]
#
# Without CUDA the processes run on the CPU.
set -euo pipefail
# shellcheck source=tools/_launch.sh
source "$(dirname "$0")/_launch.sh"

require_arguments 'dist_train.sh CONFIG NUM_PROCESSES [flags of tools/train.py]' 2 "$@"
launch_dist "$2" train.py "$1" "${@:3}"
