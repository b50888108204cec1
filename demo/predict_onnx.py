"""Predict the expressions of face crops with an exported network, without torch and this package.

    python predict_onnx.py res18.onnx crop.jpg ...

Needs onnxruntime, NumPy and Pillow. Crops are aligned faces, such as those of Aff-Wild2.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

network, paths = onnxruntime.InferenceSession(sys.argv[1]), sys.argv[2:]
classes = json.loads(network.get_modelmeta().custom_metadata_map['classes'])
side = network.get_inputs()[0].shape[1]
crops = np.stack([Image.open(path).convert('RGB').resize((side, side)) for path in paths])
(scores,) = network.run(['pred_score'], {'crops': crops})
for path, score in zip(paths, scores, strict=True):
    print(path, classes[score.argmax()], f'{score.max():.4f}')
