"""The ONNX graph as it grows: nodes, constants, and shapes with the batch in them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.extras import require

OPSET = 18  # the first in which every reduction takes its axes as an input; of ONNX 1.13, 2022
IR_VERSION = 8  # of the same release


class Untranslatable(ValueError):
    """An operation, or a form of one, that has no translation."""


class Tensor(NamedTuple):
    """An array of the graph.  Each of its sizes is an integer or a multiple of the batch B."""

    name: str
    shape: tuple[Any, ...]
    dtype: Any  # numpy's


class Graph:
    """Nodes in the order that they are computed in, and constants."""

    def __init__(self, batch: Any):
        """Args: batch: B, as jax writes it in shapes."""
        self.onnx: Any = require("onnx", "onnx")
        self.batch = batch
        self.inputs: list[Tensor] = []
        self._nodes: list[Any] = []
        self._constants: dict[tuple, tuple[str, np.ndarray]] = {}
        self._rows = ""
        self._number = 0

    def input(self, name: str, shape: tuple[Any, ...], dtype: Any) -> Tensor:
        """An input of the program."""
        self.inputs.append(Tensor(name, shape, np.dtype(dtype)))
        return self.inputs[-1]

    def add(self, operation: str, *inputs: str, number: int = 1, **attributes: Any) -> Any:
        """Add a node.  Returns: the name of its result; a list of names if `number` is given."""
        names = [self._new(operation) for _ in range(number)]
        self._nodes.append(
            self.onnx.helper.make_node(operation, list(inputs), names, names[0], **attributes)
        )
        return names[0] if number == 1 else names

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of a constant; equal ones are one."""
        array = np.asarray(value, dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._new("constant"), array
        return self._constants[key][0]

    def integers(self, values: Sequence[Any]) -> str:
        """A constant `[n]` of int64, as ONNX takes axes and sizes."""
        return self.constant([int(value) for value in values], np.int64)

    def cast(self, name: str, dtype: Any) -> str:
        """The array in another type."""
        return self.add("Cast", name, to=self.type_of(dtype))

    def type_of(self, dtype: Any) -> int:
        """ONNX's number of a type.  Raises: Untranslatable."""
        try:
            return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        except (TypeError, KeyError, ValueError):
            raise Untranslatable(f"arrays of {dtype}") from None

    def times_batch(self, size: Any) -> int | None:
        """k of a size of k B; None for an integer.  Raises: Untranslatable for any other size."""
        if isinstance(size, int | np.integer):
            return None
        factor = size // self.batch
        if not isinstance(factor, int) or factor * self.batch != size:
            raise Untranslatable(f"arrays of size {size}, which is no multiple of the batch")
        return factor

    def shape(self, sizes: Sequence[Any]) -> str:
        """The name of an int64 array `[n]` of these sizes."""
        factors = [self.times_batch(size) for size in sizes]
        if all(factor is None for factor in factors):
            return self.integers(sizes)
        each = [
            self.integers([size])
            if factor is None
            else self.rows()
            if factor == 1
            else self.add("Mul", self.rows(), self.integers([factor]))
            for size, factor in zip(sizes, factors, strict=True)
        ]
        return each[0] if len(each) == 1 else self.add("Concat", *each, axis=0)

    def rows(self) -> str:
        """B as an int64 array `[1]`."""
        if not self._rows:
            self._rows = self.add("Shape", self.inputs[0].name, start=0, end=1)
        return self._rows

    def reshape(self, name: str, sizes: Sequence[Any]) -> str:
        """The array in another shape."""
        symbols = [self.times_batch(size) is not None for size in sizes]
        static = [1 if symbol else size for size, symbol in zip(sizes, symbols, strict=True)]
        if sum(symbols) == 1 and math.prod(static):  # the one that the others leave
            return self.add(
                "Reshape", name, self.integers(np.where(symbols, -1, static).astype(int).tolist())
            )
        return self.add("Reshape", name, self.shape(sizes))

    def transpose(self, name: str, order: Sequence[int]) -> str:
        """The array with its axes in another order."""
        order = [int(axis) for axis in order]
        if order == sorted(order):
            return name
        return self.add("Transpose", name, perm=order)

    def finish(self, outputs: dict[str, Tensor], doc: str, metadata: dict[str, str]) -> bytes:
        """The program, less whatever no output needs.  outputs: by the name that each is to have.

        Raises: ValueError of `onnx.checker` for a program that is none: a fault of this package.
        """
        helper, onnx = self.onnx.helper, self.onnx
        for name, x in outputs.items():
            self._nodes.append(helper.make_node("Identity", [x.name], [name], name))
        needed, nodes = set(outputs), []
        for node in reversed(self._nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                nodes.append(node)
        constants = [
            onnx.numpy_helper.from_array(array, name)
            for name, array in self._constants.values()
            if name in needed
        ]
        described = [
            [self._described(name, x) for name, x in pairs]
            for pairs in ([(x.name, x) for x in self.inputs], outputs.items())
        ]
        graph = helper.make_graph(nodes[::-1], "policy", *described, constants)
        versions = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=versions, producer_name="purejaxvpg")
        model.ir_version, model.doc_string = IR_VERSION, doc
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()

    def _described(self, name: str, x: Tensor) -> Any:
        sizes = [
            size
            if (factor := self.times_batch(size)) is None
            else "B"
            if factor == 1
            else f"{factor}B"
            for size in x.shape
        ]
        return self.onnx.helper.make_tensor_value_info(name, self.type_of(x.dtype), sizes)

    def _new(self, operation: str) -> str:
        self._number += 1
        return f"{operation.lower()}_{self._number}"
