#!/usr/bin/env bash
# Everything behind docs/results.md; `bash scripts/results.sh --help` says what it does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'EOF'
Make the dataset that the shipped models are trained on, train them and their rivals, and measure them.

    bash scripts/results.sh [PART...]

  data      objects, scenes and simulations, in DATA_ROOT
  models    every model, for the same time
  ablation  variants of ngff, for the same, shorter time
  report    the tables, plots and videos of docs/results.md
  videos    videos predicted from pictures against simulated ones: their tables, plots and videos
Without PART all but the last of them. Everything but the dataset goes to RESULTS. Can be interrupted and run again: what is
complete is kept, and trainings go on where they were.

Environment, with what a machine of two cores needs three hours for; larger numbers are for GPUs:
  DATA_ROOT          data/results
  RESULTS            output/results
  CONFIG             config/quickstart_config.json: the simulation
  N_GRID             64, cells a side, with which the time step shrinks
  GAUSSIANS          2500, of every object
  TRAIN_SCENES       200, of three objects
  TEST_SCENES        24, of every test set
  TRAIN_FLAGS        sizes of networks, windows and batches (default: in this file)
  TRAIN_SECONDS      1200, for every model
  ABLATION_SECONDS   360, for every variant
  VIDEO_SCENES       2, of either set of videos; twelve take a GPU
  CHECKPOINT         what predicts videos (default: RESULTS/ngff, trained here)
  VIDEO_FLAGS        flags of videogen.evaluate, such as --resolution
  PROCESSES          trainings at a time (default: one for each GPU, or two)
  SIMULATIONS        scenes and simulations at a time (default: PROCESSES; a GPU has room for several)
EOF
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
N_GRID=${N_GRID:-64}
GAUSSIANS=${GAUSSIANS:-2500}
TRAIN_SCENES=${TRAIN_SCENES:-200}
TEST_SCENES=${TEST_SCENES:-24}
TRAIN_FLAGS=${TRAIN_FLAGS:---num_keypoints 128 --hidden_dim 64 --num_layers 2 --steps 100 --chunk 50 --chunk_start 8 \
    --batch_size 8 --step_size 2e-2 --lr 1e-3 --min_lr 3e-5 --noise 0.05 --save_interval 5}
TRAIN_SECONDS=${TRAIN_SECONDS:-1200}
ABLATION_SECONDS=${ABLATION_SECONDS:-360}
VIDEO_SCENES=${VIDEO_SCENES:-2}
CHECKPOINT=${CHECKPOINT:-$RESULTS/ngff}
LOGS=${LOGS:-$RESULTS/logs}
export LOGS
bash setup_env.sh
# shellcheck source=scripts/shards.sh
source scripts/shards.sh
mapfile -t devices < <(gpus)
PROCESSES=${PROCESSES:-$((${#devices[@]} ? ${#devices[@]} : 2))}
SIMULATIONS=${SIMULATIONS:-$PROCESSES}
if ((${#devices[@]} == 0)); then export OMP_NUM_THREADS=1; fi # the networks are small: a second thread only gets in the way
mkdir -p "$LOGS"

objects() {
    "$python" -m dataset.generate_objects --data_root "$DATA_ROOT" --gaussians "$GAUSSIANS"
}

data() {
    objects
    draw train "$TRAIN_SCENES" 3_0
    draw train $((TEST_SCENES * 2 / 3)) 3_8 # to validate on
    draw train "$TEST_SCENES" 3_9
    draw train $((TEST_SCENES / 3)) 4 5 6
    draw novel "$TEST_SCENES" 3_novel
    PROCESSES=$SIMULATIONS SCENE_GROUPS="3_0 3_8 3_9 4 5 6 3_novel" bash scripts/generate_scene.sh
    configure
    simulate 100 3_0 3_8 4 5 6 3_novel
    simulate 200 3_9
    guessed
}

# draw SPLIT SCENES GROUP...: what scenes are made of, and where.
draw() {
    SCENE_NUM=$2 SCENE_GROUPS=${*:3} PROCESSES=1 bash scripts/generate_configs.sh --split "$1"
}

# The simulation's settings for this grid, and with materials that a vision-language model guessed.
configure() {
    "$python" - "$CONFIG" "$N_GRID" "$RESULTS" <<'EOF'
import json, pathlib, sys
settings, guess = json.load(open(sys.argv[1])), json.load(open("config/vlm_config.json"))
cells, results = int(sys.argv[2]), pathlib.Path(sys.argv[3])
settings |= {"n_grid": cells, "substep_dt": settings["substep_dt"] * settings["n_grid"] / cells}
(results / "config.json").write_text(json.dumps(settings))
(results / "vlm_config.json").write_text(json.dumps(settings | {key: guess[key] for key in ("E", "density", "nu")}))
EOF
}

# simulate FRAMES GROUP...
simulate() {
    CONFIG=$RESULTS/config.json PROCESSES=$SIMULATIONS SCENE_GROUPS=${*:2} \
        bash scripts/mpm.sh --save_fields pos,vel --frame_num "$1"
}

# The first test set once more, with the guessed materials.
guessed() {
    "$python" -m dataset.gs_simulation_scene --data_root "$DATA_ROOT" --model_path "$DATA_ROOT/scenes/3_9" \
        --config "$RESULTS/vlm_config.json" --output_path "$DATA_ROOT/mpm_vlm/3_9" --save_fields pos --substep_dt auto
}

# train NAME SECONDS FLAG...: into RESULTS/NAME, in the background as soon as there is room.
train() {
    local name=$1 seconds=$2 log=$LOGS/train-${1//\//-}.log flags device each
    shift 2
    read -d '' -ra flags <<<"$TRAIN_FLAGS" || true # several lines of them
    while (($(jobs -rp | wc -l) >= PROCESSES)); do one_ends; done
    printf 'training %s: %s\n' "$name" "$log"
    device=
    for each in "${devices[@]}"; do
        if ! kill -0 "${training_on[$each]:-none}" 2>/dev/null; then device=$each && break; fi
    done
    env ${device:+CUDA_VISIBLE_DEVICES="$device"} "$python" -m dynamic_models.train --data_root "$DATA_ROOT" \
        --groups 3_0 --val_groups 3_8 --sample_num "$TRAIN_SCENES" --output "$RESULTS/$name" "${flags[@]}" \
        --time_limit "$seconds" "$@" >"$log" 2>&1 &
    if [[ $device ]]; then training_on[$device]=$!; fi
}
declare -A training_on
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT # trainings save themselves
trap 'exit 130' INT
trap 'exit 143' TERM

one_ends() {
    wait -n || {
        printf 'results: error: a training failed; its log in %s says why\n' "$LOGS" >&2
        exit 2
    }
}

trained() {
    while (($(jobs -p | wc -l))); do one_ends; done
}

models() {
    train ngff "$TRAIN_SECONDS" --ode_method leapfrog --step_size 1e-2 --num_layers 4
    train pointformer "$TRAIN_SECONDS" --dynamic_model pointformer
    train gcn "$TRAIN_SECONDS" --dynamic_model gcn
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
    trained
    measure ngff,pointformer,gcn,ballistic report --sets spatial=3_9@100 temporal=3_9@200 compositional=4,5,6@100 \
        novel=3_novel@100 --checkpoints "$RESULTS"/{ngff,pointformer,gcn}
    measure ngff,mpm_vlm,ballistic guessed --sets spatial=3_9@100 --checkpoints "$RESULTS/ngff" --no-videos
    if [[ ! -d $RESULTS/ablation ]]; then return; fi # only some parts were asked for
    "$python" - "$RESULTS"/ablation/*/best.json <<'EOF' | tee "$RESULTS/ablation.md"
import json, pathlib, sys
print("| variant | iterations | RMSE of validation scenes [m] |\n| --- | --- | --- |")
for path in map(pathlib.Path, sys.argv[1:]):
    training = json.loads(path.read_text())["training"]
    print(f"| {path.parent.name} | {training['iterations']} | {training['val_rmse']:.3f} |")
EOF
}

# Scenes of their own, simulated with all that pictures show.
videos() {
    local spatial=3_videos
    local -a compositional=({4,5,6}_videos) flags
    read -ra flags <<<"${VIDEO_FLAGS:-}"
    objects
    draw train "$VIDEO_SCENES" "$spatial"
    draw train $(((VIDEO_SCENES + 2) / 3)) "${compositional[@]}"
    PROCESSES=$SIMULATIONS SCENE_GROUPS="$spatial ${compositional[*]}" bash scripts/generate_scene.sh
    configure
    CONFIG=$RESULTS/config.json PROCESSES=$SIMULATIONS SCENE_GROUPS="$spatial ${compositional[*]}" \
        bash scripts/mpm.sh --frame_num 100
    trained
    CONFIG=$RESULTS/config.json CHECKPOINT=$CHECKPOINT EVAL_SCENES=$VIDEO_SCENES REPORTS=$RESULTS/videos \
        PROCESSES=$PROCESSES EVAL_SETS="spatial=$spatial compositional=$(IFS=, && echo "${compositional[*]}")" \
        bash scripts/eval_videos.sh --novel_background "$DATA_ROOT/backgrounds/table6" "${flags[@]}"
}

# measure MODELS DIRECTORY FLAG...
measure() {
    "$python" -m dynamic_models.evaluate --data_root "$DATA_ROOT" --models "$1" --output "$RESULTS/$2" "${@:3}"
}

for part in "${@:-data models ablation report}"; do
    for name in $part; do
        case $name in
            data | models | ablation | report | videos) "$name" ;;
            *)
                printf "results: error: unknown part '%s' (--help shows what there is)\n" "$name" >&2
                exit 2
                ;;
        esac
    done
done
trained
