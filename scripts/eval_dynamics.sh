#!/usr/bin/env bash
# Measure a trained model on held-out groups: `sbatch scripts/eval_dynamics.sh`, or without Slurm
# `bash scripts/eval_dynamics.sh`. Arguments are passed on to dynamic_models.evaluate.
# Variables: see scripts/shards.sh, and
#   EVAL_GROUPS    groups, each of which gets a report of its own (default: 3_9, 4, 5 and 6)
#   CHECKPOINT     directory of the model (default: checkpoints/ngff)
#   MODELS         what to compare (default: ngff,ballistic)
#   REPORTS        directory of the reports (default: output/eval_dynamics)
#SBATCH --job-name=eval_dynamics
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@60

EVAL_GROUPS=${EVAL_GROUPS:-3_9 4 5 6}
CHECKPOINT=${CHECKPOINT:-checkpoints/ngff}
MODELS=${MODELS:-ngff,ballistic}
REPORTS=${REPORTS:-output/eval_dynamics}

here=$(dirname "${BASH_SOURCE[0]}")
[[ -e $here/shards.sh ]] || here=scripts # sbatch runs a copy of this file; call it from the repository
# shellcheck source=scripts/shards.sh
source "$here/shards.sh" || exit

# A group's errors are averages over its scenes: groups are what is shared out.
evaluate() {
    local index=$1 count=$2 number=0 group
    shift 2
    for group in $EVAL_GROUPS; do
        if ((number++ % count == index)); then
            step dynamic_models.evaluate --data_root "$DATA_ROOT" --groups "$group" --models "$MODELS" \
                --checkpoints "$CHECKPOINT" --output "$REPORTS/$group" "$@"
        fi
    done
}

each_shard evaluate "$@"
