"""A gate between video and audio for each frame.

Follows the best public result of the 10th challenge (Shanghai Normal University, validation
macro-F1 53.68; 51.2 +- 2.8 over five folds): per frame, z = g * W_v v + (1 - g) * W_a a with
g = sigmoid(MLP[v; a]), 512 channels, dropout 0.2, cross entropy weighted by the inverse frequency
of the classes, AdamW at 1e-4, batches of 4096 frames; v of DINOv2-L, tuned on AffectNet and RAF-DB,
a the mean of the last four layers of wav2vec2-large within half a second; a median over 101 frames
after it (https://github.com/ora942878/ABAW_10_EXPR).
What differs: video features of Spatial Reserve Pooling unless set otherwise; LayerNorm per frame in
place of L2 normalisation and standardisation; no LayerNorm before the classifier; batches of 16
windows of 256 frames; the schedule; a missing stream closes its side of the gate. Each stream is
hidden in one training window of ten (stream_dropout).
Paper: no such row.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \
        --out features/res50_srp_affwild2 --layer neck
    python tools/extract_audio_features.py VIDEOS --out features/wav2vec2_large \
        --frames features/res50_srp_affwild2 --feature speech --checkpoint WAV2VEC2_LARGE
    bash tools/dist_train.sh configs/gated_av_affwild2.py 2
    bash tools/dist_test.sh configs/gated_av_affwild2.py GATE_CHECKPOINT 2 --out validation.npz
    python tools/analysis_tools/postprocess_predictions.py validation.npz --method median \
        --width 50 --out smooth.npz
"""

_base_ = [
    '_base_/datasets/affwild2_features.py',
    '_base_/models/gated_av.py',
    '_base_/schedules/adamw_2k.py',
    '_base_/features_runtime.py',
]

data = dict(
    feature_dir=dict(
        _delete_=True,
        video='features/res50_srp_affwild2',  # the first stream decides which frames are scored
        audio='features/wav2vec2_large',
    ),
    context=0,  # frames are independent of each other
)
train_dataloader = dict(dataset=dict(**data, step=256))
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader

data_preprocessor = dict(stream_dropout=dict(video=0.1, audio=0.1))
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=1e-4))

default_hooks = dict(
    class_frequency=dict(type='ClassFrequencyHook', class_weight='inverse_frequency'),
)
