"""A multi-layer perceptron over the features of single frames.

Follows HSEmotion, ranked first in the expression track of the 8th challenge: frozen features of
EmotiEffNet-B0 (1280 numbers), one hidden layer of 128 units, cross entropy weighted by the inverse
frequency of the classes. They report a validation macro-F1 of 38.4, and 42.4 after a box filter
over 50 frames on each side (https://github.com/sb-ai-lab/EmotiEffLib).
What differs: features of Spatial Reserve Pooling unless set otherwise, LayerNorm before the hidden
layer and dropout after it, the schedule. Audio and their second model are left out.
Paper: no such row.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \
        --out features/res50_srp_affwild2 --layer neck
    bash tools/dist_train.sh configs/mlp_features_affwild2.py 2
    bash tools/dist_test.sh configs/mlp_features_affwild2.py MLP_CHECKPOINT 2 --out validation.npz
    python tools/analysis_tools/postprocess_predictions.py validation.npz --method box --width 50 \
        --out smooth.npz
"""

_base_ = [
    '_base_/datasets/affwild2_features.py',
    '_base_/models/mlp.py',
    '_base_/schedules/adamw_2k.py',
    '_base_/features_runtime.py',
]

# Frames are independent of each other.
train_dataloader = dict(dataset=dict(context=0, step=256))
val_dataloader = dict(dataset=dict(context=0))
test_dataloader = val_dataloader

default_hooks = dict(
    class_frequency=dict(type='ClassFrequencyHook', class_weight='inverse_frequency'),
)
