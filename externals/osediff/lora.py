"""Merge low-rank adaptations (LoRA, Hu et al. 2021) into the parameters that they adapt."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gaussians.files.torch_file import tensor_of
from gaussians.stage.errors import InputError

_ALPHA = 8  # what peft divides by the rank where nothing else is asked for
_ADAPTERS = ("encoder", "decoder", "others")


@dataclass(frozen=True)
class Adaptation:
    """An ``Adaptation`` is what osediff.pkl has for one network.

    Attributes:
        tensors: M.lora_A.<adapter>.weight and M.lora_B.<adapter>.weight of each adapted module M, by peft's names;
            M.base_layer.<name> where M itself was trained as well.
        modules: names of the modules that each adapter has matrices for.
        rank: rows of each A.
        path: the file, for messages.
    """

    tensors: Mapping[str, torch.Tensor]
    modules: Mapping[str, list[str]]
    rank: int
    path: Path

    @classmethod
    def published(cls, contents: Mapping[Any, Any], network: str, path: Path) -> "Adaptation":
        """Return what the published pickle holds for "unet" or "vae".

        Raises:
            InputError: it holds nothing of the kind.
        """
        rank, tensors = contents.get(f"rank_{network}"), contents.get(f"state_dict_{network}")
        if not isinstance(rank, int) or rank < 1 or not isinstance(tensors, dict):
            raise InputError(f"{path}: not OSEDiff's adaptation: expected rank_{network} and state_dict_{network}")
        modules = {}
        for adapter in _ADAPTERS:
            listed = contents.get(f"{network}_lora_{adapter}_modules", [])
            if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
                raise InputError(f"{path}: {network}_lora_{adapter}_modules: expected names of layers")
            modules[f"default_{adapter}"] = listed
        return cls({str(name): tensor_of(path, tensors, name) for name in tensors}, modules, rank, path)

    def merged_into(self, base: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return a network's parameters W + alpha / rank B A, in float32 where they change.

        What was trained itself takes the place of the base's. B and A are flattened to matrices.

        Args:
            base: the network's tensors by name.

        Raises:
            InputError: matrices are missing, left over, or of shapes that do not fit.
        """
        merged, left = dict(base), dict(self.tensors)
        for name in [name for name in left if ".base_layer." in name]:
            own = name.replace(".base_layer.", ".")
            if own not in merged or merged[own].shape != left[name].shape:
                raise InputError(f"{self.path}: {name} fits no layer of the network that it adapts")
            merged[own] = left.pop(name)
        for adapter, modules in self.modules.items():
            for module in dict.fromkeys(modules):  # names may come twice
                down = left.pop(f"{module}.lora_A.{adapter}.weight", None)
                up = left.pop(f"{module}.lora_B.{adapter}.weight", None)
                weight = merged.get(f"{module}.weight")
                if down is None or up is None or weight is None:
                    raise InputError(f"{self.path}: no matrices of the adapter {adapter} for a layer {module}")
                merged[f"{module}.weight"] = self._merged(weight, down, up, module)
        if left:
            raise InputError(f"{self.path}: {len(left)} tensors that no adapter uses, such as {next(iter(left))}")
        return merged

    def _merged(self, weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, module: str) -> torch.Tensor:
        down, up = down.flatten(1), up.flatten(1)
        if down.shape != (self.rank, weight[0].numel()) or up.shape != (len(weight), self.rank):
            raise InputError(
                f"{self.path}: matrices of rank {self.rank} for {module} do not fit {tuple(weight.shape)}: "
                f"found {tuple(up.shape)} and {tuple(down.shape)}"
            )
        return weight.float() + _ALPHA / self.rank * (up.float() @ down.float()).reshape(weight.shape)
