"""APViT from weights of RAF-DB: third row of Table 5.

As apvit_affwild2.py, but `checkpoint` is a whole APViT trained on the expressions of RAF-DB, such
as the released classifier; its head for seven classes is left out.
Paper: macro-F1 35.63 on the validation set. Not run here at full size.

    bash tools/dist_train.sh configs/apvit_rafdb_affwild2.py 2 --cfg-options checkpoint=APViT.pth
    bash tools/dist_test.sh configs/apvit_rafdb_affwild2.py CHECKPOINT 2
"""

_base_ = ['apvit_affwild2.py']

# Path or URL of APViT weights. None trains from scratch, for trials.
checkpoint = None

default_hooks = dict(pretrained_backbone=dict(module='backbone'))
