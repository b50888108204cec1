"""ResNet-50 with Spatial Reserve Pooling and the settings of the released code.

Two frozen stages, balanced classes, SyncBN, fp16, warm-up, see docs/paper_vs_code.md.
Paper: macro-F1 37.57 on the validation set (Table 5); it does not say with which settings.

    bash tools/dist_train.sh configs/res50_srp_affwild2_released.py 2 \
        --cfg-options checkpoint=SSL.pth
"""

_base_ = [
    '_base_/datasets/affwild2_balanced.py',
    '_base_/models/res50_srp_plain.py',
    '_base_/schedules/sgd_8k_released.py',
    '_base_/default_runtime.py',
]

# Path or URL of the weights of a self-supervised ResNet-50. None: random frozen stages, for trials.
checkpoint = None

model = dict(
    backbone=dict(frozen_stages=2),
    neck=dict(norm_cfg=dict(type='SyncBN')),
)
