#!/usr/bin/env bash
# The whole way once; `bash scripts/quickstart.sh --help` says what it does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'EOF'
From objects to a predicted 4D video, on a laptop.

    bash scripts/quickstart.sh [--train] [--photographs] [OUTPUT]

Sets up the environment (setup_env.sh), then: makes objects -> places them in scenes -> simulates -> renders ->
predicts scenes that the force field has not seen -> compares. Everything, the small dataset included, goes to OUTPUT
(default: output/quickstart). Can be interrupted and run again: what is complete is kept.

  --train   predict with a force field that is trained here, in less than two minutes on twenty scenes, instead of the
            one that comes with the repository
  --photographs
            then also reconstruct the scene from 20 pictures of it, and predict what was reconstructed; some minutes
EOF
}

train=false
photographs=false
out=output/quickstart
for argument in "$@"; do
    case $argument in
        -h | --help)
            usage
            exit
            ;;
        --train) train=true ;;
        --photographs) photographs=true ;;
        -*)
            printf "quickstart: error: unknown flag '%s' (--help shows what there is)\n" "$argument" >&2
            exit 2
            ;;
        *) out=$argument ;;
    esac
done
data=$out/data
config=config/quickstart_config.json
background=table6
held_out=2_held_out
python=$(bash setup_env.sh --print_python)
started=$SECONDS

stage() {
    printf '\n== %s\n' "$1"
    shift
    "$python" -m "$@"
}

# Half of the scenes in the background, where a second core is there to simulate them; this one shows its progress.
simulate() {
    local group=$1
    local -a command=(dataset.gs_simulation_scene --data_root "$data" --model_path "$data/scenes/$group"
        --config "$config" --output_path "$data/mpm/$group" --save_h5)
    if (($(nproc) == 1)) || command -v nvidia-smi >/dev/null; then
        stage "Simulation of group $group" "${command[@]}"
        return
    fi
    "$python" -m "${command[@]}" --shard 1/2 >"$out/simulation.log" 2>&1 &
    other=$!
    trap 'kill $other 2>/dev/null || true' EXIT
    stage "Simulation of group $group" "${command[@]}" --shard 0/2
    wait $other || { tail -n 1 "$out/simulation.log" >&2 && exit 1; }
    trap - EXIT
}

mkdir -p "$out"
stage "Objects and a background" dataset.generate_objects --data_root "$data" --gaussians 2500 \
    --objects ball,bowl,can,cloth,duck,miku,panda,phone,pillow,rope --backgrounds "$background"
# group NAME SCENES SEED: draws and simulates scenes of two objects.
group() {
    stage "Scenes of group $1" dataset.generate_configs --data_root "$data" --obj_num 2 --scene_num "$2" --seed "$3" \
        --group "$1"
    stage "Gaussians of group $1" dataset.generate_scene --data_root "$data" \
        --input "$data/scene_configs/$1.json" --output "$data/scenes/$1"
    simulate "$1"
}
group "$held_out" 4 7
shopt -s nullglob
scenes=("$data/mpm/$held_out/"2_*)
scene=$(basename "${scenes[0]}")

picture=(--config "$config" --background_path "$data/backgrounds/$background" --single_view 0 --resolution 320 --shadows)
stage "Video of the simulation" dataset.render --data_root "$data" --model_path "$data/mpm/$held_out/$scene" \
    --output_path "$out/simulated" --compile_video "${picture[@]}"
model=ngff_impulses
checkpoint=dynamic_models/pretrained/ngff_impulses_coarse # trained on such a grid
if $train; then
    model=ngff
    checkpoint=$out/checkpoint
    group 2 20 42
    # The networks are so small that a second thread only gets in the way.
    OMP_NUM_THREADS=1 stage "Training" dynamic_models.train --data_root "$data" --groups 2 --output "$checkpoint" \
        --num_keypoints 64 --hidden_dim 64 --num_layers 2 --chunk 50 --chunk_start 8 --ode_method leapfrog \
        --step_size 2e-2 --batch_size 8 --lr 1e-3 --min_lr 3e-5 --time_limit 100
fi
stage "Video of the prediction" videogen.eval --data_root "$data" --model_path "$data/scenes/$held_out/$scene" \
    --dynamic_model $model --checkpoint "$checkpoint" --output_path "$out/predicted" --compile_video \
    "${picture[@]}"
stage "Comparison" videogen.side_by_side --videos "$out/simulated/view_0/$scene.mp4" "$out/predicted/$scene.mp4" \
    --titles "MPM simulation" "NGFF prediction" --output "$out/compared.mp4"
stage "Errors" dynamic_models.evaluate --data_root "$data" --groups "$held_out" --models $model,ballistic \
    --checkpoints "$checkpoint" --output "$out"

if $photographs; then
    pictures=$out/pictures/$background
    stage "Pictures of the scene" dataset.render --data_root "$data" --model_path "$data/mpm/$held_out/$scene" \
        --initial_path "$pictures" --config "$config" --background_path "$data/backgrounds/$background" --resolution 128
    stage "Reconstruction from 20 of them" videogen.reconstruct --data_path "$pictures/$scene.mp4" \
        --save_folder "$out/reconstructed/$scene" --max_side 128 --refine
    stage "Video of what was reconstructed" videogen.eval --data_root "$data" \
        --model_path "$out/reconstructed/$scene/sim_refine" --background_path "$out/reconstructed/$scene/bg" \
        --dynamic_model $model --checkpoint "$checkpoint" --output_path "$out/predicted_from_pictures" \
        --config "$config" --single_view 0 --resolution 320 --shadows
    stage "Comparison" videogen.side_by_side --videos "$out/simulated/view_0/$scene.mp4" \
        "$out/predicted_from_pictures/$scene.mp4" --titles "MPM simulation" "From pictures, NGFF" \
        --output "$out/compared_from_pictures.mp4"
    printf '\nDone in %d s. Open %s and %s (%s).\n' $((SECONDS - started)) "$out/compared_from_pictures.mp4" \
        "$out/compared.mp4" "$out/reconstructed/$scene/report.md"
    exit
fi

printf '\nDone in %d s. Open %s (and %s, %s).\n' $((SECONDS - started)) \
    "$out/compared.mp4" "$out/error_over_time.png" "$out/metrics.json"
