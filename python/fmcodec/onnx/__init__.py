"""fmcodec for ONNX: code the tensors of a model that onnxruntime runs, and calibrate or search policies for it."""

from fmcodec.onnx.graph import MapTensor, feature_maps
from fmcodec.onnx.module import OnnxModule
from fmcodec.onnx.session import CompressedSession

__all__ = ["CompressedSession", "MapTensor", "OnnxModule", "feature_maps"]
