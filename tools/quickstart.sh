#!/usr/bin/env bash
# Install everything, draw demo data, train, test, print a table of F1 per class, and write a report of
# the predictions and a video with the expressions that the model finds.
#
#   bash tools/quickstart.sh
#
# VENV: path of the virtual environment (default .venv). PYTHON: interpreter, 3.10 to 3.12.
# The faces are drawn and the backbone starts from random weights. The result shows that everything
# works on this machine; it is not comparable with the paper.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/environment.sh

CONFIG=configs/res18_srp_demo.py
WORK_DIR=work_dirs/res18_srp_demo

announce() {
    STEP=$((${STEP:-0} + 1))
    printf '\n[%d/6] %s\n' $STEP "$1"
}

announce 'Install'
install_stack openmmlab
announce 'Draw faces with expressions, and their labels'
# Many short clips: from few faces a network learns their identities instead.
python demo/make_demo_data.py data/demo --train-clips 100 --val-clips 20 --frames 40
announce 'Train 300 steps in two processes'
bash tools/dist_train.sh $CONFIG 2 --work-dir $WORK_DIR
# shellcheck disable=SC2012  # the names are our own
CHECKPOINT=$(ls -t $WORK_DIR/best_affwild2_macro_f1_iter_*.pth | head -n 1)
announce 'Test the best checkpoint'
bash tools/dist_test.sh $CONFIG "$CHECKPOINT" 2 --work-dir $WORK_DIR/test \
    --out $WORK_DIR/predictions.npz
announce 'Write a report of the predictions'
# Clips are 40 frames long: smooth over few of them.
python tools/report.py $WORK_DIR/predictions.npz --out $WORK_DIR/report.html --data-root data/demo \
    --width 3
announce 'Find the expressions in a video, and draw it'
python demo/make_demo_video.py data/demo_video.mp4
python tools/predict_video.py $CONFIG "$CHECKPOINT" data/demo_video.mp4 --out $WORK_DIR/video \
    --smooth box:0.5s --draw --report

case $(uname) in
    Darwin) OPEN=open ;;
    MINGW* | MSYS*) OPEN=start ;;
    *) OPEN=xdg-open ;;
esac
cat <<END

Done. The table of F1 above is the score of
    $CHECKPOINT
on the validation clips. After 300 steps it mistakes some classes: Anger often has an F1 of 0.

Scores, confusion, timelines and mistakes:
    $OPEN $WORK_DIR/report.html
A video with the expressions found, and a report of it:
    $OPEN $WORK_DIR/video/demo_video_drawn.mp4
    $OPEN $WORK_DIR/video/demo_video.html
On a machine without a screen, open http://localhost:8000/report.html after
    python -m http.server --directory $WORK_DIR

Next, your own video (this model has seen drawn faces only):
    source ${VENV:-.venv}/bin/activate
    python tools/predict_video.py $CONFIG \\
        $CHECKPOINT \\
        YOUR_VIDEO.mp4 --out work_dirs/your_video --draw --report
Or Aff-Wild2: see README.md.
END
