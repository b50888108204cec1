"""The model of res18_srp.py as mmpretrain's own classifier, for plain mmpretrain."""

_base_ = ['res18_srp.py']

model = dict(type='ImageClassifier')

efficient_conv_bn_eval = None
