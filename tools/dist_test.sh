#!/usr/bin/env bash
# Score a checkpoint on several processes of one machine, or of several (set NNODES, NODE_RANK,
# MASTER_ADDR).
#
#   bash tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [flags of tools/test.py]
#   bash tools/dist_test.sh CONFIG NUM_PROCESSES --onnx FILE [flags of tools/test.py]
#
# Without CUDA the processes run on the CPU. The score does not depend on their number.
set -euo pipefail
# shellcheck source=tools/_launch.sh
source "$(dirname "$0")/_launch.sh"

require_arguments 'dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [flags of tools/test.py]' 3 "$@"
if [[ $2 =~ ^[0-9]+$ ]]; then # an exported network takes the place of the checkpoint
    launch_dist "$2" test.py "$1" "${@:3}"
fi
launch_dist "$3" test.py "$1" "$2" "${@:4}"
