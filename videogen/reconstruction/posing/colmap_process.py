"""Run COLMAP on a folder of pictures, as a process of its own that can be killed at any moment.

    python colmap_process.py FOLDER exhaustive|sequential THREADS

Reads FOLDER/images, and writes FOLDER/summary.json and the largest model to FOLDER/best. On standard output a line says
when the next step begins, and one that a picture was placed. COLMAP's library holds up signals while it computes, takes
over that of SIGTERM, and ends the process where it fails: whoever imports it has to live with that.
"""

import json
import sys
from pathlib import Path
from typing import Any

_SEED = 0
_FEWEST = 3  # pictures of a model
_MOST_FEATURES = 4096  # in a picture
_MOST_ERROR = 2.0  # pixels between where a point is seen and where it should be; worse ones are left out


def main() -> None:
    import pycolmap

    folder, pairing, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.FATAL)
    pycolmap.set_random_seed(_SEED)
    _say("find features")
    models = _models(pycolmap, folder, pairing, threads)
    summary = {"images": [model.num_reg_images() for model in models], "error": None}
    if models:
        best = max(models, key=lambda model: (model.num_reg_images(), model.num_points3D()))
        best.update_point_3d_errors()
        for number in [number for number, point in best.points3D.items() if not point.error <= _MOST_ERROR]:
            best.delete_point3D(number)
        summary["error"] = best.compute_mean_reprojection_error()
        (folder / "best").mkdir()
        best.write_binary(folder / "best")
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


def _models(colmap: Any, folder: Path, pairing: str, threads: int) -> list[Any]:
    """Return COLMAP's models, each of some of the pictures; none where nothing fits."""
    images, database, models = folder / "images", folder / "database.db", folder / "models"
    models.mkdir()
    # Threads finish in any order: the pictures get their numbers before.
    colmap.Database.open(database).close()  # makes it
    reader = colmap.ImageReaderOptions(camera_model="SIMPLE_RADIAL")
    colmap.import_images(database, images, camera_mode=colmap.CameraMode.SINGLE, options=reader)
    extraction = colmap.FeatureExtractionOptions(num_threads=threads, use_gpu=False)
    extraction.sift.max_num_features = _MOST_FEATURES
    colmap.extract_features(database, images, extraction_options=extraction)
    _say("compare pictures")
    verification = colmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = _SEED
    match = colmap.match_sequential if pairing == "sequential" else colmap.match_exhaustive
    matching = colmap.FeatureMatchingOptions(num_threads=threads, use_gpu=False)
    match(database, matching_options=matching, verification_options=verification)
    _say("place cameras")
    # Sums in the order of threads would differ from run to run.
    options = colmap.IncrementalPipelineOptions(num_threads=1, random_seed=_SEED, min_model_size=_FEWEST)
    placed = colmap.incremental_mapping(
        database, images, models, options, next_image_callback=lambda: _say("placed a picture")
    )
    return list(placed.values())


def _say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main()
