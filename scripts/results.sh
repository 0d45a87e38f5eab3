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
Without PART all of them. Everything but the dataset goes to RESULTS. Can be interrupted and run again: what is
complete is kept, and trainings go on where they were.

Environment, with what a machine of two cores needs four hours for; larger numbers are for GPUs:
  DATA_ROOT          data/results
  RESULTS            output/results
  CONFIG             config/quickstart_config.json: the simulation
  GAUSSIANS          2500, of every object
  TRAIN_SCENES       200, of three objects
  TEST_SCENES        24, of every test set
  TRAIN_FLAGS        sizes of networks and windows, see below in this file
  TRAIN_SECONDS      1500, for every model
  ABLATION_SECONDS   480, for every variant
  PROCESSES          simulations and trainings at a time: one for each GPU, or two
EOF
}

case ${1:-} in
    -h | --help)
        usage
        exit
        ;;
esac
export DATA_ROOT=${DATA_ROOT:-data/results} CONFIG=${CONFIG:-config/quickstart_config.json}
RESULTS=${RESULTS:-output/results}
GAUSSIANS=${GAUSSIANS:-2500}
TRAIN_SCENES=${TRAIN_SCENES:-200}
TEST_SCENES=${TEST_SCENES:-24}
TRAIN_FLAGS=${TRAIN_FLAGS:---num_keypoints 128 --hidden_dim 64 --num_layers 2 --steps 100 --chunk 50 --chunk_start 8 \
    --batch_size 8 --step_size 2e-2 --lr 1e-3 --min_lr 3e-5 --save_interval 5}
TRAIN_SECONDS=${TRAIN_SECONDS:-1500}
ABLATION_SECONDS=${ABLATION_SECONDS:-480}
LOGS=${LOGS:-$RESULTS/logs}
export LOGS TQDM_MININTERVAL=${TQDM_MININTERVAL:-30}
gpus=0
if command -v nvidia-smi >/dev/null; then gpus=$(nvidia-smi -L | wc -l); fi
export PROCESSES=${PROCESSES:-$((gpus ? gpus : 2))}
if ((gpus == 0)); then export OMP_NUM_THREADS=1; fi # the networks are small: a second thread only gets in the way
bash setup_env.sh
python=$(bash setup_env.sh --print_python)
mkdir -p "$LOGS"

# group NAME SCENES SPLIT FRAMES: draws and simulates.
group() {
    export SCENE_GROUPS=$1
    SCENE_NUM=$2 PROCESSES=1 bash scripts/generate_configs.sh --split "$3"
    PROCESSES=1 bash scripts/generate_scene.sh
    bash scripts/mpm.sh --save_fields pos,vel --frame_num "$4"
}

data() {
    "$python" -m dataset.generate_objects --data_root "$DATA_ROOT" --gaussians "$GAUSSIANS"
    group 3_0 "$TRAIN_SCENES" train 100
    group 3_8 $((TEST_SCENES * 2 / 3)) train 100 # to validate on
    group 3_9 "$TEST_SCENES" train 200
    for count in 4 5 6; do group "$count" $((TEST_SCENES / 3)) train 100; done
    group 3_novel "$TEST_SCENES" novel 100
}

# train NAME SECONDS FLAG...: into RESULTS/NAME, in the background as soon as there is room.
train() {
    local name=$1 seconds=$2 flags device=$((started++ % (gpus ? gpus : 1)))
    shift 2
    read -ra flags <<<"$TRAIN_FLAGS"
    while (($(jobs -rp | wc -l) >= PROCESSES)); do wait -n; done
    printf 'training %s: %s\n' "$name" "$LOGS/train-$name.log"
    if ((gpus)); then export CUDA_VISIBLE_DEVICES=$device; fi
    "$python" -m dynamic_models.train --data_root "$DATA_ROOT" --groups 3_0 --val_groups 3_8 --sample_num "$TRAIN_SCENES" \
        --output "$RESULTS/$name" "${flags[@]}" --time_limit "$seconds" "$@" >"$LOGS/train-$name.log" 2>&1 &
}
started=0

trained() {
    while (($(jobs -p | wc -l))); do wait -n; done
}

force_field=(--loss rmse --ode_method leapfrog)

models() {
    train ngff "$TRAIN_SECONDS" "${force_field[@]}"
    train pointformer "$TRAIN_SECONDS" --dynamic_model pointformer --loss rmse
    train gcn "$TRAIN_SECONDS" --dynamic_model gcn --loss rmse
    train ngff_rigid "$TRAIN_SECONDS" "${force_field[@]}" --no-deformation
    trained
}

ablation() {
    local seconds=$ABLATION_SECONDS
    train ablation/default "$seconds" "${force_field[@]}"
    train ablation/published "$seconds" --dynamic_model ngff_published --ode_method euler
    train ablation/objects "$seconds" --dynamic_model ngff_objects "${force_field[@]}"
    train ablation/rigid "$seconds" "${force_field[@]}" --no-deformation
    trained
}

report() {
    "$python" -m dynamic_models.evaluate --data_root "$DATA_ROOT" --models ngff,ngff_rigid,pointformer,gcn,ballistic \
        --checkpoints "$RESULTS/ngff" ngff_rigid="$RESULTS/ngff_rigid" "$RESULTS/pointformer" "$RESULTS/gcn" \
        --sets spatial=3_9@100 temporal=3_9@200 compositional=4,5,6@100 novel=3_novel@100 --output "$RESULTS/report"
    local path variants=() names=
    for path in "$RESULTS"/ablation/*/; do
        names+=,$(basename "$path")
        variants+=("$(basename "$path")=$path")
    done
    "$python" -m dynamic_models.evaluate --data_root "$DATA_ROOT" --models "default${names/,default/},ballistic" \
        --checkpoints "${variants[@]}" --sets spatial=3_9@100 compositional=4,5,6@100 --no-videos \
        --output "$RESULTS/ablation_report"
}

for part in "${@:-data models ablation report}"; do
    for name in $part; do
        case $name in
            data | models | ablation | report) "$name" ;;
            *)
                printf "results: error: unknown part '%s' (--help shows what there is)\n" "$name" >&2
                exit 2
                ;;
        esac
    done
done
