"""The multi-task set s-Aff-Wild2 as windows over features, those of affwild2_features.py."""

_base_ = ['affwild2_features.py']

task = 'mtl'
annotations = 'annotations/MTL_Challenge'
train_dataloader = dict(
    dataset=dict(task=task, ann_file=f'{annotations}/training_set_annotations.txt')
)
val_dataloader = dict(
    dataset=dict(task=task, ann_file=f'{annotations}/validation_set_annotations.txt')
)
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='MultiTaskScore')
test_evaluator = val_evaluator
