#!/usr/bin/env bash
# Measure how far videos predicted from pictures are from simulated ones: `sbatch scripts/eval_videos.sh`, or without
# Slurm `bash scripts/eval_videos.sh`. Arguments are passed on to videogen.evaluate. When all tasks of a job array have
# ended, `bash scripts/eval_videos.sh` writes the report; without Slurm that is done here.
# Variables: see scripts/shards.sh, and
#   CONFIG         settings that the scenes were simulated with (default: config/dynamic_config.json)
#   EVAL_SETS      sets of groups, simulated with all fields, as --sets takes them
#                  (default: spatial=3_9 compositional=4,5,6)
#   EVAL_SCENES    scenes of every set (default: 12)
#   CHECKPOINT     of the model (default: the model's own)
#   REPORTS        directory of the report (default: output/eval_videos)
#SBATCH --job-name=eval_videos
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@60

CONFIG=${CONFIG:-config/dynamic_config.json}
EVAL_SETS=${EVAL_SETS:-spatial=3_9 compositional=4,5,6}
EVAL_SCENES=${EVAL_SCENES:-12}
CHECKPOINT=${CHECKPOINT:-}
REPORTS=${REPORTS:-output/eval_videos}

here=$(dirname "${BASH_SOURCE[0]}")
[[ -e $here/shards.sh ]] || here=scripts # sbatch runs a copy of this file; call it from the repository
# shellcheck source=scripts/shards.sh
source "$here/shards.sh" || exit

read -ra sets <<<"$EVAL_SETS"

measure() {
    local shard=$1/$2
    shift 2
    step videogen.evaluate --data_root "$DATA_ROOT" --config "$CONFIG" --sets "${sets[@]}" --scenes "$EVAL_SCENES" \
        ${CHECKPOINT:+--checkpoint "$CHECKPOINT"} --output "$REPORTS" --shard "$shard" "$@"
}

if [[ ${SLURM_JOB_ID:-} ]]; then
    each_shard measure "$@"
    exit
fi
mapfile -t devices < <(gpus)
if ((${SHARDS:-${PROCESSES:-${#devices[@]}}} > 1)); then
    status=0
    each_shard measure "$@" || status=$?
    ((status <= 1)) || exit "$status" # 1: some scenes failed
fi
measure 0 1 "$@" # the report, and once more what failed
