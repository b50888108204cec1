"""IR-50 with Spatial Reserve Pooling and three frozen stages: the paper's method on its IR-50.

112 pixels make the same 7x7 cells as 224 pixels in a ResNet. Settings as in irnet50_affwild2.py.
Paper: no such row; IR-50 reaches macro-F1 30.78 on the validation set (Table 5). Not run here.

    bash tools/dist_train.sh configs/irnet50_srp_affwild2.py 2 --cfg-options checkpoint=IR50.pth
"""

_base_ = ['irnet50_affwild2.py']

# Path or URL of IR-50 weights in the names of face.evoLVe. None: random frozen stages, for trials.
checkpoint = None

model = dict(
    backbone=dict(frozen_stages=3),
    neck=dict(_delete_=True, type='SpatialReservePooling', in_channels=512),
    head=dict(in_channels=256 * 3 * 3),
)
