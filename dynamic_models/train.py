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
import importlib.util
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from dataset.layout import Layout, add_data_root
from dynamic_models.backward import Backward, average_gradients
from dynamic_models.checkpoint import CheckpointInfo, save_checkpoint
from dynamic_models.data import Scene, Window, choose_groups, collate_windows, load_scenes, turn_about_vertical
from dynamic_models.integration import OdeMethod
from dynamic_models.metrics import trajectory_errors
from dynamic_models.models import MODELS, build_model
from dynamic_models.schedule import learning_rate, window_length
from dynamic_models.state import MATERIAL_FIELDS
from dynamic_models.training_pictures import plot_curves, write_rollout
from dynamic_models.training_state import MetricsLog, Progress, StopSignal, load_state, save_state
from gaussians.command_line import ArgumentParser, resolve_device, run
from gaussians.errors import InputError
from gaussians.files import writable

_MINIMUM_THRESHOLD = 0.05  # metres
_SKIPPED_LIMIT = 20  # updates in a row
_WORTH_COMPILING = 600  # seconds
_JUDGED_SCENES = 64
_NO_TRACKER = "none"


def main() -> None:
    args = parse_args()
    torch.manual_seed(args.seed)
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision,
        cpu=resolve_device(args.device).type == "cpu",
        log_with=None if args.training_tracker == _NO_TRACKER else args.training_tracker,
        project_dir=args.output,
    )
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
    model = build_model(settings).to(device)
    optimizer = accelerator.prepare(torch.optim.Adam(model.parameters(), lr=args.lr, fused=device.type == "cuda"))
    backward = Backward(model, accelerator, args.loss, args.gradient_accumulation_steps, frame_dt, args.compile)
    info = checkpoint_info(settings, scenes, args, groups)

    # Where to begin.
    share = args.batch_size * args.gradient_accumulation_steps  # samples of one process in one iteration
    batch = share * accelerator.num_processes
    total = math.ceil(args.epochs * len(scenes) / batch)
    identity = training_identity(args, settings, scenes, batch)
    progress = Progress()
    if args.resume == "auto" and (stored := load_state(args.output, identity)):
        model.load_state_dict(stored["model"])
        optimizer.load_state_dict(stored["optimizer"])
        progress = stored["progress"]
        if progress.finished:
            if lead:
                print(f"already trained: {args.output} ({progress.iteration} iterations); --resume none starts anew")
            return
    accelerator.init_trackers(args.project_name, config=settings, init_kwargs=tracker_name(args))
    with writable(args.output):
        args.output.mkdir(parents=True, exist_ok=True)
    log = MetricsLog(args.output / "metrics.jsonl", progress.iteration) if lead else None
    save_every, film_every = (max(1, round(n * len(scenes) / batch)) for n in (args.save_interval, args.video_interval))
    stop, former, start = StopSignal(), replace(progress), time.monotonic()

    with progress_bar(args, total, progress, lead) as bar:
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
            for i in range(0, share, args.batch_size):
                names, window = draw(scenes, range(first + i, first + i + args.batch_size), frames, args)
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
            if progress.iteration % save_every == 0 or ending:
                if lead:
                    metrics |= save(args, model, optimizer, progress, info, identity, scenes, held_out)
                accelerator.wait_for_everyone()
            if log:
                log.write(metrics)
                if progress.iteration % save_every == 0 or progress.finished:
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


def progress_bar(args: argparse.Namespace, total: int, progress: Progress, shown: bool) -> tqdm:
    """A bar over iterations, or over seconds where --time_limit will end the training."""
    length, unit = (int(args.time_limit), "s") if args.time_limit else (total, "it")
    position = bar_position(args, progress)
    return tqdm(total=length, initial=position, unit=unit, desc=args.dynamic_model, disable=not shown)


def bar_position(args: argparse.Namespace, progress: Progress) -> int:
    return int(min(progress.elapsed, args.time_limit)) if args.time_limit else progress.iteration


def draw(scenes: Sequence[Scene], numbers: range, frames: int, args: argparse.Namespace) -> tuple[list[str], Window]:
    """Samples ``numbers`` of the endless stream of shuffled epochs, as one batch, and the names of their scenes.

    A sample depends on --seed and its number alone, so that neither an interruption nor the number of processes changes
    what is learned.
    """
    names, windows = [], []
    for number in numbers:
        epoch, place = divmod(number, len(scenes))
        shuffle = torch.Generator().manual_seed(hash((args.seed, 0, epoch)) % 2**63)
        scene = scenes[int(torch.randperm(len(scenes), generator=shuffle)[place])]
        chance = torch.Generator().manual_seed(hash((args.seed, 1, number)) % 2**63)
        start = int(torch.randint(args.steps - frames + 1, (), generator=chance))
        window = scene.window(start, frames)
        windows.append(turn_about_vertical(window, chance) if args.augment else window)
        names.append(scene.name)
    return names, collate_windows(windows)


def check_finite(losses: torch.Tensor, names: Sequence[str], iteration: int) -> None:
    """Raise ``InputError`` with the names of scenes whose loss is not a number."""
    bad = [name for name, finite in zip(names, losses.isfinite().tolist(), strict=True) if not finite]
    if bad:
        raise InputError(
            f"training stopped in iteration {iteration}: the loss is not finite in scene "
            f"{', '.join(sorted(set(bad)))}; check its data, or lower --lr"
        )


def update(
    optimizer: torch.optim.Optimizer, norm: torch.Tensor | None, progress: Progress, names: Sequence[str]
) -> None:
    """Step, unless the gradients overflowed, as long rollouts' may; too often in a row is an error."""
    if norm is None or norm.isfinite():
        optimizer.step()
        progress.skipped = 0
    else:
        progress.skipped += 1
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


def save(
    args: argparse.Namespace,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    info: CheckpointInfo,
    identity: dict[str, Any],
    scenes: Sequence[Scene],
    held_out: Sequence[Scene],
) -> dict[str, float]:
    """Write last.json, best.json if it is that, and state.pt; returns the error that decided it.

    Best is by the error of whole rollouts of held-out scenes, or without any of the first training scenes.
    """
    name, judged = ("val_rmse", held_out) if held_out else ("train_rmse", scenes[:_JUDGED_SCENES])
    error = rollout_error(model, judged, args)
    metrics = {name: error}
    training = info.training | {"iterations": progress.iteration, "seconds": round(progress.elapsed, 1)} | metrics
    info = info.model_copy(update={"training": training})
    save_checkpoint(args.output / "last.json", model, info)
    if error < progress.best:
        progress.best = error
        save_checkpoint(args.output / "best.json", model, info)
    save_state(args.output, progress, identity, model=model.state_dict(), optimizer=optimizer.state_dict())
    return metrics


@torch.no_grad()
def rollout_error(model: nn.Module, scenes: Sequence[Scene], args: argparse.Namespace) -> float:
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


def model_settings(args: argparse.Namespace, scenes: Sequence[Scene]) -> dict[str, Any]:
    """The model's settings among the flags; touching is decided no finer than the simulation's grid does."""
    settings = {name: getattr(args, name) for name in MODELS[args.dynamic_model][0].model_fields}
    if settings.get("threshold", 0) is None:
        settings["threshold"] = max(_MINIMUM_THRESHOLD, 3 * max(scene.dx for scene in scenes))
    return settings


def checkpoint_info(
    settings: dict[str, Any], scenes: Sequence[Scene], args: argparse.Namespace, groups: Sequence[str]
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
    args: argparse.Namespace, settings: dict[str, Any], scenes: Sequence[Scene], batch: int
) -> dict[str, Any]:
    """What must be the same for --resume to go on with a training."""
    names = "seed num_keypoints steps chunk chunk_start epochs lr min_lr clip_grad loss time_limit augment"
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
    add = parser.add_argument
    add("--groups", nargs="+", help="groups to train on (default: those of 3_0 ... 3_8 that exist, else all present)")
    add("--val_groups", nargs="+", help="groups to validate on; the best checkpoint is then chosen by them")
    add("--sample_num", type=int, default=60, help="scenes taken of every group")
    add("--cache", type=Path, help="directory for extracted keypoints (default: <data_root>/keypoints)")
    add("--output", type=Path, help="checkpoint directory (default: checkpoints/<experiment_name or dynamic_model>)")
    add("--resume", choices=("auto", "none"), default="auto", help="go on with the training in --output, or start anew")
    add("--seed", type=int, default=0, help="of weights, windows and order")

    add("--dynamic_model", choices=tuple(MODELS), default="ngff", help="which model")
    add("--num_keypoints", type=int, default=4096, help="keypoints of every object")
    add("--hidden_dim", type=int, default=512, help="width of the networks")
    add("--num_layers", type=int, default=2, help="depth of the networks")
    add("--output_dim", type=int, choices=(3,), default=3, help="coordinates of a point")
    add(
        "--threshold",
        type=float,
        help="distance of contact [m] (default: the larger of 0.05 and 3 dx, as far as simulated particles reach)",
    )
    add("--radius", type=float, default=0.1, help="distance of neighbours in gcn's graph [m]")
    add("--mass", type=float, default=0.1, help="of every object in the model's equations [kg]")
    add("--deformation", action=argparse.BooleanOptionalAction, default=True, help="whether ngff's objects deform")
    add("--ode_method", choices=get_args(OdeMethod), default="euler", help="adaptive: dopri5")
    add("--step_size", type=float, default=5e-3, help="longest step of a fixed-step method [s]")
    add("--rtol", type=float, default=1e-3, help="relative tolerance of the adaptive method")
    add("--atol", type=float, default=1e-4, help="absolute tolerance of the adaptive method")

    add("--steps", type=int, default=100, help="frames of every scene to learn from")
    add("--chunk", type=int, default=100, help="frames of a training window, at most --steps")
    add("--chunk_start", type=int, help="frames of a window at first; grows to --chunk by half of the training")
    add("--dt", type=float, help="seconds from frame to frame; the data must agree (default: what the data says)")
    add("--loss", choices=("mse", "rmse"), default="mse", help="rmse: its root by window, so that all count alike")
    add("--epochs", type=int, default=2001, help="times that every scene is seen")
    add("--time_limit", type=float, help="end after so many seconds; the schedules shorten accordingly")
    add("--batch_size", type=int, default=8, help="windows in a batch of one process")
    add("--gradient_accumulation_steps", type=int, default=1, help="batches before an update")
    add("--lr", type=float, default=1e-4, help="peak learning rate, reached after 2 %% of the training")
    add("--min_lr", type=float, default=5e-5, help="learning rate at the end")
    add("--clip_grad", type=float, default=1.0, help="largest norm of an update's gradient")
    add("--augment", action=argparse.BooleanOptionalAction, default=True, help="turn and mirror windows horizontally")
    add("--mixed_precision", choices=("no", "bf16", "fp16"), default="no", help="of the networks; states stay float32")
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="fuse the model's kernels on a GPU, which takes a minute and then halves the time (default: for trainings "
        "without or with a longer --time_limit than 10 minutes)",
    )
    add("--save_interval", type=int, default=100, help="epochs between checkpoints and validations")
    add(
        "--video_interval",
        type=int,
        default=500,
        help="epochs between videos of a rollout; 0: none, else one at the end too",
    )
    trackers = ("tensorboard", "wandb", "swanlab", _NO_TRACKER)
    add("--training_tracker", choices=trackers, default=trackers[0], help="where to log, besides metrics.jsonl")
    add("--project_name", default="ngff", help="the tracker's project")
    add("--experiment_name", help="name of the run for the tracker and the checkpoint directory")
    parser.add_device()
    args = parser.parse_args(arguments)
    check_args(args)
    if args.compile is None:
        args.compile = args.time_limit is None or args.time_limit > _WORTH_COMPILING
    args.output = args.output or Path("checkpoints") / (args.experiment_name or args.dynamic_model)
    return args


def check_args(args: argparse.Namespace) -> None:
    """Raise ``InputError`` for flags that no training can use."""
    positive = "sample_num num_keypoints hidden_dim num_layers threshold radius mass step_size rtol atol dt epochs"
    positive += " time_limit batch_size gradient_accumulation_steps lr min_lr clip_grad save_interval"
    for name in positive.split():
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name}: expected a positive number, found {value}")
    if args.video_interval < 0:
        raise InputError(f"--video_interval: expected 0 or more, found {args.video_interval}")
    if not 2 <= args.chunk <= args.steps:
        raise InputError(f"--chunk: expected 2 to {args.steps} (--steps), found {args.chunk}")
    if args.chunk_start is not None and not 2 <= args.chunk_start <= args.chunk:
        raise InputError(f"--chunk_start: expected 2 to {args.chunk} (--chunk), found {args.chunk_start}")
    if args.min_lr > args.lr:
        raise InputError(f"--min_lr: expected at most {args.lr:g} (--lr), found {args.min_lr:g}")
    if args.training_tracker != _NO_TRACKER and importlib.util.find_spec(args.training_tracker) is None:
        raise InputError(f"--training_tracker: {args.training_tracker} is not installed; pip install it")


if __name__ == "__main__":
    run(main)
