"""ResNet-50 with Spatial Reserve Pooling: the paper's main result.

Paper: macro-F1 37.57 on the validation set (Table 5), with ContraWarping weights.
Time: not run at full size here; see docs/performance.md.

    bash tools/dist_train.sh configs/res50_srp_affwild2.py 2
    bash tools/dist_test.sh configs/res50_srp_affwild2.py CHECKPOINT 2

The same as plain mmpretrain runs it: res50_srp_affwild2_plain.py.
"""

_base_ = ['_base_/models/res50_srp.py', '_base_/fast.py']

# Weights of a self-supervised ResNet-50: a path or URL. None: random frozen stages, for trials.
checkpoint = None

model = dict(type='FrameClassifier')
