"""ResNet-18 with Spatial Reserve Pooling for valence and arousal.

The paper's recipe with the head of the track; saves the checkpoint with the best CCC.
Paper: no such row.

    bash tools/dist_train.sh configs/res18_srp_va.py 2 --cfg-options checkpoint=SSL.pth
    bash tools/dist_test.sh configs/res18_srp_va.py CHECKPOINT 2

Often overridden: checkpoint, train_dataloader.dataset.data_root (also val_, test_),
model.head.mse_weight.
"""

_base_ = ['_base_/models/res18_srp.py', '_base_/fast_va.py']

# Path or URL of the weights of a self-supervised ResNet-18. None: random frozen stages, for trials.
checkpoint = None

model = dict(head=dict(_delete_=True, type='ValenceArousalHead', in_channels=256 * 3 * 3))
