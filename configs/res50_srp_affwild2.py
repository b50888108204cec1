"""ResNet-50 with Spatial Reserve Pooling: the paper's main result.

Paper: macro-F1 37.57 on the validation set (Table 5), with ContraWarping weights.

    bash tools/dist_train.sh configs/res50_srp_affwild2.py 2 --cfg-options checkpoint=SSL.pth
    bash tools/dist_test.sh configs/res50_srp_affwild2.py CHECKPOINT 2

Often overridden: checkpoint, train_dataloader.dataset.data_root (also val_, test_),
model.backbone.frozen_stages. res50_srp_affwild2_plain.py runs the same in plain mmpretrain.
"""

_base_ = ['_base_/models/res50_srp.py', '_base_/fast.py']

# Path or URL of the weights of a self-supervised ResNet-50. None: random frozen stages, for trials.
checkpoint = None
