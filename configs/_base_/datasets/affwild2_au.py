"""Action units of Aff-Wild2 as frame batches; crops and sizes are those of affwild2_fast.py."""

_base_ = ['affwild2_fast.py']

task = 'au'
annotations = 'annotations/AU_Detection_Challenge'
train_dataloader = dict(dataset=dict(task=task, ann_file=f'{annotations}/Train_Set'))
val_dataloader = dict(dataset=dict(task=task, ann_file=f'{annotations}/Validation_Set'))
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='ActionUnitF1')
test_evaluator = val_evaluator
