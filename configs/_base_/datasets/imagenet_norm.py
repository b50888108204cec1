"""Mean and standard deviation of ImageNet, per RGB channel in grey values of 0-255.

The weights that training starts from expect images normalised with them.
"""

data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
