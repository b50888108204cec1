"""ResNet-18 with Spatial Reserve Pooling and the released code's settings.

Three frozen stages, balanced classes, SyncBN, fp16, warm-up; see docs/paper_vs_code.md.
Paper: macro-F1 34.85 on the validation set (Tables 1 to 4); it does not say with which settings.
Time: not run at full size here; see docs/performance.md.

    bash tools/dist_train.sh configs/res18_srp_affwild2_released.py 2
"""

_base_ = [
    '_base_/datasets/affwild2_balanced.py',
    '_base_/models/res18_srp.py',
    '_base_/schedules/sgd_8k_released.py',
    '_base_/default_runtime.py',
]

# Weights of a self-supervised ResNet-18: a path or URL. None: random frozen stages, for trials.
checkpoint = None

model = dict(neck=dict(norm_cfg=dict(type='SyncBN')))
