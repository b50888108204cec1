#!/usr/bin/env bash
# From nothing to a table of F1 per class: install, draw demo data, train, test.
#
#   bash tools/quickstart.sh
#
# VENV: where the virtual environment lies (.venv). PYTHON: the interpreter, from 3.10 on.
# The faces are drawn and the backbone's weights are random: it shows that everything works here,
# not what the paper reaches.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/environment.sh

CONFIG=configs/res18_srp_demo.py
WORK_DIR=work_dirs/res18_srp_demo

install_stack openmmlab
# many faces for a short time each: a network that sees few learns their identities instead
python demo/make_demo_data.py data/demo --train-clips 100 --val-clips 20 --frames 40
bash tools/dist_train.sh $CONFIG 2 --work-dir $WORK_DIR
CHECKPOINT=$(ls -t $WORK_DIR/best_affwild2_macro_f1_iter_*.pth | head -n 1)
bash tools/dist_test.sh $CONFIG "$CHECKPOINT" 2 --work-dir $WORK_DIR/test
echo
echo "The checkpoint is $CHECKPOINT; the table above is its score on the demo's validation clips."
echo "Next: a config of your own on Aff-Wild2, see README.md."
