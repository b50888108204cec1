"""ResNet-18 with Spatial Reserve Pooling for action units.

The paper's recipe with the head of the track; saves the checkpoint with the best mean F1.
Paper: no such row.

    bash tools/dist_train.sh configs/res18_srp_au.py 2 --cfg-options checkpoint=SSL.pth
    bash tools/dist_test.sh configs/res18_srp_au.py CHECKPOINT 2

Often overridden: checkpoint, train_dataloader.dataset.data_root (also val_, test_),
model.head.loss, default_hooks.class_frequency.max_positive_weight.
"""

_base_ = ['_base_/models/res18_srp.py', '_base_/fast_au.py']

# Path or URL of the weights of a self-supervised ResNet-18. None: random frozen stages, for trials.
checkpoint = None

model = dict(head=dict(_delete_=True, type='ActionUnitHead', in_channels=256 * 3 * 3))
