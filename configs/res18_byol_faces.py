"""ResNet-18 pre-trained on faces without labels, with BYOL.

mmpretrain's BYOL with a recipe for faces of 112x112 pixels and one GPU, which is our choice; the
paper has no figure for it. It is what ContraWarping is compared with.
Time: not run at full size here.

    bash tools/dist_train.sh configs/res18_byol_faces.py 1 \
        --cfg-options train_dataloader.dataset.data_root=data/faces

Writes work_dirs/res18_byol_faces/backbone.pth; see docs/pretraining.md.
"""

_base_ = [
    '_base_/datasets/faces.py',
    '_base_/models/res18_byol.py',
    '_base_/schedules/selfsup_40k.py',
    '_base_/selfsup_runtime.py',
]

# Weights to start from, such as ImageNet's: a path or URL. None: from scratch.
checkpoint = None
