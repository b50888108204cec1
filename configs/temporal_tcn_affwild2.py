"""A temporal convolutional network over the features of a frozen frame model.

The paper leaves temporal models out "for simplicity" (Sec. 3); the entries ranked 1, 3 and 4 in its
challenge used them, on features of several backbones and of audio. This one uses the features that
tools/extract_features.py writes, here those of Spatial Reserve Pooling.
Paper: no such row. docs/notes/real_faces_mini.md has a run on a small set.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \
        --out features/res50_srp_affwild2 --layer neck
    bash tools/dist_train.sh configs/temporal_tcn_affwild2.py 2
    bash tools/dist_test.sh configs/temporal_tcn_affwild2.py TCN_CHECKPOINT 2
"""

_base_ = [
    '_base_/datasets/affwild2_features.py',
    '_base_/models/tcn.py',
    '_base_/schedules/adamw_2k.py',
    '_base_/features_runtime.py',
]
