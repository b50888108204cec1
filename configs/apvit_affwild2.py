"""APViT from weights of face recognition: second row of Table 5.

Settings of the released code: balanced classes, fp16 with a fixed loss scale, warm-up, SGD 1e-3,
official crops at 112x112 pixels, nothing frozen. `checkpoint` fills the convolutional half. The
paper does not say what the transformer starts from; here it is random, so it must be trained
(frozen_stages up to 3) unless it gets weights of its own, see docs/checkpoints.md.
Paper: macro-F1 35.48 on the validation set, with weights of MS1M. Not run here at full size.

    bash tools/dist_train.sh configs/apvit_affwild2.py 2 --cfg-options checkpoint=IR50.pth
    bash tools/dist_test.sh configs/apvit_affwild2.py CHECKPOINT 2
"""

_base_ = [
    '_base_/datasets/affwild2_112.py',
    '_base_/models/apvit.py',
    '_base_/schedules/sgd_8k_released.py',
    '_base_/default_runtime.py',
]

# Path or URL of IR-50 weights in the names of face.evoLVe. None trains from scratch, for trials.
checkpoint = None

train_dataloader = dict(sampler=dict(class_balance=dict(oversample_thr=0.15)))

optim_wrapper = dict(optimizer=dict(lr=1e-3))

default_hooks = dict(pretrained_backbone=dict(module='backbone.extractor'))
