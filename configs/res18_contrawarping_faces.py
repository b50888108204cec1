"""ResNet-18 pre-trained on unlabelled faces with ContraWarping (arXiv 2303.09034).

BYOL plus a locally warped copy of the same face, which is pushed away (Sec. 3.1, Fig. 3). Recipe
and settings of warp and loss are our choice, since the paper does not give them.
Paper: its weights reach macro-F1 34.85 on Aff-Wild2 after fine-tuning (Tables 1 to 4).

    bash tools/dist_train.sh configs/res18_contrawarping_faces.py 1 \
        --cfg-options train_dataloader.dataset.data_root=data/faces

Writes work_dirs/res18_contrawarping_faces/backbone.pth, see docs/pretraining.md. Not run
at full size here.
"""

_base_ = ['res18_byol_faces.py']

checkpoint = None

data_preprocessor = dict(warp=dict(type='RandomMuscleWarp', strength=0.1))
model = dict(
    type='ContraWarping',
    head=dict(loss=dict(type='ContraWarpingLoss', negative_weight=1.0, margin=0.5)),
)
