"""ResNet-18 with Spatial Reserve Pooling, fed by bytes: res18_srp_affwild2.py, faster.

Workers only decode; crops, mirror and normalisation happen a batch at once where the model is. The
recipe, the checkpoints and the scores are those of res18_srp_affwild2.py.
Paper: macro-F1 34.85 (Tables 1 to 4) on the validation set, with ContraWarping weights.
Time: not run at full size here; see docs/performance.md.

    bash tools/dist_train.sh configs/res18_srp_affwild2_fast.py 2
"""
_base_ = [
    '_base_/datasets/affwild2_fast.py',
    '_base_/models/res18_srp.py',
    '_base_/schedules/sgd_8k.py',
    '_base_/default_runtime.py',
]

# Weights of a self-supervised ResNet-18: a path or URL. None: random frozen stages, for trials.
checkpoint = None

model = dict(type='FrameClassifier')
