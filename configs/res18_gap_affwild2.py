"""ResNet-18 with global average pooling: the baseline of Spatial Reserve Pooling.

Paper: macro-F1 30.92 on the validation set (Table 2), with ContraWarping weights.

    bash tools/dist_train.sh configs/res18_gap_affwild2.py 2 --cfg-options checkpoint=SSL.pth
"""

_base_ = ['res18_srp_affwild2.py']

checkpoint = None

model = dict(
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=512),
)
