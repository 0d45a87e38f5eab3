"""Follow objects through pictures with SAM 2.1 (Ravi et al. 2024, arXiv:2408.00714): prompts in, label pictures out.

The network is transformers' ``Sam2VideoModel``. Ours are the names of the published checkpoint, the pictures' and the
prompts' way in, and the label pictures' way out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from externals.checkpoint_files import check_free_memory, load_strictly, read_checkpoint, require
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape

LARGEST_HOLE = 8
"""Pixels, of the network's 256 x 256, of the largest holes in masks that are filled; the published default."""

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours
_FILLED = 0.1  # logit of a filled hole
_ELSEWHERE = "run it on the CPU"
_BATCH = 4  # pictures that a GPU encodes at a time
_ENCODING = 2**30  # bytes that encoding a picture takes, about
_FEATURES = 17 * 2**20  # bytes of a picture's features


@dataclass(frozen=True)
class ObjectPrompt:
    """An ``ObjectPrompt`` shows an object in one of the pictures, in pixels of it.

    Attributes:
        frame: the picture's index.
        points: pixels (u, v) that show the object.
        box: the first and the last pixel (u0, v0, u1, v1) that show it.
    """

    frame: int
    points: tuple[tuple[float, float], ...] = ()
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if not self.points and self.box is None:
            raise ValueError("points: expected at least one, or a box")


@dataclass(frozen=True)
class FrameOutput:
    """A ``FrameOutput`` is what the network finds of one object in one picture.

    Attributes:
        logits: (256, 256), over 0 where the object shows.
        pointer: (256,), the object as later pictures look for it.
        memory: (64, 64, 64), channels first, the picture with the object as later pictures see it.
    """

    logits: Tensor
    pointer: Tensor
    memory: Tensor


class Sam2:
    """A ``Sam2`` tells which object each pixel of several pictures shows, from prompts in any of them."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._side = int(model.image_size)  # of the square that the network sees pictures as, pixels

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: torch.device | str = "cpu") -> "Sam2":
        """Load SAM 2.1 of any size, which is told from the shapes of its tensors.

        Args:
            path: the published .pt file, or a folder with the weights that the hub has converted for transformers.

        Raises:
            InputError: transformers is not installed, or the file is missing, damaged, or another model's.
        """
        library = require("transformers")
        tensors = read_checkpoint(path, None if Path(path).is_dir() or Path(path).suffix == ".safetensors" else "model")
        if any(name.startswith("image_encoder.trunk.") for name in tensors):
            tensors = library_names(tensors)
        with require("transformers.initialization").no_init_weights():
            model = library.Sam2VideoModel(size_of(tensors, path).settings())
        load_strictly(model, tensors, path, what="SAM 2.1")
        device = torch.device(device)
        needed = sum(tensor.nbytes for tensor in model.state_dict().values())
        check_free_memory(device, needed, "SAM 2.1", f"take a smaller size of it, or {_ELSEWHERE}")
        return cls(model.to(device), device)

    def segment(self, frames: Tensor, prompts: Sequence[ObjectPrompt], largest_hole: int = LARGEST_HOLE) -> Tensor:
        """Return which object each pixel shows: (N, H, W) uint8, 0 for none, 1 to K in the prompts' order.

        Where several objects have logits over 0, the largest counts.

        Args:
            frames: (N, H, W, 3) uint8, RGB, pictures that follow each other.
            prompts: K objects, 255 at most.
            largest_hole: see ``LARGEST_HOLE``; 0 fills none.

        Raises:
            InputError: the GPU has too little memory.
        """
        logits = self.logits(frames, prompts)
        height, width = frames.shape[1:3]
        return torch.stack([label_picture(fill_holes(frame, largest_hole), height, width) for frame in logits])

    def logits(self, frames: Tensor, prompts: Sequence[ObjectPrompt]) -> Tensor:
        """Return (N, K, 256, 256) float32 logits, over 0 where an object shows; arguments as of ``segment``."""
        features = self.encode(frames)
        height, width = frames.shape[1:3]
        followed = [self.follow(features, prompt, (width, height)) for prompt in prompts]
        return torch.stack([torch.stack([output.logits for output in outputs]) for outputs in followed], dim=1)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> "Features":
        """Return the features of pictures (N, H, W, 3) uint8, which all objects share.

        Raises:
            InputError: the GPU has too little memory.
        """
        check_shape("frames", frames, "N", "H", "W", 3)
        if frames.dtype != torch.uint8 or not len(frames):
            raise ValueError(f"frames: expected at least one, uint8, found {len(frames)} of {frames.dtype}")
        batch = _BATCH if self._device.type == "cuda" else 1
        needed = _ENCODING * min(batch, len(frames)) + _FEATURES * len(frames)
        what = f"SAM 2.1 with {len(frames)} pictures"
        check_free_memory(self._device, needed, what, f"take fewer pictures, or {_ELSEWHERE}")
        levels: list[list[Tensor]] = []
        positions: list[Tensor] = []
        for first in range(0, len(frames), batch):
            pixels = torch.stack([_pixels(frame, self._side) for frame in frames[first : first + batch]])
            found = self._model.get_image_features(pixels.to(self._device), return_dict=True)
            # Levels are (H W, N, C): one picture's with an axis of one in the middle.
            levels += [[level[:, row : row + 1] for level in found.fpn_hidden_states] for row in range(len(pixels))]
            positions = positions or [encoding[:, :1].clone() for encoding in found.fpn_position_encoding]
        return Features(levels, positions)

    @torch.inference_mode()
    def follow(self, features: "Features", prompt: ObjectPrompt, size: tuple[int, int]) -> list[FrameOutput]:
        """Follow one object from the picture of its prompt to the last and to the first.

        Args:
            size: width and height of the pictures, pixels.
        """
        count = len(features.levels)
        if not 0 <= prompt.frame < count:
            raise ValueError(f"prompts: frame {prompt.frame}: expected one of {count}")
        # Frames without pixels, since the session finds their features in its cache.
        session = require("transformers").Sam2VideoInferenceSession(
            torch.empty(count, 0),
            *size[::-1],
            inference_device=self._device,
            inference_state_device=self._device,
            dtype=torch.float32,
        )
        session.cache = features
        index = session.obj_id_to_idx(1)
        session.add_point_inputs(index, prompt.frame, _clicks(prompt, size, self._side))
        session.obj_with_new_inputs = [1]
        for reverse in (False, True):
            for _ in self._model.propagate_in_video_iterator(session, start_frame_idx=prompt.frame, reverse=reverse):
                pass  # the session holds what is found
        found = session.output_dict_per_obj[index]
        frames = found["cond_frame_outputs"] | found["non_cond_frame_outputs"]
        return [_output(frames[frame]) for frame in range(count)]


class Features:
    """A ``Features`` holds what the image encoder finds in pictures, in the place of an inference session's cache.

    Attributes:
        levels: for each picture its levels, fine to coarse, (H W, 1, C).
        positions: the levels' encodings of positions, which all pictures share.
    """

    def __init__(self, levels: list[list[Tensor]], positions: list[Tensor]) -> None:
        self.levels = levels
        self.positions = positions

    def get_vision_features(self, frame_idx: int) -> dict[str, list[Tensor]]:
        """Return a picture's features, as ``Sam2VideoModel`` asks for them."""
        return {"vision_feats": self.levels[frame_idx], "vision_pos_embeds": self.positions}


def fill_holes(logits: Tensor, largest: int) -> Tensor:
    """Return logits (K, h, w) with small holes in the masks filled, as the published predictor does on a GPU.

    Args:
        largest: pixels of the largest holes (of 8-connected pixels that do not show the object) that are filled.
    """
    if largest <= 0:
        return logits
    from scipy.ndimage import label

    around = np.ones((3, 3), bool)
    filled = logits.clone()
    for mask in filled:
        parts, _ = label((mask <= 0).cpu().numpy(), around)
        small = np.bincount(parts.ravel()) <= largest
        small[0] = False  # the mask itself
        mask[torch.from_numpy(small[parts]).to(mask.device)] = _FILLED
    return filled


def label_picture(logits: Tensor, height: int, width: int) -> Tensor:
    """Return the label picture (height, width) uint8 of K objects' logits (K, h, w): the largest over 0 counts."""
    scaled = interpolate(logits[None], (height, width), mode="bilinear", align_corners=False)[0]
    most, which = scaled.max(dim=0)
    return torch.where(most > 0, which + 1, 0).to(torch.uint8)


def _pixels(frame: Tensor, side: int) -> Tensor:
    """Return a picture (H, W, 3) uint8 as the network sees it, (3, side, side)."""
    from PIL import Image

    picture = Image.fromarray(frame.cpu().numpy()).resize((side, side), Image.Resampling.BICUBIC)
    colors = torch.from_numpy(np.array(picture)).float() / 255
    return ((colors - torch.tensor(_MEAN)) / torch.tensor(_DEVIATION)).movedim(-1, 0)


def _clicks(prompt: ObjectPrompt, size: tuple[int, int], side: int) -> dict[str, Tensor]:
    """Return a prompt as the network takes it; a box is two points of kinds of their own, 2 and 3."""
    points, kinds = list(prompt.points), [1] * len(prompt.points)
    if prompt.box is not None:
        u0, v0, u1, v1 = prompt.box
        points, kinds = [(u0, v0), (u1, v1), *points], [2, 3, *kinds]
    scale = torch.tensor([side / size[0], side / size[1]])
    coords = torch.tensor(points, dtype=torch.float32) * scale
    return {"point_coords": coords[None, None], "point_labels": torch.tensor(kinds, dtype=torch.int32)[None, None]}


def _output(found: Mapping[str, Tensor]) -> FrameOutput:
    memory = found["maskmem_features"][:, 0].float()
    side = round(memory.shape[0] ** 0.5)
    return FrameOutput(
        found["pred_masks"][0, 0].float(), found["object_pointer"].reshape(-1), memory.T.reshape(-1, side, side)
    )


@dataclass(frozen=True)
class Size:
    """A ``Size`` is one of the sizes of SAM 2.1.

    Attributes:
        width: channels of the first blocks of the image encoder; each stage has twice those of the one before.
        heads: their attention heads, doubled likewise.
        blocks: of each stage.
        global_blocks: those that attend to the whole picture.
        windows: pixels of a side of what the others attend to, in each stage.
        background: the sides of the grid of positions that all windows share.
    """

    width: int
    heads: int
    blocks: tuple[int, int, int, int]
    global_blocks: tuple[int, int, int]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    background: tuple[int, int] = (7, 7)

    def settings(self, side: int = 1024) -> Any:
        """Return the settings of ``Sam2VideoModel``.

        Args:
            side: of the square that the network sees pictures as, pixels.

        Raises:
            InputError: transformers is not installed.
        """
        library = require("transformers")
        widths = [self.width << stage for stage in range(4)]
        backbone = library.Sam2HieraDetConfig(
            hidden_size=self.width,
            num_attention_heads=self.heads,
            image_size=[side, side],
            embed_dim_per_stage=widths,
            num_attention_heads_per_stage=[self.heads << stage for stage in range(4)],
            blocks_per_stage=list(self.blocks),
            global_attention_blocks=list(self.global_blocks),
            window_size_per_stage=list(self.windows),
            window_positional_embedding_background_size=list(self.background),
        )
        return library.Sam2VideoConfig(
            vision_config=library.Sam2VisionConfig(
                backbone_config=backbone,
                backbone_channel_list=widths[::-1],
                backbone_feature_sizes=[[side // stride, side // stride] for stride in (4, 8, 16)],
            ),
            prompt_encoder_config={"image_size": side},
            image_size=side,
            memory_attention_rope_feat_sizes=[side // 16, side // 16],
        )


SIZES = {
    "tiny": Size(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "small": Size(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "base_plus": Size(112, 2, (2, 3, 16, 3), (12, 16, 20), background=(14, 14)),
    "large": Size(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8)),
}
"""The sizes of SAM 2.1, by their published names."""


def size_of(tensors: Mapping[str, Tensor], path: str | Path) -> Size:
    """Return the size of the network whose tensors these are, by the library's names.

    Raises:
        InputError: no size of SAM 2.1 has such tensors.
    """
    backbone = "vision_encoder.backbone"
    patches = tensors.get(f"{backbone}.patch_embed.projection.weight")
    blocks = len({match[1] for name in tensors if (match := re.match(rf"{backbone}\.blocks\.(\d+)\.", name))})
    for size in SIZES.values():
        if patches is not None and patches.shape[0] == size.width and blocks == sum(size.blocks):
            return size
    raise InputError(f"{path}: not a checkpoint of SAM 2.1: no size of it has {blocks} blocks of such a width")


# What the published names become, each pattern in turn. Heads of three layers come before those of two.
_RENAMED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
        (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
        (r"^image_encoder\.", "vision_encoder."),
        (r"patch_embed\.proj\.", "patch_embed.projection."),
        (r"^sam_prompt_encoder\.", "prompt_encoder."),
        (r"^sam_mask_decoder\.", "mask_decoder."),
        (r"pe_layer\.positional_encoding_gaussian_matrix$", "shared_embedding.positional_embedding"),
        (r"mask_downscaling\.0\.", "mask_embed.conv1."),
        (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
        (r"mask_downscaling\.3\.", "mask_embed.conv2."),
        (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
        (r"mask_downscaling\.6\.", "mask_embed.conv3."),
        (r"output_upscaling\.0\.", "upscale_conv1."),
        (r"output_upscaling\.1\.", "upscale_layer_norm."),
        (r"output_upscaling\.3\.", "upscale_conv2."),
        (r"^obj_ptr_proj\.", "object_pointer_proj."),
        (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
        (r"(head|mlps\.\d+|pointer_proj)\.layers\.0\.", r"\1.proj_in."),
        (r"(head|mlps\.\d+|pointer_proj)\.layers\.1\.", r"\1.layers.0."),
        (r"(head|mlps\.\d+|pointer_proj)\.layers\.2\.", r"\1.proj_out."),
        (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
        (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
        (r"mask_downsampler\.encoder\.12\.", "mask_downsampler.final_conv."),
        (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
        (r"\.out_proj\.", ".o_proj."),
        (r"\.norm(\d*|_final_attn)\.", r".layer_norm\1."),
        (r"\.fuser\.", ".memory_fuser."),
        (r"\.dwconv\.", ".depthwise_conv."),
        (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
        (r"\.pix_feat_proj\.", ".feature_projection."),
        (r"\.gamma$", ".scale"),
        (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
        (r"^no_mem_embed$", "no_memory_embedding"),
        (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
        (r"^no_obj_ptr$", "no_object_pointer"),
        (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    )
)
_DOWNSAMPLER = re.compile(r"mask_downsampler\.encoder\.(\d+)\.")
_POINTS = re.compile(r"^sam_prompt_encoder\.point_embeddings\.\d+\.weight$")


def library_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the published checkpoint by the names of ``Sam2VideoModel``.

    The kinds of points become rows of one tensor, and the frequencies of positions serve pictures, too.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not _POINTS.match(name):
            for pattern, replacement in _RENAMED:
                name = pattern.sub(replacement, name)
            named[_DOWNSAMPLER.sub(_downsampler_layer, name)] = tensor
    points = [tensor for name, tensor in sorted(tensors.items()) if _POINTS.match(name)]
    if points:
        named["prompt_encoder.point_embed.weight"] = torch.cat(points)
    if (frequencies := named.get("prompt_encoder.shared_embedding.positional_embedding")) is not None:
        named["shared_image_embedding.positional_embedding"] = frequencies
    return named


def _downsampler_layer(match: re.Match[str]) -> str:
    """Return the name of one of the convolutions, norms and activations that follow each other in threes."""
    layer, kind = divmod(int(match[1]), 3)
    return f"mask_downsampler.layers.{layer}.{'layer_norm' if kind else 'conv'}."
