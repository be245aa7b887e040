"""Models for engines other than onnxruntime, models in int8, and checking models.

program    a program of torch.export
openvino   a model of OpenVINO, made from the ONNX model
quantise   an ONNX model in int8
check      whether a model computes what the emitted module does
"""
