"""A temporal convolutional network over features for the multi-task track.

The windows are windows in time; the rows of s-Aff-Wild2 in them are trained on and scored.
Saves the checkpoint with the best score P.
Paper: no such row.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \
        --out features/res50_srp_affwild2 --layer neck
    bash tools/dist_train.sh configs/temporal_tcn_mtl.py 2
    bash tools/dist_test.sh configs/temporal_tcn_mtl.py TCN_CHECKPOINT 2

Often overridden: train_dataloader.dataset.feature_dir (also val_, test_), model.head.weights.
"""

_base_ = [
    '_base_/datasets/affwild2_mtl_features.py',
    '_base_/models/tcn.py',
    '_base_/schedules/adamw_2k.py',
    '_base_/features_runtime.py',
]

model = dict(head=dict(_delete_=True, type='MultiTrackHead', in_channels=128))

default_hooks = dict(
    checkpoint=dict(save_best='affwild2/p_score'),
    # At most 10 times the loss where a rare action unit is present.
    class_frequency=dict(type='ClassFrequencyHook', max_positive_weight=10.0),
)
