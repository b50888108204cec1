"""ResNet-18 pre-trained on faces without labels, with ContraWarping (arXiv 2303.09034).

BYOL, and the same face with its muscles moved is pushed away (Sec. 3.1, Fig. 3). The recipe and the
settings of warp and loss are our choice, the paper has them not; its weights of this kind reached
macro-F1 34.85 on Aff-Wild2 after fine-tuning (Tables 1 to 4).
Time: not run at full size here.

    bash tools/dist_train.sh configs/res18_contrawarping_faces.py 1 \
        --cfg-options train_dataloader.dataset.data_root=data/faces

Writes work_dirs/res18_contrawarping_faces/backbone.pth; see docs/pretraining.md.
"""

_base_ = ['res18_byol_faces.py']

checkpoint = None

model = dict(
    type='ContraWarping',
    warp=dict(type='RandomLocalWarp', num_points=8, radius=0.2, strength=0.06),
    head=dict(loss=dict(type='ContraWarpingLoss', negative_weight=4.0, margin=0.2)),
)
