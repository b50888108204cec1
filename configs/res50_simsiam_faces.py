"""ResNet-50 pre-trained on unlabelled faces with SimSiam.

The recipe of res18_simsiam_faces.py. Paper: no figure.

    bash tools/dist_train.sh configs/res50_simsiam_faces.py 1 \
        --cfg-options train_dataloader.dataset.data_root=data/faces

Writes work_dirs/res50_simsiam_faces/backbone.pth, see docs/pretraining.md. Not run
at full size here.
"""

_base_ = ['res18_simsiam_faces.py']

checkpoint = None

model = dict(backbone=dict(depth=50), neck=dict(in_channels=2048))
