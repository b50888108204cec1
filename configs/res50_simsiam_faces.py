"""ResNet-50 pre-trained on faces without labels, with SimSiam.

The recipe of res18_simsiam_faces.py, which is our choice; the paper has no figure for it.
Time: not run at full size here.

    bash tools/dist_train.sh configs/res50_simsiam_faces.py 1 \
        --cfg-options train_dataloader.dataset.data_root=data/faces

Writes work_dirs/res50_simsiam_faces/backbone.pth; see docs/pretraining.md.
"""

_base_ = ['res18_simsiam_faces.py']

checkpoint = None

model = dict(backbone=dict(depth=50), neck=dict(in_channels=2048))
