#!/usr/bin/env bash
# Put the scenes' Gaussians together: `sbatch scripts/generate_scene.sh`, or without Slurm
# `bash scripts/generate_scene.sh`. Arguments are passed on to dataset.generate_scene. Variables: see scripts/shards.sh.
#SBATCH --job-name=generate_scene
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@60

here=$(dirname "${BASH_SOURCE[0]}")
[[ -e $here/shards.sh ]] || here=scripts # sbatch runs a copy of this file; call it from the repository
# shellcheck source=scripts/shards.sh
source "$here/shards.sh" || exit

compose() {
    local shard=$1/$2 group
    shift 2
    for group in $SCENE_GROUPS; do
        step dataset.generate_scene --data_root "$DATA_ROOT" --group "$group" --shard "$shard" "$@"
    done
}

each_shard compose "$@"
