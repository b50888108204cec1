"""res18_srp_affwild2.py in plain mmpretrain: slower, but with all its transforms and metrics.

float32 and one data sample per frame. Recipe, weights and checkpoints are those of
res18_srp_affwild2.py.
Paper: macro-F1 34.85 on the validation set (Tables 1 to 4), with ContraWarping weights.

    bash tools/dist_train.sh configs/res18_srp_affwild2_plain.py 2 \
        --cfg-options checkpoint=SSL.pth
"""

_base_ = ['_base_/models/res18_srp_plain.py', '_base_/plain.py']

# Path or URL of the weights of a self-supervised ResNet-18. None: random frozen stages, for trials.
checkpoint = None
