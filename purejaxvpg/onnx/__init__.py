"""ONNX: a jax function of a batch as a program that onnxruntime runs without jax.

translate    the walk over a function's operations
elementwise  operations on each number
shapes       operations that move numbers: reshape, slice, gather, pad, ...
products     operations that combine numbers: products, convolutions, sums, windows
graph        the ONNX graph as it grows

Only this folder writes ONNX.  It needs the library `onnx`, of the extra `onnx`.
"""

from purejaxvpg.onnx.graph import Untranslatable
from purejaxvpg.onnx.translate import to_onnx

__all__ = ["Untranslatable", "to_onnx"]
