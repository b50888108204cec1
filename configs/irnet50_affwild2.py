"""IR-50 with global average pooling, from face recognition: Table 5's first row.

Balanced classes, fp16 with a fixed loss scale, warm-up, SGD 1e-3, the official crops at 112x112
pixels: the released code's settings. No stage is frozen; the paper does not say.
Paper: macro-F1 30.78 on the validation set (Table 5), with weights of MS1M.
Time: not run.

    bash tools/dist_train.sh configs/irnet50_affwild2.py 2 --cfg-options checkpoint=IR50.pth
    bash tools/dist_test.sh configs/irnet50_affwild2.py CHECKPOINT 2
"""

_base_ = [
    '_base_/datasets/affwild2_112.py',
    '_base_/models/irnet50.py',
    '_base_/schedules/sgd_8k_released.py',
    '_base_/default_runtime.py',
]

# Weights of an IR-50, face.evoLVe's names: a path or URL. None: from scratch, for trials.
checkpoint = None

train_dataloader = dict(sampler=dict(class_balance=dict(oversample_thr=0.15)))

optim_wrapper = dict(optimizer=dict(lr=1e-3))
