"""res50_srp_affwild2.py in plain mmpretrain: slower, but with all its transforms and metrics.

float32 and one data sample per frame. Recipe, weights and checkpoints are those of
res50_srp_affwild2.py.
Paper: macro-F1 37.57 on the validation set (Table 5), with ContraWarping weights.

    bash tools/dist_train.sh configs/res50_srp_affwild2_plain.py 2 \
        --cfg-options checkpoint=SSL.pth
"""

_base_ = ['_base_/models/res50_srp_plain.py', '_base_/plain.py']

# Path or URL of the weights of a self-supervised ResNet-50. None: random frozen stages, for trials.
checkpoint = None
