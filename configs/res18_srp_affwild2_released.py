"""ResNet-18 with Spatial Reserve Pooling and the settings of the released code.

Three frozen stages, balanced classes, SyncBN, fp16, warm-up, see docs/paper_vs_code.md.
Paper: macro-F1 34.85 on the validation set (Tables 1 to 4); it does not say with which settings.

    bash tools/dist_train.sh configs/res18_srp_affwild2_released.py 2 \
        --cfg-options checkpoint=SSL.pth
"""

_base_ = [
    '_base_/datasets/affwild2_balanced.py',
    '_base_/models/res18_srp_plain.py',
    '_base_/schedules/sgd_8k_released.py',
    '_base_/default_runtime.py',
]

# Path or URL of the weights of a self-supervised ResNet-18. None: random frozen stages, for trials.
checkpoint = None

model = dict(neck=dict(norm_cfg=dict(type='SyncBN')))
