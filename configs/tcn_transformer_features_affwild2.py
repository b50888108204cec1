"""A temporal convolutional network, then a transformer, over windows of features.

Follows CtyunAI, ranked second in the expression track of the 6th challenge: features of a masked
autoencoder, a TCN with kernels of 5 frames, a transformer of 8 layers with 4 heads and 512
channels, windows of 300 frames every 200, cross entropy, AdamW at 3e-5 for 10 epochs
(https://github.com/upczww/abaw6, EXPR/config/config.yml).
What differs: features of Spatial Reserve Pooling unless set otherwise; our TCN, of kernels of 3
frames, 6 layers and 256 channels; 4 layers of 256 channels; the schedule. They average five folds
and smooth by the most frequent class of 40 frames; `hold` of postprocess_predictions.py is similar.
Paper: no such row.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \
        --out features/res50_srp_affwild2 --layer neck
    bash tools/dist_train.sh configs/tcn_transformer_features_affwild2.py 2
    bash tools/dist_test.sh configs/tcn_transformer_features_affwild2.py HEAD_CHECKPOINT 2
"""

_base_ = [
    '_base_/datasets/affwild2_features.py',
    '_base_/models/tcn.py',
    '_base_/schedules/adamw_transformer_4k.py',
    '_base_/features_runtime.py',
]

model = dict(
    backbone=dict(channels=256),
    neck=dict(
        type='WindowTransformer',
        in_channels=256,
        channels=256,
        num_layers=4,
        num_heads=4,
        dropout=0.1,
    ),
    head=dict(in_channels=256),
)

data = dict(window=300, context=0, step=200)
train_dataloader = dict(batch_size=32 // int('{{$WORLD_SIZE:1}}'), dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
