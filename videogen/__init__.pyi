from .motion.dense_motion import DenseMotion
from .motion.scene_motion import AssumedMaterials, choose_materials, predict, predict_motion

__all__ = ["AssumedMaterials", "DenseMotion", "choose_materials", "predict", "predict_motion"]
