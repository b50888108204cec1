"""IR-50 with Spatial Reserve Pooling, three stages frozen: the paper's method on Table 5's IR-50.

112 pixels end in the same 7x7 cells as a ResNet's 224. Settings as in irnet50_affwild2.py.
Paper: no such row; IR-50 has macro-F1 30.78 on the validation set (Table 5).
Time: not run.

    bash tools/dist_train.sh configs/irnet50_srp_affwild2.py 2 --cfg-options checkpoint=IR50.pth
"""

_base_ = ['irnet50_affwild2.py']

# Weights of an IR-50, face.evoLVe's names: a path or URL. None: random frozen stages, for trials.
checkpoint = None

model = dict(
    backbone=dict(frozen_stages=3),
    neck=dict(_delete_=True, type='SpatialReservePooling', in_channels=512),
    head=dict(in_channels=256 * 3 * 3),
)
