"""Boxes in pixels become boxes in shares of the input, inside an ONNX graph. State: one thread.

In an int8 file one output tensor has one scale. With boxes up to 640 its smallest step is 2.5, so that a score between
0 and 1 cannot be told from 0; with boxes up to 1 it is 1 / 255. The factor goes as far up the graph as it can: past the
joining of boxes and scores, and past the multiplication by the strides, before which one step of an int8 tensor would
be a third of a cell, ten pixels in the coarsest grid.
"""

from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array: TypeAlias = NDArray[np.float32]


class Scaling:
    """Puts factors into one graph, whose shapes are all known. What is not used any more stays in it."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._makers = {name: node for node in graph.node for name in node.output}
        self._constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        known = (*graph.value_info, *graph.input, *graph.output)
        self._shapes = {each.name: tuple(d.dim_value for d in each.type.tensor_type.shape.dim) for each in known}
        self._shapes.update((name, value.shape) for name, value in self._constants.items())
        self._added: list[onnx.NodeProto] = []
        self.mixed = False
        """Whether numbers of different units stood in one tensor before they could be told apart."""

    def apply(self, output: str, factor: Array) -> None:
        """Multiply the graph's `output` by `factor`, which has its rank, with 1 where it does not vary."""
        maker = self._makers[output]
        inputs = self._pushed(maker, output, factor)
        if inputs is None:
            raise ValueError(f"{output} is made by {maker.op_type}, which takes no factor")
        del maker.input[:]
        maker.input.extend(inputs)
        self._settle()

    def _scaled(self, name: str, factor: Array) -> str:
        """A tensor that is `name` times `factor`."""
        if np.all(factor == 1):
            return name
        if name in self._constants:
            return self._constant(np.asarray(self._constants[name] * factor, dtype=np.float32))
        maker = self._makers.get(name)
        if maker is not None:
            if maker.op_type in {"Mul", "Div"} and (found := self._absorbed(maker, factor)):
                return found
            inputs = self._pushed(maker, name, factor)
            if inputs is not None:
                return self._node(maker.op_type, inputs, maker)
        self.mixed |= bool(np.any(factor == 1))
        return self._node("Mul", [name, self._constant(factor)])

    def _absorbed(self, maker: onnx.NodeProto, factor: Array) -> str | None:
        """x * constant * factor as x * (one constant); None where neither side is one."""
        left, right = maker.input
        if right in self._constants:
            constant = self._constants[right]
            whole = factor * constant if maker.op_type == "Mul" else factor / constant
            return self._scaled(left, self._aligned(left, whole))
        if left in self._constants and maker.op_type == "Mul":
            return self._scaled(right, self._aligned(right, factor * self._constants[left]))
        return None

    def _aligned(self, name: str, factor: Array) -> Array:
        """`factor` with the rank of the tensor `name`."""
        rank = len(self._shapes[name])
        return np.asarray(factor, dtype=np.float32).reshape((1,) * (rank - factor.ndim) + factor.shape)

    def _pushed(self, maker: onnx.NodeProto, name: str, factor: Array) -> list[str] | None:
        """The inputs with which `maker` gives `name` times `factor`; None: it is not linear, or mixes its inputs."""
        if maker.op_type in {"Add", "Sub"}:
            shape = self._shapes[name]
            if all(self._shapes[each] == shape or each in self._constants for each in maker.input):
                return [self._scaled(each, factor) for each in maker.input]
        if maker.op_type == "Concat":
            return self._parts(maker, name, factor)
        if maker.op_type == "Reshape":
            return self._unfolded(maker, name, factor)
        if maker.op_type == "Transpose":
            return [self._scaled(maker.input[0], factor.transpose(np.argsort(_attribute(maker, "perm"))))]
        if maker.op_type == "Conv" and all(each in self._constants for each in maker.input[1:]):
            return self._weighted(maker, factor)
        return None

    def _parts(self, maker: onnx.NodeProto, name: str, factor: Array) -> list[str]:
        axis = _attribute(maker, "axis") % len(self._shapes[name])
        if factor.shape[axis] == 1:
            return [self._scaled(each, factor) for each in maker.input]
        ends = np.cumsum([self._shapes[each][axis] for each in maker.input])[:-1]
        parts = np.split(factor, ends, axis)
        return [self._scaled(each, part) for each, part in zip(maker.input, parts, strict=True)]

    def _unfolded(self, maker: onnx.NodeProto, name: str, factor: Array) -> list[str] | None:
        """Through a reshape of (1, n, m, anchors) to (1, n * m, anchors), or (1, n, h, w) to (1, n, h * w)."""
        before, after = self._shapes[maker.input[0]], self._shapes[name]
        if len(before) != 4 or len(after) != 3 or factor.shape != (1, after[1], 1):  # noqa: PLR2004 - as above
            return None
        if before[-1] == after[-1] and after[1] == before[1] * before[2]:
            inside = factor.reshape(1, before[1], before[2], 1)
        elif before[1] == after[1]:
            inside = factor[..., None]
        else:
            return None
        return [self._scaled(maker.input[0], inside), maker.input[1]]

    def _weighted(self, maker: onnx.NodeProto, factor: Array) -> list[str] | None:
        """Into the weights of a convolution, where each channel has one factor."""
        if factor.shape != (1, factor.shape[1], 1, 1):
            return None
        each = factor.reshape(-1)
        weights, *bias = maker.input[1:]
        scaled = [np.asarray(self._constants[weights] * each.reshape(-1, 1, 1, 1), dtype=np.float32)]
        scaled += [np.asarray(self._constants[name] * each, dtype=np.float32) for name in bias]
        return [maker.input[0], *(self._constant(value) for value in scaled)]

    def _constant(self, value: Array) -> str:
        name = f"scaling_{len(self._constants)}"
        self._constants[name] = value
        self._shapes[name] = value.shape
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _node(self, operation: str, inputs: list[str], like: onnx.NodeProto | None = None) -> str:
        """A new node; `like`: the one it stands in for, whose attributes it takes."""
        name = f"scaling_node_{len(self._added)}"
        node = helper.make_node(operation, inputs, [name], name=name)
        if like is not None:
            node.attribute.extend(like.attribute)
        self._added.append(node)
        return name

    def _settle(self) -> None:
        """Put the new nodes among the old, each behind what it needs."""
        waiting = [*self._graph.node, *self._added]
        ready = {*self._constants, "", *(each.name for each in self._graph.input)}
        del self._graph.node[:]
        while waiting:
            late = []
            for node in waiting:
                if ready.issuperset(node.input):
                    self._graph.node.append(node)
                    ready.update(node.output)
                else:
                    late.append(node)
            if len(late) == len(waiting):
                raise ValueError("the graph has a loop")
            waiting = late


def _attribute(node: onnx.NodeProto, name: str) -> Any:  # noqa: ANN401 - as the file has it
    return next(helper.get_attribute_value(each) for each in node.attribute if each.name == name)
