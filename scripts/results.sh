#!/usr/bin/env bash
# Everything behind docs/results.md; `bash scripts/results.sh --help` says what it does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'END'
Make the dataset that the shipped models are trained on, train them and their rivals, and measure them.

    bash scripts/results.sh [PART...]

  data       objects, scenes and simulations, in DATA_ROOT; test sets also moved by half a cell, with guessed materials
  keypoints  what models are trained on and measured at, out of the simulations
  models     every model, for the same time
  ablation   variants of ngff, for the same, shorter time
  report     the tables, plots and videos of docs/results.md
  finer      the first test set on a finer grid, for a table of how far simulations are from themselves
  videos     videos predicted from pictures against simulated ones: their tables, plots and videos
Without PART all but the last two of them. Everything but the dataset goes to RESULTS; tables.md there has all tables.
Can be interrupted and run again: what is complete is kept, and trainings go on where they were. What can run side by
side does so, on all GPUs of the host that CUDA_VISIBLE_DEVICES leaves.

Environment, in brackets what it is at SCALE fine; SCALE coarse takes a machine of two cores some hours:
  SCALE              coarse, or fine where there is a GPU
  DATA_ROOT          data/results
  RESULTS            output/results
  CONFIG             config/quickstart_config.json: the simulation
  N_GRID             64 (128) cells a side, with which the time step shrinks
  GAUSSIANS          2500 (16000) of every object
  TRAIN_SCENES       200 (800) of three objects, and for ngff and ngff_impulses half as many of two, of which one stands
                     on the floor
  TEST_SCENES        24 of every test set
  KEYPOINTS          128 (512 2048) of every object; ngff and ngff_impulses are trained at all of these numbers
  TRAIN_FLAGS        sizes of networks, windows and batches (default: in this file)
  NGFF_FLAGS         what ngff is trained with besides (default: in this file), and
  IMPULSES_FLAGS     what ngff_impulses is
  TRAIN_SECONDS      1200 for every model
  ABLATION_SECONDS   360 for every variant
  VIDEO_SCENES       2 of either set of videos; twelve take a GPU
  CHECKPOINT         what predicts videos (default: RESULTS/ngff, trained here)
  VIDEO_FLAGS        flags of videogen.evaluate, such as --resolution
  PROCESSES          trainings at a time (default: one for each GPU, or two)
  SIMULATIONS        scenes and simulations at a time (default: PROCESSES, or four for each GPU)
END
}

case ${1:-} in
    -h | --help)
        usage
        exit
        ;;
esac
export DATA_ROOT=${DATA_ROOT:-data/results}
CONFIG=${CONFIG:-config/quickstart_config.json}
RESULTS=${RESULTS:-output/results}
LOGS=${LOGS:-$RESULTS/logs}
export LOGS
bash setup_env.sh
# shellcheck source=scripts/shards.sh
source scripts/shards.sh
mapfile -t devices < <(gpus)
gpu_count=${#devices[@]}
SCALE=${SCALE:-$( ((gpu_count)) && echo fine || echo coarse)}
case $SCALE in
    coarse)
        scale=(64 2500 200 128 64)
        flags="--hidden_dim 64 --num_layers 2 --batch_size 8 --save_interval 5 --noise 0.05"
        ;;
    fine)
        scale=(128 16000 800 "512 2048" 96)
        flags="--hidden_dim 128 --num_layers 2 --batch_size 16 --save_interval 5 --video_interval 0 --compile"
        flags+=" --mixed_precision bf16"
        ;;
    *)
        printf "results: error: SCALE: expected coarse or fine, found '%s'\n" "$SCALE" >&2
        exit 2
        ;;
esac
N_GRID=${N_GRID:-${scale[0]}}
GAUSSIANS=${GAUSSIANS:-${scale[1]}}
TRAIN_SCENES=${TRAIN_SCENES:-${scale[2]}}
KEYPOINTS=${KEYPOINTS:-${scale[3]}}
TEST_SCENES=${TEST_SCENES:-24}
TRAIN_FLAGS=${TRAIN_FLAGS:-$flags --steps 100 --chunk 50 --chunk_start 8 --step_size 2e-2 --lr 1e-3 --min_lr 3e-5}
# The first 60 frames have most collisions; what comes after is mostly rest.
learned_from="--groups 3_0 2_0 --steps 60"
NGFF_FLAGS=${NGFF_FLAGS:---ode_method leapfrog --step_size 1e-2 --num_layers 4 --chunk 16 --wall_weight 3 \
    $learned_from}
IMPULSES_FLAGS=${IMPULSES_FLAGS:---hidden_dim 64 --num_layers 2 --step_size 2e-2 --substeps 16 --contacts ${scale[4]} \
    --chunk 8 --chunk_start 8 --noise 0 --lr 3e-3 --min_lr 1e-4 --clip_grad 0.3 $learned_from}
TRAIN_SECONDS=${TRAIN_SECONDS:-1200}
ABLATION_SECONDS=${ABLATION_SECONDS:-360}
VIDEO_SCENES=${VIDEO_SCENES:-2}
CHECKPOINT=${CHECKPOINT:-$RESULTS/ngff}
PROCESSES=${PROCESSES:-$((gpu_count ? gpu_count : 2))}
SIMULATIONS=${SIMULATIONS:-$((gpu_count ? 4 * gpu_count : PROCESSES))}
read -ra keypoints <<<"$KEYPOINTS"
train_groups=(3_0 2_0 3_8)         # 3_8: to validate on
test_groups=(3_9 4 5 6 3_novel)
# The networks are small: on a CPU a second thread only gets in the way, beside a GPU many threads do.
threads=$((gpu_count ? $(nproc) / PROCESSES : 1))
threads=$((threads < 1 ? 1 : threads > 8 ? 8 : threads))
if ((gpu_count == 0)); then export OMP_NUM_THREADS=1; fi
mkdir -p "$LOGS"

objects() {
    "$python" -m dataset.generate_objects --data_root "$DATA_ROOT" --gaussians "$GAUSSIANS"
}

data() {
    objects
    draw train "$TRAIN_SCENES" 3_0
    SCENE_NUM=$((TRAIN_SCENES / 2)) SCENE_GROUPS=2_0 PROCESSES=1 bash scripts/generate_configs.sh --floor -0.93
    draw train $((TEST_SCENES * 2 / 3)) 3_8
    draw train "$TEST_SCENES" 3_9
    draw train $((TEST_SCENES / 3)) 4 5 6
    draw novel "$TEST_SCENES" 3_novel
    configure
    compose "${train_groups[@]}" "${test_groups[@]}"
    simulate 100 3_0 3_8 4 5 6 3_novel
    simulate 60 2_0
    simulate 200 3_9
    moved
    guessed
}

# draw SPLIT SCENES GROUP...: what scenes are made of, and where.
draw() {
    SCENE_NUM=$2 SCENE_GROUPS=${*:3} PROCESSES=1 bash scripts/generate_configs.sh --split "$1"
}

# One process: it composes scenes faster than others would start.
compose() {
    PROCESSES=1 SCENE_GROUPS=$* bash scripts/generate_scene.sh
}

# The simulation's settings for this grid, with materials that a vision-language model guessed, and for a finer grid.
configure() {
    "$python" - "$CONFIG" "$N_GRID" "$RESULTS" <<'END'
import json, pathlib, sys
settings, guess = json.load(open(sys.argv[1])), json.load(open("config/vlm_config.json"))
cells, results = int(sys.argv[2]), pathlib.Path(sys.argv[3])

def on_grid(cells):
    return settings | {"n_grid": cells, "substep_dt": settings["substep_dt"] * settings["n_grid"] / cells}

(results / "config.json").write_text(json.dumps(on_grid(cells)))
guessed = {key: guess[key] for key in ("E", "density", "nu")}
(results / "vlm_config.json").write_text(json.dumps(on_grid(cells) | guessed))
(results / "finer_config.json").write_text(json.dumps(on_grid(cells * 3 // 2) | {"substep_dt": "auto"}))
END
}

# simulate FRAMES GROUP...
simulate() {
    CONFIG=$RESULTS/config.json PROCESSES=$SIMULATIONS SCENE_GROUPS=${*:2} \
        bash scripts/mpm.sh --save_fields pos,vel --frame_num "$1"
}

# in_shards NAME FUNCTION ARGUMENT...: see each_shard. In a shell of its own, whose traps and jobs are its own.
in_shards() {
    (
        name=$1
        PROCESSES=$SIMULATIONS each_shard "${@:2}"
    )
}

# resimulate INDEX COUNT CONFIG FROM INTO FLAG...: a shard of the scenes of one folder into another one.
resimulate() {
    step dataset.gs_simulation_scene --shard "$1/$2" --data_root "$DATA_ROOT" --config "$3" --model_path "$4" \
        --output_path "$5" --save_fields pos "${@:6}"
}

# The first test set once more, with the guessed materials.
guessed() {
    in_shards guessed resimulate "$RESULTS/vlm_config.json" "$DATA_ROOT/scenes/3_9" "$DATA_ROOT/mpm_vlm/3_9" \
        --substep_dt auto
}

# The test sets once more, all objects half a cell further along x and y: what no model can know.
moved() {
    "$python" - "$DATA_ROOT/scene_configs" "$RESULTS/config.json" "${test_groups[@]}" <<'END'
import json, pathlib, sys
folder, settings = pathlib.Path(sys.argv[1]), json.load(open(sys.argv[2]))
half = settings.get("grid_lim", 4.0) / settings["n_grid"] / 2
for group in sys.argv[3:]:
    scenes = json.loads((folder / f"{group}.json").read_text())
    for scene in scenes.values():
        scene["translation"] = [[x + half, y + half, z] for x, y, z in scene["translation"]]
    (folder / f"{group}_shifted.json").write_text(json.dumps(scenes))
END
    compose "${test_groups[@]/%/_shifted}"
    in_shards moved shard_of_moved
}

shard_of_moved() {
    local group frames
    for group in "${test_groups[@]}"; do
        frames=$([[ $group == 3_9 ]] && echo 200 || echo 100)
        resimulate "$1" "$2" "$RESULTS/config.json" "$DATA_ROOT/scenes/${group}_shifted" "$DATA_ROOT/shifted/$group" \
            --frame_num "$frames"
    done
}

finer() {
    configure
    in_shards finer resimulate "$RESULTS/finer_config.json" "$DATA_ROOT/scenes/3_9" "$RESULTS/finer/3_9" --frame_num 100
    tables
}

# Keypoints of all simulations, which trainings and reports then find.
keypoints() {
    in_shards keypoints shard_of_keypoints
}

shard_of_keypoints() {
    "$python" - "$1" "$2" "$DATA_ROOT" "$KEYPOINTS" "${train_groups[@]}" "${test_groups[@]}" <<'END'
import pathlib, sys
from dataset.layout import Layout
from dynamic_models.data.windows import load_scene
shard, shards, layout, groups = int(sys.argv[1]), int(sys.argv[2]), Layout(pathlib.Path(sys.argv[3])), sys.argv[5:]
scenes = [(group, scene) for group in groups for scene in layout.scenes_in_mpm(group)]
for group, scene in scenes[shard::shards]:
    for count in map(int, sys.argv[4].split()):
        load_scene(layout, group, scene, count, layout.root / "keypoints" / group / f"{scene}_{count}.safetensors")
END
}

# job NAME PROGRAM...: on a GPU of its own, in the background as soon as there is room.
job() {
    local name=$1 log=$LOGS/${1//\//-}.log device each
    shift
    while (($(jobs -rp | wc -l) >= PROCESSES)); do one_ends; done
    printf '%s: %s\n' "$name" "$log"
    device=
    for each in "${devices[@]}"; do
        if ! kill -0 "${running_on[$each]:-none}" 2>/dev/null; then device=$each && break; fi
    done
    env OMP_NUM_THREADS="$threads" ${device:+CUDA_VISIBLE_DEVICES="$device"} "$@" >"$log" 2>&1 &
    if [[ $device ]]; then running_on[$device]=$!; fi
}
declare -A running_on
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT # trainings save themselves
trap 'exit 130' INT
trap 'exit 143' TERM

one_ends() {
    wait -n || {
        printf 'results: error: a training or a report failed; its log in %s says why\n' "$LOGS" >&2
        exit 2
    }
}

all_end() {
    while (($(jobs -p | wc -l))); do one_ends; done
}

# train NAME SECONDS FLAG...: into RESULTS/NAME.
train() {
    local name=$1 seconds=$2 flags
    shift 2
    read -d '' -ra flags <<<"$TRAIN_FLAGS" || true # several lines of them
    job "train-$name" "$python" -m dynamic_models.train --data_root "$DATA_ROOT" --groups 3_0 --val_groups 3_8 \
        --sample_num "$TRAIN_SCENES" --output "$RESULTS/$name" --num_keypoints "${keypoints[0]}" "${flags[@]}" \
        --time_limit "$seconds" "$@"
}

models() {
    local ngff impulses count
    read -d '' -ra ngff <<<"$NGFF_FLAGS" || true
    read -d '' -ra impulses <<<"--dynamic_model ngff_impulses $IMPULSES_FLAGS" || true
    train ngff "$TRAIN_SECONDS" "${ngff[@]}"
    train ngff_impulses "$TRAIN_SECONDS" "${impulses[@]}"
    train pointformer "$TRAIN_SECONDS" --dynamic_model pointformer
    train gcn "$TRAIN_SECONDS" --dynamic_model gcn
    train rigidformer "$TRAIN_SECONDS" --dynamic_model rigidformer
    for count in "${keypoints[@]:1}"; do
        train "ngff_$count" "$TRAIN_SECONDS" "${ngff[@]}" --num_keypoints "$count"
        train "ngff_impulses_$count" "$TRAIN_SECONDS" "${impulses[@]}" --num_keypoints "$count"
    done
}

# variant NAME FLAG...: of ngff in steps of 0.02 s, which take half the time.
variant() {
    local name=$1
    shift
    train "ablation/$name" "$ABLATION_SECONDS" --ode_method leapfrog --num_layers 4 "$@"
}

ablation() {
    variant default
    variant two_layers --num_layers 2
    variant published --dynamic_model ngff_published --ode_method euler
    variant published_mended --dynamic_model ngff_objects
    variant short_reach --threshold 0.125
    variant squared_loss --loss mse
    variant no_augmentation --no-augment
    variant no_noise --noise 0
    variant no_curriculum --chunk_start 50
    variant euler --ode_method euler
    variant half_steps --step_size 1e-2
    variant half_windows --chunk 24
    variant rigid --no-deformation
    variant rigid_half_steps --no-deformation --step_size 1e-2
}

report() {
    local names=ngff,ngff_impulses,pointformer,gcn,rigidformer count name
    local -a checkpoints=("$RESULTS"/{ngff,ngff_impulses,pointformer,gcn,rigidformer})
    all_end
    for count in "${keypoints[@]:1}"; do
        for name in "ngff_$count" "ngff_impulses_$count"; do
            names+=,$name
            checkpoints+=("$name=$RESULTS/$name")
        done
    done
    measure "$names,ballistic,floor" report --sets spatial=3_9@100 temporal=3_9@200 compositional=4,5,6@100 \
        novel=3_novel@100 --checkpoints "${checkpoints[@]}" --rollouts 10
    measure ngff,ngff_impulses,mpm_vlm,ballistic,floor guessed --sets spatial=3_9@100 --no-videos \
        --checkpoints "$RESULTS"/{ngff,ngff_impulses}
    all_end
    tables
}

# measure MODELS DIRECTORY FLAG...
measure() {
    job "$2" "$python" -m dynamic_models.evaluate --data_root "$DATA_ROOT" --models "$1" --output "$RESULTS/$2" "${@:3}"
}

tables() {
    "$python" -m scripts.results_tables --results "$RESULTS" --data_root "$DATA_ROOT" --num_keypoints "${keypoints[0]}"
}

# Scenes of their own, simulated with all that pictures show.
videos() {
    local spatial=3_videos
    local -a compositional=({4,5,6}_videos) flags
    read -ra flags <<<"${VIDEO_FLAGS:-}"
    objects
    draw train "$VIDEO_SCENES" "$spatial"
    draw train $(((VIDEO_SCENES + 2) / 3)) "${compositional[@]}"
    compose "$spatial" "${compositional[@]}"
    configure
    CONFIG=$RESULTS/config.json PROCESSES=$SIMULATIONS SCENE_GROUPS="$spatial ${compositional[*]}" \
        bash scripts/mpm.sh --frame_num 100
    all_end
    CONFIG=$RESULTS/config.json CHECKPOINT=$CHECKPOINT EVAL_SCENES=$VIDEO_SCENES REPORTS=$RESULTS/videos \
        PROCESSES=$PROCESSES EVAL_SETS="spatial=$spatial compositional=$(IFS=, && echo "${compositional[*]}")" \
        bash scripts/eval_videos.sh --novel_background "$DATA_ROOT/backgrounds/table6" "${flags[@]}"
}

for part in "${@:-data keypoints models ablation report}"; do
    for name in $part; do
        case $name in
            data | keypoints | models | ablation | report | finer | videos) "$name" ;;
            *)
                printf "results: error: unknown part '%s' (--help shows what there is)\n" "$name" >&2
                exit 2
                ;;
        esac
    done
done
all_end
