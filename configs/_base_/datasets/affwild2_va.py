"""Valence and arousal of Aff-Wild2 as frame batches, with the crops of affwild2_fast.py."""

_base_ = ['affwild2_fast.py']

task = 'va'
annotations = 'annotations/VA_Estimation_Challenge'
train_dataloader = dict(dataset=dict(task=task, ann_file=f'{annotations}/Train_Set'))
val_dataloader = dict(dataset=dict(task=task, ann_file=f'{annotations}/Validation_Set'))
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='CCC')
test_evaluator = val_evaluator
