"""ResNet-18 pre-trained on faces without labels, with SimSiam.

mmpretrain's SimSiam with a recipe for faces of 112x112 pixels and one GPU, which is our choice; the
paper has no figure for it.
Time: not run at full size here.

    bash tools/dist_train.sh configs/res18_simsiam_faces.py 1 \
        --cfg-options train_dataloader.dataset.data_root=data/faces

Writes work_dirs/res18_simsiam_faces/backbone.pth; see docs/pretraining.md.
"""

_base_ = [
    '_base_/datasets/faces.py',
    '_base_/models/res18_simsiam.py',
    '_base_/schedules/selfsup_40k.py',
    '_base_/selfsup_runtime.py',
]

# Weights to start from, such as ImageNet's: a path or URL. None: from scratch.
checkpoint = None

# The predictor keeps its rate (arXiv 2011.10566, Table 1). Change both if you change one; the
# hook's is not scaled by --auto-scale-lr.
lr = 0.05
optim_wrapper = dict(
    optimizer=dict(lr=lr), paramwise_cfg=dict(custom_keys=dict(predictor=dict(fix_lr=True)))
)
custom_hooks = [
    dict(type='SimSiamHook', priority='HIGH', fix_pred_lr=True, lr=lr, adjust_by_epoch=False)
]
