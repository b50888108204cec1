"""ResNet-18 pre-trained on unlabelled faces with BYOL.

mmpretrain's BYOL with a recipe for faces of 112x112 pixels on one GPU, which is our choice. It is
the baseline of ContraWarping. Paper: no figure of its own recipe; Table 1 has 31.74 after
fine-tuning.

    bash tools/dist_train.sh configs/res18_byol_faces.py 1 \
        --cfg-options train_dataloader.dataset.data_root=data/faces

Writes work_dirs/res18_byol_faces/backbone.pth, see docs/pretraining.md. Not run at full size.
"""

_base_ = [
    '_base_/datasets/faces.py',
    '_base_/models/res18_byol.py',
    '_base_/schedules/selfsup_40k.py',
    '_base_/selfsup_runtime.py',
]

# Path or URL of weights to start from, such as ImageNet's. None trains from scratch.
checkpoint = None
