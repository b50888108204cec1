"""DINOv2's ViT-B/14, frozen, with Spatial Reserve Pooling: the paper's method on another encoder.

98 pixels are 7x7 patches, the map for which the neck was made. 112, the size of the crops, would be
8x8, of which its second convolution leaves out the last row and column; larger images need
`model = dict(head=dict(in_channels=...))`, and the error at the start says how much. The whole
encoder is frozen, as DINOv2's features are meant to be used; the paper's schedule trains the rest.
Paper: no such row.
Time: not run.

    bash tools/dist_train.sh configs/dinov2_srp_affwild2.py 2 --cfg-options checkpoint=DINOV2.pth
    bash tools/dist_test.sh configs/dinov2_srp_affwild2.py CHECKPOINT 2
"""

_base_ = ['_base_/models/dinov2_srp.py', '_base_/fast.py']

# mmpretrain's weights of DINOv2's ViT-B/14: a path or URL. None: a random encoder, for trials.
checkpoint = None

# 7x7 patches of 14 pixels: the centre of the official crop, as 224 of 256 pixels are
data_preprocessor = dict(crop_size=98, resize_edge=112)
