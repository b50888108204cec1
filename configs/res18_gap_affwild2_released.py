"""ResNet-18 with global average pooling and no frozen stage: the released code's ResNet-18 file.

It is the start of the paper's ablation, with balanced classes, fp16 and warm-up.
Paper: macro-F1 33.24 without frozen stages (Table 4, with SRP), 30.92 with GAP (Table 2, three
frozen stages).

    bash tools/dist_train.sh configs/res18_gap_affwild2_released.py 2 \
        --cfg-options checkpoint=SSL.pth
"""

_base_ = ['res18_srp_affwild2_released.py']

checkpoint = None

model = dict(
    backbone=dict(frozen_stages=-1),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=512),
)
