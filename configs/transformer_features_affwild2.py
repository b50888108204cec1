"""A transformer over windows of features.

Follows Netease Fuxi AI Lab, ranked first in the expression track of the 6th challenge: a
transformer over segments of 100 frames, cross entropy weighted by the inverse frequency of the
classes (https://github.com/FuxiVirtualHuman/ABAW6, arXiv 2403.10825).
What differs: one stream, of Spatial Reserve Pooling unless set otherwise, in place of a masked
autoencoder of their own faces and of audio. Width, depth and schedule are our choice. No second
branch for hard samples and no classifiers per scene. Windows overlap by half, and an evaluation
averages the scores of a frame over its two windows.
Paper: no such row.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \
        --out features/res50_srp_affwild2 --layer neck
    bash tools/dist_train.sh configs/transformer_features_affwild2.py 2
    bash tools/dist_test.sh configs/transformer_features_affwild2.py TRANSFORMER_CHECKPOINT 2
"""

_base_ = [
    '_base_/datasets/affwild2_features.py',
    '_base_/models/window_transformer.py',
    '_base_/schedules/adamw_transformer_4k.py',
    '_base_/features_runtime.py',
]

data = dict(window=100, context=0, step=50)
train_dataloader = dict(batch_size=32 // int('{{$WORLD_SIZE:1}}'), dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader

default_hooks = dict(
    class_frequency=dict(type='ClassFrequencyHook', class_weight='inverse_frequency'),
)
