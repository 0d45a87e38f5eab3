#!/usr/bin/env bash
# Draw the scenes of all groups: `sbatch scripts/generate_configs.sh`, or without Slurm
# `bash scripts/generate_configs.sh`. Arguments are passed on to dataset.generate_configs.
# Variables: see scripts/shards.sh, and
#   SCENE_NUM    scenes of a group (default: 300)
# A group's name begins with its number of objects: 3_0 has three.
#SBATCH --job-name=generate_configs
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@60

SCENE_NUM=${SCENE_NUM:-300}

here=$(dirname "${BASH_SOURCE[0]}")
[[ -e $here/shards.sh ]] || here=scripts # sbatch runs a copy of this file; call it from the repository
# shellcheck source=scripts/shards.sh
source "$here/shards.sh" || exit

# The draws of a group are one file: groups are what is shared out.
draw() {
    local index=$1 count=$2 number=0 group
    shift 2
    for group in $SCENE_GROUPS; do
        if ((number++ % count == index)); then
            step dataset.generate_configs --data_root "$DATA_ROOT" --obj_num "${group%%_*}" --scene_num "$SCENE_NUM" \
                --group "$group" "$@"
        fi
    done
}

each_shard draw "$@"
