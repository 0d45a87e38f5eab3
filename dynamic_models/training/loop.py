"""Train a model: the loop, from the data to the last checkpoint."""

import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.optimizer import AcceleratedOptimizer
from tqdm import tqdm

from dataset.layout import Layout
from dynamic_models.data.windows import (
    Sampling,
    SimulatedScene,
    WindowStream,
    choose_groups,
    collate_windows,
    load_scenes,
)
from dynamic_models.models.checkpoints import check_weights, load_checkpoint
from dynamic_models.models.interface import FrameModel, NeedsRoom
from dynamic_models.models.registry import build_model, model_class
from dynamic_models.training.backward import Backward, average_gradients
from dynamic_models.training.pictures import plot_curves, write_rollout
from dynamic_models.training.settings import TrainSettings
from dynamic_models.training.training_state import (
    MetricsLog,
    Progress,
    StopSignal,
    check_best,
    checkpoint_info,
    load_state,
    save,
    training_identity,
    validate,
)
from gaussians.stage.claims import sole_claim
from gaussians.stage.command_line import resolve_device
from gaussians.stage.errors import InputError

_MINIMUM_THRESHOLD = 0.05  # metres: the least default distance of contact
_SKIPPED_LIMIT = 20  # updates left out in a row
_TIMED_UPDATES = 5  # by which the remaining time is estimated
_WORTH_SAYING = 60  # seconds that remain
_ROOM_STRIDE = 5  # every so-many-th frame's contacts are counted
_ROOM_SCENES = 64  # whose contacts are counted at a time


def train(settings: TrainSettings, stop: StopSignal | None = None, clock: Callable[[], float] = time.monotonic) -> None:
    """Train a model and write its checkpoints.

    Args:
        settings: on what, how and how long to train, and where the checkpoints go.
        stop: what says after every iteration whether to save and end before the training is finished; None: SIGTERM.
        clock: the time, seconds, by which the training is limited.

    Raises:
        InputError: the data or a checkpoint is missing, damaged or does not fit, or the loss is not finite.
    """
    torch.manual_seed(settings.seed)
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision,
        cpu=resolve_device(settings.device).type == "cpu",
        log_with=settings.training_tracker,
        project_dir=settings.output,
        # Other processes wait so long while the first one extracts keypoints.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=1))],
    )
    device, lead = accelerator.device, accelerator.is_main_process
    if lead:
        for note in launcher_notes(settings, accelerator.num_processes):
            print(note)

    with sole_claim(settings.output) if lead else nullcontext():
        # Data. The first process extracts the keypoints, the others find them.
        layout = Layout(settings.data_root)
        groups = choose_groups(layout, settings.groups)
        val_groups = choose_groups(layout, settings.val_groups) if settings.val_groups else []
        with accelerator.main_process_first():
            keypoints: dict[str, Any] = {"num_keypoints": settings.num_keypoints, "num_frames": settings.steps}
            keypoints |= {"cache": settings.cache, "progress": lead}
            scenes = load_scenes(layout, groups, per_group=settings.sample_num, frame_dt=settings.dt, **keypoints)
            frame_dt = scenes[0].frame_dt
            held_out = load_scenes(layout, val_groups, frame_dt=frame_dt, **keypoints) if val_groups else []

        # Model.
        built_from = model_settings(settings, scenes)
        pretrained = load_checkpoint(settings.pretrained, settings.dynamic_model) if settings.pretrained else None
        if pretrained:
            built_from |= {name: pretrained[1].settings[name] for name in ("hidden_dim", "num_layers")}
        model = build_model(built_from).to(device)
        if pretrained:
            assert settings.pretrained is not None
            weights = pretrained[0].state_dict()
            check_weights(settings.pretrained, model, weights)
            model.load_state_dict(weights)
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr, fused=device.type == "cuda")
        optimizer = accelerator.prepare(optimizer)
        accumulated = settings.gradient_accumulation_steps
        backward = Backward(
            model,
            accelerator,
            settings.loss,
            accumulated,
            frame_dt,
            wall_weight=settings.wall_weight,
            compiled=settings.compile,
        )
        info = checkpoint_info(built_from, scenes, settings, groups)

        # Where to begin: at the start, or where an earlier run was interrupted.
        share = settings.batch_size * accumulated  # samples of one process in one iteration
        batch = share * accelerator.num_processes
        total = math.ceil(settings.epochs * len(scenes) / batch)
        identity = training_identity(settings, built_from, scenes, batch, pretrained and pretrained[1].sha256)
        progress = Progress()
        if settings.resume == "auto" and (stored := load_state(settings.output, identity, model, optimizer)):
            progress = stored
            check_best(settings.output, progress)
            if progress.finished:
                if lead:
                    done = f"{settings.output} ({progress.iteration} iterations)"
                    print(f"already trained: {done}; --resume none starts anew")
                return
        accelerator.init_trackers(settings.project_name, config=built_from, init_kwargs=tracker_name(settings))
        log = MetricsLog(settings.output / "metrics.jsonl", progress.iteration) if lead else None
        sampling = Sampling(settings.seed, settings.steps, settings.batch_size, settings.noise, settings.augment)
        if device.type == "cuda":  # every batch has one shape, for another one would be compiled and captured anew
            most = [max(counts) for counts in zip(*(scene.clip.mask.shape for scene in scenes), strict=True)]
            sampling = replace(sampling, objects=most[0], points=most[1])
        if isinstance(model, NeedsRoom) and model.is_limited(device):
            model.make_room(room_for(model, scenes, sampling, settings.chunk, device))
        save_every = max(1, round(settings.save_interval * len(scenes) / batch))
        film_every = max(1, round(settings.video_interval * len(scenes) / batch))
        stop, former, start = stop or StopSignal(), replace(progress), clock()
        warm: float | None = None  # when the first update, which takes longer than others, was over

        with (
            stop,
            progress_bar(settings, total, progress, lead) as bar,
            closing(WindowStream(scenes, sampling)) as stream,
        ):
            ending = False
            while not ending:
                done = progress.iteration / total
                if settings.time_limit:
                    done = max(done, progress.elapsed / settings.time_limit)
                frames = window_length(settings.chunk_start or settings.chunk, settings.chunk, done)
                lr = learning_rate(settings.lr, settings.min_lr, done)
                for group in optimizer.param_groups:
                    group["lr"] = lr

                # One update, from samples that are the same however many processes share them.
                loss = 0.0
                first = progress.iteration * batch + accelerator.process_index * share
                starts = [*range(first, first + share, settings.batch_size), first + batch]
                for here, following in itertools.pairwise(starts):
                    names, window = stream.take(here, frames, following)
                    losses = backward(window.state.to(device), window.target.to(device), window.pushes.to(device))
                    check_finite(losses, names, progress.iteration)
                    loss += losses.mean().item() / accumulated
                average_gradients(model, accelerator)
                norm = accelerator.clip_grad_norm_(model.parameters(), settings.clip_grad)
                update(optimizer, norm, progress, names)

                # What became of it, agreed upon by all processes.
                elapsed = former.elapsed + clock() - start
                loss, elapsed, asked = agree(accelerator, model, loss, elapsed, float(stop.asked))
                progress.iteration, progress.elapsed = progress.iteration + 1, elapsed
                out_of_time = settings.time_limit is not None and elapsed >= settings.time_limit
                progress.finished = progress.iteration >= total or out_of_time
                ending = progress.finished or asked > 0
                interrupted = ending and not progress.finished  # then no time is left to validate
                due = (progress.iteration % save_every == 0 or progress.finished) and not interrupted

                # What is written: the log before the state, for a resumed training drops what it will log again.
                metrics = {"iteration": progress.iteration, "loss": loss, "lr": lr, "frames": frames}
                metrics["seconds"] = elapsed
                if log:
                    if due:
                        metrics |= validate(settings, model, progress, info, scenes, held_out)
                    log.write(metrics)
                if due or ending:
                    if lead:
                        save(settings, model, optimizer, progress, info, identity, metrics)
                    accelerator.wait_for_everyone()
                if log:
                    if due:
                        plot_curves(log.path, settings.output / "curves.png")
                    if settings.video_interval and (progress.iteration % film_every == 0 or progress.finished):
                        film, filmed = settings.output / "rollout.mp4", (*held_out, *scenes)[0]
                        write_rollout(film, model, settings.dynamic_model, filmed, settings.steps, progress.iteration)
                accelerator.log(metrics, step=progress.iteration)
                rate = batch * (progress.iteration - former.iteration) / (clock() - start)
                shown = {"loss": f"{loss:.2e}", "frames": frames, "samples/s": f"{rate:.1f}"}
                bar.set_postfix(shown | {"error": f"{progress.best:.3f}"} if progress.best < math.inf else shown)
                bar.update(bar_position(settings, progress) - bar.n)
                warm, updates = clock() if warm is None else warm, progress.iteration - former.iteration - 1
                if lead and updates == _TIMED_UPDATES and settings.time_limit is None:
                    left = (total - progress.iteration) * (clock() - warm) / updates
                    if left >= _WORTH_SAYING:
                        advice = "--resume none --time_limit SECONDS trains for less"
                        tqdm.write(f"about {duration(left)} to go at this rate; {advice}")
            accelerator.end_training()

        if log:
            log.close()
            verb = "trained" if progress.finished else "interrupted and saved"
            spent = f"{progress.iteration} iterations, {progress.elapsed:.0f} s"
            file = "best.json" if progress.finished and progress.best < math.inf else "last.json"
            print(f"{verb} {settings.dynamic_model} in {settings.output / file}: {spent}")


def launcher_notes(settings: TrainSettings, num_processes: int) -> list[str]:
    """Return what `accelerate launch` was asked for, as far as its environment tells, and does not do."""
    notes, asked = [], os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", settings.mixed_precision):
        notes.append(
            f"accelerate's mixed precision {asked} is overruled by --mixed_precision {settings.mixed_precision}"
        )
    several = "MASTER_ADDR" in os.environ and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    if num_processes == 1 and several and "WORLD_SIZE" not in os.environ:
        notes.append(
            "accelerate launch --cpu starts one process, whatever --num_processes says; several: "
            "torchrun --nproc_per_node 2 -m dynamic_models.train --device cpu"
        )
    return notes


def model_settings(settings: TrainSettings, scenes: Sequence[SimulatedScene]) -> dict[str, Any]:
    """Return what the model is built from; by default contact reaches no less far than in the simulation's grid."""
    names = model_class(settings.dynamic_model).settings_type.model_fields
    found = {name: getattr(settings, name) for name in names}
    if found.get("threshold", 0) is None:
        found["threshold"] = max(_MINIMUM_THRESHOLD, 3 * max(scene.dx for scene in scenes))
    return found


def tracker_name(settings: TrainSettings) -> dict[str, Any]:
    """Return how the tracker is told the run's name, nothing where it has no names for runs."""
    names = {"wandb": "name", "swanlab": "experiment_name"}
    if settings.experiment_name is None or settings.training_tracker not in names:
        return {}
    return {settings.training_tracker: {names[settings.training_tracker]: settings.experiment_name}}


@torch.no_grad()
def room_for(
    model: NeedsRoom,
    scenes: Sequence[SimulatedScene],
    sampling: Sampling,
    frames: int,
    device: torch.device,
    draws: int = 1000,
) -> float:
    """Return the largest share of all that may be needed that batches of simulated windows need, see ``NeedsRoom``.

    It is the same in all processes, which then compile and capture alike.

    Args:
        frames: the length of the windows.
        device: where the model is.
        draws: random batches that are looked at.
    """
    looked_at = range(0, sampling.num_frames, _ROOM_STRIDE)
    rows = []
    for k in looked_at:
        for i in range(0, len(scenes), _ROOM_SCENES):
            window = collate_windows(
                [scene.window(k, 1) for scene in scenes[i : i + _ROOM_SCENES]], sampling.objects, sampling.points
            )
            rows.append(model.needed(window.state.to(device)).cpu())
    needed = torch.cat(rows).view(len(looked_at), len(scenes))
    chance = torch.Generator().manual_seed(sampling.seed)
    drawn = torch.randint(len(scenes), (draws, sampling.batch_size), generator=chance)
    starts = torch.randint(sampling.num_frames - frames + 1, (draws, sampling.batch_size), generator=chance)
    later = torch.arange(0, frames, _ROOM_STRIDE)[:, None, None]
    return float(needed[((starts + later) // _ROOM_STRIDE).clamp_max(len(looked_at) - 1), drawn].mean(-1).max())


def window_length(first: int, last: int, done: float, growth: float = 0.5, stages: int = 8) -> int:
    """Return the frames of a training window, from ``first`` to ``last`` during the first ``growth`` of the training.

    The gradients of short rollouts say what to do at once, those of long ones what errors add up to. The length grows
    in ``stages`` jumps, because each is captured as a CUDA graph of its own.

    Args:
        done: the part of the training that is done, 0 to 1.
    """
    return round(first + (last - first) * min(stages, math.floor(done / growth * stages)) / stages)


def learning_rate(peak: float, lowest: float, done: float, warm_up: float = 0.02) -> float:
    """Return a rate that rises linearly to ``peak`` during ``warm_up``, and then falls to ``lowest`` as half a cosine.

    Args:
        done: the part of the training that is done, 0 to 1.
    """
    if done < warm_up:
        return peak * (done + 0.1 * warm_up) / (1.1 * warm_up)
    phase = (done - warm_up) / (1 - warm_up)
    return lowest + (peak - lowest) * (1 + math.cos(math.pi * min(1.0, phase))) / 2


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
    """Update the weights, unless the gradients overflowed, as those of long rollouts may.

    Raises:
        InputError: they overflowed too often in a row.
    """
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


def agree(
    accelerator: Accelerator, model: FrameModel, loss: float, elapsed: float, asked: float
) -> tuple[float, float, float]:
    """Return means over the processes, so that all of them decide alike, and give all models the same room.

    Otherwise each process would wait once for every other one to meet the window that it lacks room for.
    """
    if accelerator.num_processes == 1:
        return loss, elapsed, asked
    room = model.room if isinstance(model, NeedsRoom) else 0.0
    values = torch.tensor([[loss, elapsed, asked, room]], dtype=torch.float64, device=accelerator.device)
    values = accelerator.gather(values)
    if isinstance(model, NeedsRoom):
        model.room = float(values[:, 3].max())
    loss, elapsed, asked = values[:, :3].mean(0).tolist()
    return loss, elapsed, asked


def progress_bar(settings: TrainSettings, total: int, progress: Progress, shown: bool) -> tqdm:
    """Return a bar over iterations, or over seconds where --time_limit will end the training."""
    length, unit = (int(settings.time_limit), "s") if settings.time_limit else (total, "it")
    position = bar_position(settings, progress)
    return tqdm(total=length, initial=position, unit=unit, desc=settings.dynamic_model, disable=not shown)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.0f} s"


def bar_position(settings: TrainSettings, progress: Progress) -> int:
    """Return where the progress bar stands, in iterations or seconds."""
    return int(min(progress.elapsed, settings.time_limit)) if settings.time_limit else progress.iteration
