#!/usr/bin/env bash
# Simulate all scenes: `sbatch scripts/mpm.sh`, or without Slurm `bash scripts/mpm.sh`.
# Arguments are passed on to dataset.gs_simulation_scene. Variables: see scripts/shards.sh, and
#   CONFIG    settings (default: config/dynamic_config.json)
#SBATCH --job-name=mpm
#SBATCH --array=0-7
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@60

CONFIG=${CONFIG:-config/dynamic_config.json}

here=$(dirname "${BASH_SOURCE[0]}")
[[ -e $here/shards.sh ]] || here=scripts # sbatch runs a copy of this file; call it from the repository
# shellcheck source=scripts/shards.sh
source "$here/shards.sh" || exit

simulate() {
    local shard=$1/$2 group
    shift 2
    for group in $SCENE_GROUPS; do
        step dataset.gs_simulation_scene --data_root "$DATA_ROOT" --model_path "$DATA_ROOT/scenes/$group" \
            --config "$CONFIG" --output_path "$DATA_ROOT/mpm/$group" --save_h5 --shard "$shard" "$@"
    done
}

each_shard simulate "$@"
