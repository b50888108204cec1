"""IR-50 with global average pooling from weights of face recognition: first row of Table 5.

Settings of the released code: balanced classes, fp16 with a fixed loss scale, warm-up, SGD 1e-3,
official crops at 112x112 pixels. No stage is frozen; the paper does not say whether one was.
Paper: macro-F1 30.78 on the validation set, with weights of MS1M. Not run here at full size.

    bash tools/dist_train.sh configs/irnet50_affwild2.py 2 --cfg-options checkpoint=IR50.pth
    bash tools/dist_test.sh configs/irnet50_affwild2.py CHECKPOINT 2
"""

_base_ = [
    '_base_/datasets/affwild2_112.py',
    '_base_/models/irnet50.py',
    '_base_/schedules/sgd_8k_released.py',
    '_base_/default_runtime.py',
]

# Path or URL of IR-50 weights in the names of face.evoLVe. None trains from scratch, for trials.
checkpoint = None

train_dataloader = dict(sampler=dict(class_balance=dict(oversample_thr=0.15)))

optim_wrapper = dict(optimizer=dict(lr=1e-3))
