#!/usr/bin/env bash
# Render all trajectories before all backgrounds, and their first frames: `sbatch scripts/render.sh --fixed_view -1`, or
# without Slurm `bash scripts/render.sh --fixed_view -1`. Arguments are passed on to dataset.render, which by default
# makes videos of a moving camera. Variables: see scripts/shards.sh, and
#   CONFIG         settings (default: config/dynamic_config.json)
#   BACKGROUNDS    names of backgrounds, with spaces (default: all in the dataset)
#SBATCH --job-name=render
#SBATCH --array=0-7
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@60

CONFIG=${CONFIG:-config/dynamic_config.json}
BACKGROUNDS=${BACKGROUNDS:-}

here=$(dirname "${BASH_SOURCE[0]}")
[[ -e $here/shards.sh ]] || here=scripts # sbatch runs a copy of this file; call it from the repository
# shellcheck source=scripts/shards.sh
source "$here/shards.sh" || exit

read -ra backgrounds <<<"$BACKGROUNDS"
backgrounds=("${backgrounds[@]/#/$DATA_ROOT/backgrounds/}")
((${#backgrounds[@]})) || backgrounds=("$DATA_ROOT/backgrounds")

render() {
    local shard=$1/$2 group
    shift 2
    for group in $SCENE_GROUPS; do
        step dataset.render --data_root "$DATA_ROOT" --model_path "$DATA_ROOT/mpm/$group" --config "$CONFIG" \
            --background_path "${backgrounds[@]}" --output_path "$DATA_ROOT/dynamic/$group" \
            --initial_path "$DATA_ROOT/initial/$group" --compile_video --shard "$shard" "$@"
    done
}

each_shard render "$@"
