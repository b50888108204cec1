"""Attention between video and audio over windows of frames.

Follows a public repository of the 10th challenge (https://github.com/Hathaway1027/abaw26-expr):
BEiT-L features and audio, 1024 numbers each; windows of 64 frames every 8; 256 channels, 8 heads, 3
layers of attention within each stream, then one across in both directions, with gates; focal loss
with gamma 2 and weights by the effective number of frames (beta 0.9999); AdamW at 2.4e-5, weight
decay 0.03, warm-up, cosine; an option hides video in a tenth of the training windows; the scores of
a frame are averaged over its windows.
What differs: video features of Spatial Reserve Pooling unless set otherwise; each of the 3 layers
attends within and across; no gates after them; weights with 1 for the most frequent class; the
learning rate and the number of iterations.
Paper: no such row.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \
        --out features/res50_srp_affwild2 --layer neck
    python tools/extract_audio_features.py VIDEOS --out features/wav2vec2_large \
        --frames features/res50_srp_affwild2 --feature speech --checkpoint WAV2VEC2_LARGE
    bash tools/dist_train.sh configs/cross_attention_av_affwild2.py 2
    bash tools/dist_test.sh configs/cross_attention_av_affwild2.py FUSION_CHECKPOINT 2
"""

_base_ = [
    '_base_/datasets/affwild2_features.py',
    '_base_/models/cross_attention_av.py',
    '_base_/schedules/adamw_transformer_4k.py',
    '_base_/features_runtime.py',
]

data = dict(
    feature_dir=dict(
        _delete_=True,
        video='features/res50_srp_affwild2',  # the first stream decides which frames are scored
        audio='features/wav2vec2_large',
    ),
    window=64,
    context=0,
    step=8,
)
train_dataloader = dict(batch_size=32 // int('{{$WORLD_SIZE:1}}'), dataset=data)
val_dataloader = dict(batch_size=64, dataset=data)
test_dataloader = val_dataloader

data_preprocessor = dict(stream_dropout=dict(video=0.1))

default_hooks = dict(
    class_frequency=dict(type='ClassFrequencyHook', class_weight='effective_number', beta=0.9999),
)
