"""Train the demo's network on real faces in the official layout: a small set, not Aff-Wild2.

bash tools/dist_train.sh docs/logs/res18_srp_mini/res18_srp_mini.py 2
"""

_base_ = ['../../../benchmarks/configs/res18_srp_demo_plain.py']

root = 'data/affwild2_mini'
train_dataloader = dict(dataset=dict(data_root=root))
val_dataloader = dict(dataset=dict(data_root=root))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=400, val_interval=200)
