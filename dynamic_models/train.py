"""Train a dynamics model on simulated scenes.

Reads <data_root>/mpm/<group>/<scene>, takes keypoints (kept in <data_root>/keypoints), and learns to roll a scene out
from its state in one frame. A sample is a window of --chunk frames that starts at a random frame of the first --steps,
seen from a random side; the loss is the mean squared error of its keypoints [m^2] or its root. Writes to --output:
best.json and last.json with their weights, metrics.jsonl, curves.png, rollout.mp4, TensorBoard's files, and state.pt,
from which --resume auto goes on after any interruption. SIGTERM saves and ends with status 0. Lengths are in metres,
times in seconds.

Examples:
  python -m dynamic_models.train --groups 2 --num_keypoints 256 --hidden_dim 64 --steps 50 --chunk 50
  accelerate launch --multi_gpu --num_processes 4 -m dynamic_models.train --num_keypoints 2048 --epochs 500
"""

import argparse
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn
from tqdm import tqdm

from dataset.layout import Layout, add_data_root
from dynamic_models.data.batches import Samples
from dynamic_models.data.scene_state import MATERIAL_FIELDS
from dynamic_models.data.windows import (
    SimulatedScene,
    choose_groups,
    collate_windows,
    load_scenes,
)
from dynamic_models.evaluation.metrics import trajectory_errors
from dynamic_models.models.checkpoints import TRAINED, CheckpointInfo, check_weights, load_checkpoint, save_checkpoint
from dynamic_models.models.registry import MODELS, build_model
from dynamic_models.training.arguments import NO_TRACKER, add_training_arguments, check_args
from dynamic_models.training.backward import Backward, average_gradients
from dynamic_models.training.pictures import plot_curves, write_rollout
from dynamic_models.training.schedule import learning_rate, window_length
from dynamic_models.training.training_state import MetricsLog, Progress, StopSignal, load_state, save_state
from gaussians.stage.claims import claim
from gaussians.stage.command_line import ArgumentParser, resolve_device, run
from gaussians.stage.errors import InputError

_MINIMUM_THRESHOLD = 0.05  # metres
_SKIPPED_LIMIT = 20  # updates in a row
_WORTH_COMPILING = 600  # seconds
_JUDGED_SCENES = 64


def main() -> None:
    args = parse_args()
    torch.manual_seed(args.seed)
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision,
        cpu=resolve_device(args.device).type == "cpu",
        log_with=None if args.training_tracker == NO_TRACKER else args.training_tracker,
        project_dir=args.output,
        # Others wait while the first one extracts keypoints.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=1))],
    )
    with sole_writer(args.output, accelerator.is_main_process):
        train(args, accelerator)


@contextmanager
def sole_writer(output: Path, lead: bool) -> Iterator[None]:
    """Keep other trainings out of ``output``, which the lead process claims.

    Raises:
        InputError: one is running there.
    """
    if not lead:
        yield
        return
    with claim(output) as holder:
        if holder is not None:
            raise InputError(f"{output}: {holder} trains there: give another --output")
        yield


def train(args: argparse.Namespace, accelerator: Accelerator) -> None:
    """All of a training, from its data to its last checkpoint."""
    device, lead = accelerator.device, accelerator.is_main_process

    # Data. The first process extracts the keypoints, the others find them.
    layout = Layout(args.data_root)
    groups, val_groups = choose_groups(layout, args.groups), args.val_groups and choose_groups(layout, args.val_groups)
    with accelerator.main_process_first():
        keypoints = {"num_keypoints": args.num_keypoints, "num_frames": args.steps, "cache": args.cache}
        scenes = load_scenes(layout, groups, per_group=args.sample_num, frame_dt=args.dt, progress=lead, **keypoints)
        frame_dt = scenes[0].frame_dt
        held_out = load_scenes(layout, val_groups, frame_dt=frame_dt, progress=lead, **keypoints) if val_groups else []

    # Model.
    settings = model_settings(args, scenes)
    pretrained = load_checkpoint(args.pretrained, args.dynamic_model) if args.pretrained else None
    if pretrained:
        settings |= {name: pretrained[1].settings[name] for name in ("hidden_dim", "num_layers")}
    model = build_model(settings).to(device)
    if pretrained:
        weights = pretrained[0].state_dict()
        check_weights(args.pretrained, model, weights)
        model.load_state_dict(weights)
    optimizer = accelerator.prepare(torch.optim.Adam(model.parameters(), lr=args.lr, fused=device.type == "cuda"))
    backward = Backward(model, accelerator, args.loss, args.gradient_accumulation_steps, frame_dt, args.compile)
    info = checkpoint_info(settings, scenes, args, groups)

    # Where to begin.
    share = args.batch_size * args.gradient_accumulation_steps  # samples of one process in one iteration
    batch = share * accelerator.num_processes
    total = math.ceil(args.epochs * len(scenes) / batch)
    identity = training_identity(args, settings, scenes, batch) | {"pretrained": pretrained and pretrained[1].sha256}
    progress = Progress()
    if args.resume == "auto" and (stored := load_state(args.output, identity)):
        model.load_state_dict(stored["model"])
        optimizer.load_state_dict(stored["optimizer"])
        if optimizer.scaler is not None:
            optimizer.scaler.load_state_dict(stored["scaler"])
        progress = stored["progress"]
        if progress.finished:
            if lead:
                print(f"already trained: {args.output} ({progress.iteration} iterations); --resume none starts anew")
            return
    accelerator.init_trackers(args.project_name, config=settings, init_kwargs=tracker_name(args))
    log = MetricsLog(args.output / "metrics.jsonl", progress.iteration) if lead else None
    # On a GPU every batch has one shape, for another one would be compiled and captured anew.
    largest = [max(counts) for counts in zip(*(scene.clip.mask.shape for scene in scenes), strict=True)]
    sizes = (largest[0], largest[1]) if device.type == "cuda" else (0, 0)
    if device.type == "cuda":
        reserve_room(model, scenes, args.batch_size, sizes)
    save_every, film_every = (max(1, round(n * len(scenes) / batch)) for n in (args.save_interval, args.video_interval))
    stop, former, start = StopSignal(), replace(progress), time.monotonic()

    with progress_bar(args, total, progress, lead) as bar, closing(Samples(scenes, args, sizes)) as samples:
        ending = False
        while not ending:
            done = max(progress.iteration / total, progress.elapsed / args.time_limit if args.time_limit else 0)
            frames = window_length(args.chunk_start or args.chunk, args.chunk, done)
            lr = learning_rate(args.lr, args.min_lr, done)
            for group in optimizer.param_groups:
                group["lr"] = lr

            # One update, from samples that are the same however many processes share them.
            loss = 0.0
            first = progress.iteration * batch + accelerator.process_index * share
            for here, following in itertools.pairwise([*range(first, first + share, args.batch_size), first + batch]):
                names, window = samples.take(here, frames, following)
                losses = backward(window.state.to(device), window.target.to(device), window.pushes.to(device))
                check_finite(losses, names, progress.iteration)
                loss += losses.mean().item() / args.gradient_accumulation_steps
            average_gradients(model, accelerator)
            norm = accelerator.clip_grad_norm_(model.parameters(), args.clip_grad)
            update(optimizer, norm, progress, names)

            # What became of it, agreed upon by all processes.
            loss, elapsed, asked = agree(
                accelerator, loss, former.elapsed + time.monotonic() - start, float(stop.asked)
            )
            progress.iteration, progress.elapsed = progress.iteration + 1, elapsed
            progress.finished = progress.iteration >= total or (
                args.time_limit is not None and elapsed >= args.time_limit
            )
            ending = progress.finished or asked > 0
            metrics = {"iteration": progress.iteration, "loss": loss, "lr": lr, "frames": frames, "seconds": elapsed}
            interrupted = ending and not progress.finished  # then time is short
            due = (progress.iteration % save_every == 0 or progress.finished) and not interrupted
            if log:
                if due:
                    metrics |= judge(args, model, progress, info, scenes, held_out)
                log.write(metrics)  # before it is saved: a resumed training drops the lines that it will write again
            if due or ending:
                if lead:
                    save(args, model, optimizer, progress, info, identity, metrics)
                accelerator.wait_for_everyone()
            if log:
                if due:
                    plot_curves(log.path, args.output / "curves.png")
                if args.video_interval and (progress.iteration % film_every == 0 or progress.finished):
                    filmed = (*held_out, *scenes)[0]
                    film = args.output / "rollout.mp4"
                    write_rollout(film, model, args.dynamic_model, filmed, args.steps, progress.iteration)
            accelerator.log(metrics, step=progress.iteration)
            rate = batch * (progress.iteration - former.iteration) / (time.monotonic() - start)
            shown = {"loss": f"{loss:.2e}", "frames": frames, "samples/s": f"{rate:.1f}"}
            bar.set_postfix(shown | {"error": f"{progress.best:.3f}"} if progress.best < math.inf else shown)
            bar.update(bar_position(args, progress) - bar.n)

    accelerator.end_training()
    stop.restore()
    if log:
        log.close()
        verb = "trained" if progress.finished else "interrupted and saved"
        spent = f"{progress.iteration} iterations, {progress.elapsed:.0f} s"
        print(f"{verb} {args.dynamic_model} in {args.output}: {spent}")


@torch.no_grad()
def reserve_room(model: nn.Module, scenes: Sequence[SimulatedScene], batch_size: int, sizes: tuple[int, int]) -> None:
    """Show the model how scenes end, where most things touch, so that it has room for that before it is compiled."""
    device = next(model.parameters()).device
    for i in range(0, len(scenes), batch_size):
        batch = [scenes[k % len(scenes)] for k in range(i, i + batch_size)]
        window = collate_windows([scene.window(scene.num_frames - 2, 2) for scene in batch], *sizes)
        model(window.state.to(device), 2, batch[0].frame_dt, window.pushes.to(device))


def progress_bar(args: argparse.Namespace, total: int, progress: Progress, shown: bool) -> tqdm:
    """A bar over iterations, or over seconds where --time_limit will end the training."""
    length, unit = (int(args.time_limit), "s") if args.time_limit else (total, "it")
    position = bar_position(args, progress)
    return tqdm(total=length, initial=position, unit=unit, desc=args.dynamic_model, disable=not shown)


def bar_position(args: argparse.Namespace, progress: Progress) -> int:
    return int(min(progress.elapsed, args.time_limit)) if args.time_limit else progress.iteration


def check_finite(losses: torch.Tensor, names: Sequence[str], iteration: int) -> None:
    """Raise ``InputError`` with the names of scenes whose loss is not a number."""
    bad = [name for name, finite in zip(names, losses.isfinite().tolist(), strict=True) if not finite]
    if bad:
        raise InputError(
            f"training stopped in iteration {iteration}: the loss is not finite in scene "
            f"{', '.join(sorted(set(bad)))}; check its data, or lower --lr"
        )


def update(
    optimizer: AcceleratedOptimizer, norm: torch.Tensor | None, progress: Progress, names: Sequence[str]
) -> None:
    """Step, unless the gradients overflowed, as long rollouts' may; too often in a row is an error."""
    finite = norm is None or bool(norm.isfinite())
    if finite or optimizer.scaler is not None:  # fp16's scaler leaves such steps out by itself, and learns from them
        optimizer.step()
    progress.skipped = 0 if finite else progress.skipped + 1
    if progress.skipped == _SKIPPED_LIMIT:
        raise InputError(
            f"training stopped in iteration {progress.iteration}: infinite gradients {_SKIPPED_LIMIT} times in a "
            f"row, last in scene {', '.join(sorted(set(names)))}; lower --lr, --chunk or --step_size"
        )
    optimizer.zero_grad(set_to_none=False)  # CUDA graphs add to the same gradients again


def agree(accelerator: Accelerator, loss: float, elapsed: float, asked: float) -> tuple[float, float, float]:
    """Means over the processes, so that all of them decide alike."""
    if accelerator.num_processes == 1:
        return loss, elapsed, asked
    values = torch.tensor([loss, elapsed, asked], dtype=torch.float32, device=accelerator.device)
    loss, elapsed, asked = accelerator.reduce(values, "mean").tolist()
    return loss, elapsed, asked


def judge(
    args: argparse.Namespace,
    model: nn.Module,
    progress: Progress,
    info: CheckpointInfo,
    scenes: Sequence[SimulatedScene],
    held_out: Sequence[SimulatedScene],
) -> dict[str, float]:
    """The error of whole rollouts of held-out scenes, or without any of the first training scenes; writes best.json if
    it is the smallest yet."""
    name, judged = ("val_rmse", held_out) if held_out else ("train_rmse", scenes[:_JUDGED_SCENES])
    error = rollout_error(model, judged, args)
    if error < progress.best:
        progress.best = error
        save_checkpoint(args.output / "best.json", model, trained_so_far(info, progress, {name: error}))
    return {name: error}


def save(
    args: argparse.Namespace,
    model: nn.Module,
    optimizer: AcceleratedOptimizer,
    progress: Progress,
    info: CheckpointInfo,
    identity: dict[str, Any],
    metrics: dict[str, float],
) -> None:
    """Write last.json and state.pt."""
    errors = {name: value for name, value in metrics.items() if name.endswith("_rmse")}
    save_checkpoint(args.output / "last.json", model, trained_so_far(info, progress, errors))
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    if optimizer.scaler is not None:
        states["scaler"] = optimizer.scaler.state_dict()
    save_state(args.output, progress, identity, **states)


def trained_so_far(info: CheckpointInfo, progress: Progress, errors: dict[str, float]) -> CheckpointInfo:
    spent = {"iterations": progress.iteration, "seconds": round(progress.elapsed, 1)}
    return info.model_copy(update={"training": info.training | spent | errors})


@torch.no_grad()
def rollout_error(model: nn.Module, scenes: Sequence[SimulatedScene], args: argparse.Namespace) -> float:
    """Mean RMSE, metres, of rollouts of --steps frames from the first frame."""
    device = next(model.parameters()).device
    model.eval()
    errors = []
    for i in range(0, len(scenes), args.batch_size):
        window = collate_windows([scene.window(0, args.steps) for scene in scenes[i : i + args.batch_size]])
        state, target = window.state, window.target
        predicted = model(state.to(device), args.steps, scenes[0].frame_dt, window.pushes.to(device)).cpu()
        errors += [trajectory_errors(*item).rmse for item in zip(predicted, target, state.mask, strict=True)]
    model.train()
    return sum(errors) / len(errors)


def model_settings(args: argparse.Namespace, scenes: Sequence[SimulatedScene]) -> dict[str, Any]:
    """The model's settings among the flags; touching is decided no finer than the simulation's grid does."""
    settings = {name: getattr(args, name) for name in MODELS[args.dynamic_model][0].model_fields}
    if settings.get("threshold", 0) is None:
        settings["threshold"] = max(_MINIMUM_THRESHOLD, 3 * max(scene.dx for scene in scenes))
    return settings


def checkpoint_info(
    settings: dict[str, Any], scenes: Sequence[SimulatedScene], args: argparse.Namespace, groups: Sequence[str]
) -> CheckpointInfo:
    medians = torch.cat([scene.materials for scene in scenes]).nanmedian(0).values
    known = {name: float(value) for name, value in zip(MATERIAL_FIELDS, medians, strict=True) if value.isfinite()}
    return CheckpointInfo(
        settings=settings,
        num_keypoints=args.num_keypoints,
        frame_dt=scenes[0].frame_dt,
        world=scenes[0].world,
        materials=known,
        training={"groups": list(groups), "scenes": len(scenes), "steps": args.steps, "seed": args.seed},
    )


def training_identity(
    args: argparse.Namespace, settings: dict[str, Any], scenes: Sequence[SimulatedScene], batch: int
) -> dict[str, Any]:
    """What must be the same for --resume to go on with a training."""
    names = "seed num_keypoints steps chunk chunk_start epochs lr min_lr clip_grad loss time_limit augment noise "
    names += "mixed_precision val_groups"
    flags = {name: getattr(args, name) for name in names.split()}
    return settings | flags | {"batch": batch, "scenes": [scene.name for scene in scenes]}


def tracker_name(args: argparse.Namespace) -> dict[str, Any]:
    """Where trackers that have names for runs are told --experiment_name."""
    names = {"wandb": "name", "swanlab": "experiment_name"}
    if args.experiment_name is None or args.training_tracker not in names:
        return {}
    return {args.training_tracker: {names[args.training_tracker]: args.experiment_name}}


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    add_training_arguments(parser)
    parser.add_device()
    args = parser.parse_args(arguments)
    check_args(args)
    if args.compile is None:
        args.compile = args.time_limit is None or args.time_limit > _WORTH_COMPILING
    args.output = args.output or TRAINED / (args.experiment_name or args.dynamic_model)
    return args


if __name__ == "__main__":
    run(main)
