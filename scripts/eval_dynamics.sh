#!/usr/bin/env bash
# Measure a trained model on held-out scenes: `sbatch scripts/eval_dynamics.sh`, or without Slurm
# `bash scripts/eval_dynamics.sh`. Arguments are passed on to dynamic_models.evaluate.
# Variables: see scripts/shards.sh, and
#   EVAL_SETS      sets of groups, each of which gets a report of its own, as --sets takes them: name=group,group@frames
#                  (default: spatial=3_9 compositional=4,5,6; with longer scenes and novel objects also
#                  temporal=3_9@200 novel=3_novel)
#   CHECKPOINT     directory of the model (default: checkpoints/ngff)
#   MODELS         what to compare (default: ngff,ballistic)
#   REPORTS        directory of the reports (default: output/eval_dynamics)
#SBATCH --job-name=eval_dynamics
#SBATCH --array=0-1
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@60

EVAL_SETS=${EVAL_SETS:-spatial=3_9 compositional=4,5,6}
CHECKPOINT=${CHECKPOINT:-checkpoints/ngff}
MODELS=${MODELS:-ngff,ballistic}
REPORTS=${REPORTS:-output/eval_dynamics}

here=$(dirname "${BASH_SOURCE[0]}")
[[ -e $here/shards.sh ]] || here=scripts # sbatch runs a copy of this file; call it from the repository
# shellcheck source=scripts/shards.sh
source "$here/shards.sh" || exit

# A set's errors are averages over its scenes: sets are what is shared out.
evaluate() {
    local index=$1 count=$2 number=0 set
    shift 2
    for set in $EVAL_SETS; do
        if ((number++ % count == index)); then
            step dynamic_models.evaluate --data_root "$DATA_ROOT" --sets "$set" --models "$MODELS" \
                --checkpoints "$CHECKPOINT" --output "$REPORTS/${set%%=*}" "$@"
        fi
    done
}

each_shard evaluate "$@"
