"""ResNet-18 pre-trained on unlabelled faces with SimSiam.

mmpretrain's SimSiam with a recipe for faces of 112x112 pixels on one GPU, which is our choice.
Paper: no figure of its own recipe; Table 1 has 25.40 after fine-tuning.

    bash tools/dist_train.sh configs/res18_simsiam_faces.py 1 \
        --cfg-options train_dataloader.dataset.data_root=data/faces

Writes work_dirs/res18_simsiam_faces/backbone.pth, see docs/pretraining.md. Not run
at full size here.
"""

_base_ = [
    '_base_/datasets/faces.py',
    '_base_/models/res18_simsiam.py',
    '_base_/schedules/selfsup_40k.py',
    '_base_/selfsup_runtime.py',
]

# Path or URL of weights to start from, such as ImageNet's. None trains from scratch.
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
