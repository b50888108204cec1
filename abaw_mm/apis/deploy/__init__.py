"""Export networks to ONNX, and score with exported ones."""
