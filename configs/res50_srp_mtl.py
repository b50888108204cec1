"""ResNet-50 with Spatial Reserve Pooling for valence, arousal, expressions and action units.

The paper's recipe with the head of the track; saves the checkpoint with the best score P.
Paper: no such row.

    bash tools/dist_train.sh configs/res50_srp_mtl.py 2 --cfg-options checkpoint=SSL.pth
    bash tools/dist_test.sh configs/res50_srp_mtl.py CHECKPOINT 2

Often overridden: checkpoint, train_dataloader.dataset.data_root (also val_, test_),
model.head.weights.
"""

_base_ = ['_base_/models/res50_srp.py', '_base_/fast_mtl.py']

# Path or URL of the weights of a self-supervised ResNet-50. None: random frozen stages, for trials.
checkpoint = None

model = dict(head=dict(_delete_=True, type='MultiTrackHead', in_channels=256 * 3 * 3))
