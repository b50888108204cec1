"""Train the temporal network on features of res18_srp_mini.py, on the same small set.

    python tools/extract_features.py docs/logs/res18_srp_mini/res18_srp_mini.py CHECKPOINT \
        --out features/res18_srp_mini --layer neck
    python tools/train.py docs/logs/temporal_tcn_mini/temporal_tcn_mini.py

The set has few and short clips, so windows are smaller and the run is shorter. It is scored once,
at the end.
"""

_base_ = ['../../../configs/temporal_tcn_affwild2.py']

data = dict(
    data_root='data/affwild2_mini', feature_dir='features/res18_srp_mini', window=64, context=31
)
train_dataloader = dict(batch_size=8, num_workers=0, dataset=dict(**data, step=16))
val_dataloader = dict(num_workers=0, dataset=data)
test_dataloader = val_dataloader
model = dict(backbone=dict(num_layers=5))  # 31 frames on either side
train_cfg = dict(max_iters=300, val_interval=300)
default_hooks = dict(checkpoint=dict(interval=300), logger=dict(interval=50))
auto_scale_lr = dict(base_batch_size=8)
