"""A temporal convolutional network over a frozen frame model's features.

What the paper leaves out "for simplicity" (Sec. 3) and the entries ranked 1, 3 and 4 in its
challenge did: features of each frame, then a model over time. Theirs are of several backbones and
of audio; this one takes what tools/extract_features.py wrote, of Spatial Reserve Pooling here.
Paper: no such row.
Time: not run at full size here; docs/results.md has a run on a small set.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \
        --out features/res50_srp_affwild2 --layer neck
    bash tools/dist_train.sh configs/temporal_tcn_affwild2.py 2
    bash tools/dist_test.sh configs/temporal_tcn_affwild2.py TCN_CHECKPOINT 2
"""

_base_ = [
    '_base_/datasets/affwild2_features.py',
    '_base_/models/tcn.py',
    '_base_/schedules/adamw_2k.py',
    '_base_/default_runtime.py',
]

default_hooks = dict(
    checkpoint=dict(interval=500),
    pretrained_backbone=dict(warn=False),  # it learns from scratch, as it should
    feature_source=dict(type='FeatureSourceHook'),
)
