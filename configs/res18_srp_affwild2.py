"""ResNet-18 with Spatial Reserve Pooling.

Paper: macro-F1 34.85 on the validation set (Tables 1 to 4), with ContraWarping weights;
about 10 minutes on two V100.

    bash tools/dist_train.sh configs/res18_srp_affwild2.py 2 --cfg-options checkpoint=SSL.pth
    bash tools/dist_test.sh configs/res18_srp_affwild2.py CHECKPOINT 2

Often overridden: checkpoint, train_dataloader.dataset.data_root (also val_, test_),
model.backbone.frozen_stages. res18_srp_affwild2_plain.py runs the same in plain mmpretrain.
"""

_base_ = ['_base_/models/res18_srp.py', '_base_/fast.py']

# Path or URL of the weights of a self-supervised ResNet-18. None: random frozen stages, for trials.
checkpoint = None
