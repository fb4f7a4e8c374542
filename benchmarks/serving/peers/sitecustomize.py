"""Declare two operators before torchvision is imported, for `.venv-peers`.

torchvision's wheel is built for CUDA, and fails to import beside a CPU torch for want of these
operators. Once declared they are there, and never called.
"""

import importlib.abc
import sys


class _Declare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch  # noqa: PLC0415

            library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                library.define(
                    f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor"
                )
            torch._luvc_declared = library  # or the declarations go with it
        return None


sys.meta_path.insert(0, _Declare())
