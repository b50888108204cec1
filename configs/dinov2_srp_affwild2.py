"""DINOv2's ViT-B/14, frozen, with Spatial Reserve Pooling: the paper's method on another encoder.

98 pixels make 7x7 patches, the map that the neck is designed for. 112 pixels, the size of the
crops, make 8x8, of which the second convolution drops the last row and column. Other sizes need
another `model.head.in_channels`; the error at the start names it. The encoder is frozen, as
DINOv2's features are meant to be used; the rest is trained with the paper's schedule.
Paper: no such row. Not run here at full size.

    bash tools/dist_train.sh configs/dinov2_srp_affwild2.py 2 --cfg-options checkpoint=DINOV2.pth
    bash tools/dist_test.sh configs/dinov2_srp_affwild2.py CHECKPOINT 2
"""

_base_ = ['_base_/models/dinov2_srp.py', '_base_/fast.py']

# Path or URL of DINOv2's ViT-B/14, the official file or mmpretrain's. None: random encoder, for
# trials.
checkpoint = None

# 7x7 patches of 14 pixels: the centre of the official crop, as 224 of 256 pixels are
data_preprocessor = dict(crop_size=98, resize_edge=112)
