"""ResNet-18 with global average pooling and no frozen stage: the released code's Res-18 file.

It is the start of the paper's ablation. Balanced classes, fp16, warm-up.
Paper: 33.24 with no frozen stage (Table 4, with SRP), 30.92 with GAP (Table 2, three frozen).
Time: not run at full size here; see docs/performance.md.

    bash tools/dist_train.sh configs/res18_gap_affwild2_released.py 2
"""

_base_ = ['res18_srp_affwild2_released.py']

checkpoint = None

model = dict(
    backbone=dict(frozen_stages=-1),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=512),
)
