"""ResNet-18 with Spatial Reserve Pooling at 112x112 pixels, the size of the official crops.

The last stage does not halve its map, so the neck gets the same 7x7 cells as at 224x224 pixels, and
checkpoints of both sizes have the same tensors. A frame takes 0.784 GFLOPs instead of 1.840.
Paper: no such row; it enlarges the crops to 224x224 pixels. Not run here at full size.

    bash tools/dist_train.sh configs/res18_srp_112_affwild2.py 2 --cfg-options checkpoint=SSL.pth
    bash tools/dist_test.sh configs/res18_srp_112_affwild2.py CHECKPOINT 2
"""

_base_ = ['res18_srp_affwild2.py']

# Path or URL of the weights of a self-supervised ResNet-18. None: random frozen stages, for trials.
checkpoint = None

# Half of the paper's 224 and 256 pixels
data_preprocessor = dict(crop_size=112, resize_edge=128)

model = dict(backbone=dict(strides=(1, 2, 2, 1)))
