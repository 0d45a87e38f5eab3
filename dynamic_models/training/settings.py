"""Define the settings of the training command."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dynamic_models.models.building_blocks.integration import OdeMethod


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """A ``TrainSettings`` holds the settings of ``dynamic_models.train``, named as its flags.

    Attributes:
        data_root: root of the dataset.
        groups: groups to train on; None: 3_0 to 3_8, or all that exist if none of these does.
        val_groups: groups to validate on; None: none.
        sample_num: scenes taken of every group.
        cache: directory for extracted keypoints; None: ``<data_root>/keypoints``.
        output: checkpoint directory.
        resume: go on with the training in ``output``, or start anew.
        pretrained: checkpoint whose weights and network sizes the training begins with; None: random weights.
        seed: seed of weights, windows and their order.
        dynamic_model: name of the model.
        num_keypoints: keypoints of every object.
        hidden_dim: width of the networks.
        num_layers: depth of the networks.
        threshold: distance of contact, metres; None: what the data's grid resolves.
        radius: distance of neighbours in gcn's graph, metres.
        mass: mass of every object in the published equations, kg.
        deformation: whether ngff's objects deform.
        ode_method: how a frame is integrated.
        step_size: longest step of a fixed-step method, seconds.
        rtol: relative tolerance of the adaptive method.
        atol: absolute tolerance of the adaptive method.
        substeps: parts of a step in which contacts are solved.
        sweeps: iterations that contacts are solved with in every substep.
        contacts: points for every object of a scene that contacts are solved at.
        steps: frames of every scene to learn from.
        chunk: frames of a training window.
        chunk_start: frames of a window at first; None: ``chunk``.
        dt: seconds from frame to frame that the data must have; None: what the data says.
        loss: whether each window's mean square is minimised or its root.
        wall_weight: weight of how deep objects sink into floor and walls, squared, beside squared errors.
        epochs: how many times every scene is seen.
        time_limit: seconds after which the training ends; None: after the last epoch.
        batch_size: windows in a batch of one process.
        gradient_accumulation_steps: batches before an update.
        lr: peak learning rate.
        min_lr: learning rate at the end.
        clip_grad: largest norm of an update's gradient.
        augment: turn and mirror windows horizontally.
        noise: standard deviation of what is added to objects' velocities at a window's start, m/s.
        mixed_precision: precision of the networks' arithmetic; ``no``: float32.
        compile: fuse the model's kernels on a GPU.
        save_interval: epochs between checkpoints and validations.
        video_interval: epochs between videos of a rollout; 0: no videos.
        training_tracker: where to log besides metrics.jsonl; None: nowhere.
        project_name: the tracker's project.
        experiment_name: name of the run for the tracker; None: the tracker's choice.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    data_root: Path
    groups: tuple[str, ...] | None
    val_groups: tuple[str, ...] | None
    sample_num: int
    cache: Path | None
    output: Path
    resume: Literal["auto", "none"]
    pretrained: Path | None
    seed: int
    dynamic_model: str
    num_keypoints: int
    hidden_dim: int
    num_layers: int
    threshold: float | None
    radius: float
    mass: float
    deformation: bool
    ode_method: OdeMethod
    step_size: float
    rtol: float
    atol: float
    substeps: int
    sweeps: int
    contacts: int
    steps: int
    chunk: int
    chunk_start: int | None
    dt: float | None
    loss: Literal["mse", "rmse"]
    wall_weight: float
    epochs: int
    time_limit: float | None
    batch_size: int
    gradient_accumulation_steps: int
    lr: float
    min_lr: float
    clip_grad: float
    augment: bool
    noise: float
    mixed_precision: Literal["no", "bf16", "fp16"]
    compile: bool
    save_interval: int
    video_interval: int
    training_tracker: str | None
    project_name: str
    experiment_name: str | None
    device: str
