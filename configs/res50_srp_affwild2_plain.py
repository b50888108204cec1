"""ResNet-50 with Spatial Reserve Pooling in plain mmpretrain: res50_srp_affwild2.py, slower.

In float32, with an object a frame, as mmpretrain's transforms and metrics want it; recipe, weights
and checkpoints are those of res50_srp_affwild2.py.
Paper: macro-F1 37.57 (Table 5) on the validation set, with ContraWarping weights.
Time: not run at full size here; see docs/performance.md.

    bash tools/dist_train.sh configs/res50_srp_affwild2_plain.py 2
"""

_base_ = ['_base_/models/res50_srp.py', '_base_/plain.py']

# Weights of a self-supervised ResNet-50: a path or URL. None: random frozen stages, for trials.
checkpoint = None
