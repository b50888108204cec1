#!/usr/bin/env bash
# Install everything, draw demo data, train, test, print a table of F1 per class, and write a report of
# the predictions and a video with the expressions that the model finds.
#
#   bash tools/quickstart.sh
#
# VENV: path of the virtual environment (default .venv). PYTHON: interpreter, 3.10 or later.
# The faces are drawn and the backbone starts from random weights. The result shows that everything
# works on this machine; it is not comparable with the paper.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/environment.sh

CONFIG=configs/res18_srp_demo.py
WORK_DIR=work_dirs/res18_srp_demo

install_stack openmmlab
# Many short clips: from few faces a network learns their identities instead.
python demo/make_demo_data.py data/demo --train-clips 100 --val-clips 20 --frames 40
bash tools/dist_train.sh $CONFIG 2 --work-dir $WORK_DIR
# shellcheck disable=SC2012  # the names are our own
CHECKPOINT=$(ls -t $WORK_DIR/best_affwild2_macro_f1_iter_*.pth | head -n 1)
bash tools/dist_test.sh $CONFIG "$CHECKPOINT" 2 --work-dir $WORK_DIR/test \
    --out $WORK_DIR/predictions.npz
python tools/report.py $WORK_DIR/predictions.npz --out $WORK_DIR/report.html --data-root data/demo
python demo/make_demo_video.py data/demo_video.mp4
python tools/predict_video.py $CONFIG "$CHECKPOINT" data/demo_video.mp4 --out $WORK_DIR/video \
    --smooth box:0.5s --draw --report

case $(uname) in
    Darwin) OPEN=open ;;
    MINGW* | MSYS*) OPEN=start ;;
    *) OPEN=xdg-open ;;
esac
cat <<END

Done. The table of F1 above is the score of $CHECKPOINT
on the validation clips. Open in a browser:

    $OPEN $WORK_DIR/report.html                  scores, confusion, timelines, mistakes
    $OPEN $WORK_DIR/video/demo_video_drawn.mp4   a video with the expressions found
    $OPEN $WORK_DIR/video/demo_video.html        a report of that video

On a machine without a screen: python -m http.server --directory $WORK_DIR
and open http://localhost:8000/report.html there, or through an SSH tunnel.
Next: your own video or a config for your copy of Aff-Wild2, see README.md.
END
