"""ResNet-50 pre-trained on unlabelled faces with ContraWarping (arXiv 2303.09034).

The recipe of res18_contrawarping_faces.py.
Paper: its weights reach macro-F1 37.57 on Aff-Wild2 after fine-tuning (Table 5).

    bash tools/dist_train.sh configs/res50_contrawarping_faces.py 1 \
        --cfg-options train_dataloader.dataset.data_root=data/faces

Writes work_dirs/res50_contrawarping_faces/backbone.pth, see docs/pretraining.md. Not run
at full size here.
"""

_base_ = ['res18_contrawarping_faces.py']

checkpoint = None

model = dict(backbone=dict(depth=50), neck=dict(in_channels=2048))
