"""APViT from RAF-DB: Table 5's third row.

As apvit_affwild2.py, but `checkpoint` is a whole APViT that was trained on RAF-DB's expressions,
the released classifier as it is; its head for seven classes is left out.
Paper: macro-F1 35.63 on the validation set (Table 5).
Time: not run.

    bash tools/dist_train.sh configs/apvit_rafdb_affwild2.py 2 --cfg-options checkpoint=APViT.pth
    bash tools/dist_test.sh configs/apvit_rafdb_affwild2.py CHECKPOINT 2
"""

_base_ = ['apvit_affwild2.py']

# Weights of an APViT: a path or URL. None: from scratch, for trials.
checkpoint = None

default_hooks = dict(pretrained_backbone=dict(module='backbone'))
