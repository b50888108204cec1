"""ResNet-18 with Spatial Reserve Pooling.

Paper: macro-F1 34.85 on the validation set (Tables 1 to 4), with ContraWarping weights; about
10 minutes on two V100.
Time: not run at full size here; see docs/performance.md.

    bash tools/dist_train.sh configs/res18_srp_affwild2.py 2
    bash tools/dist_test.sh configs/res18_srp_affwild2.py CHECKPOINT 2

The same as plain mmpretrain runs it: res18_srp_affwild2_plain.py.
"""

_base_ = ['_base_/models/res18_srp.py', '_base_/fast.py']

# Weights of a self-supervised ResNet-18: a path or URL. None: random frozen stages, for trials.
checkpoint = None

model = dict(type='FrameClassifier')
efficient_conv_bn_eval = ['backbone']
