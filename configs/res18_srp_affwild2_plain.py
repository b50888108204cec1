"""ResNet-18 with Spatial Reserve Pooling in plain mmpretrain: res18_srp_affwild2.py, slower.

In float32, with an object a frame, as mmpretrain's transforms and metrics want it; recipe, weights
and checkpoints are those of res18_srp_affwild2.py.
Paper: macro-F1 34.85 (Tables 1 to 4) on the validation set, with ContraWarping weights.
Time: not run at full size here; see docs/performance.md.

    bash tools/dist_train.sh configs/res18_srp_affwild2_plain.py 2
"""

_base_ = ['_base_/models/res18_srp.py', '_base_/plain.py']

# Weights of a self-supervised ResNet-18: a path or URL. None: random frozen stages, for trials.
checkpoint = None
