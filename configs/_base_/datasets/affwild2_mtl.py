"""The multi-task set s-Aff-Wild2 as frame batches; crops and sizes are those of affwild2_fast.py.

The set lists every 2nd to 40th frame of a clip already, so all its rows are drawn.
"""

_base_ = ['affwild2_fast.py']

task = 'mtl'
annotations = 'annotations/MTL_Challenge'
train_dataloader = dict(
    sampler=dict(stride=1),
    dataset=dict(task=task, ann_file=f'{annotations}/training_set_annotations.txt'),
)
val_dataloader = dict(
    dataset=dict(task=task, ann_file=f'{annotations}/validation_set_annotations.txt')
)
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='MultiTaskScore')
test_evaluator = val_evaluator
