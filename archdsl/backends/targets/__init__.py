"""Networks as models for engines other than onnxruntime, or in int8; and their check.

program    a program of torch.export
openvino   a model of OpenVINO, made from the ONNX model
quantise   an ONNX model in int8
check      whether a model computes what the emitted module does
"""
