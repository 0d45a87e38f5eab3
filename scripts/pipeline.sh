#!/usr/bin/env bash
# The whole dataset, and a model trained on it; `bash scripts/pipeline.sh --help` says how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'USAGE'
Scene configs -> scenes -> simulation -> rendering, and simulation -> training -> evaluation.

    bash scripts/pipeline.sh [--local]

Where there is Slurm, submits the stages as jobs, each of which begins when the one before it has ended well; a stage
that fails cancels those that wait for it. Else, or with --local, runs them here one after another. What is complete is
not made again: after a failure, or with more scenes, give the command again. The objects have to be there:
python -m dataset.generate_objects makes them.

Environment: what the scripts of the stages take (their first lines say), and for each stage, GENERATE_CONFIGS,
GENERATE_SCENE, MPM, RENDER, TRAIN, EVAL_DYNAMICS:
  <STAGE>_SBATCH    options of its sbatch, e.g. MPM_SBATCH="--partition=gpu --array=0-31 --time=4:00:00"
  <STAGE>_FLAGS     flags of its Python program, e.g. RENDER_FLAGS="--fixed_view -1 --resolution 448"
  STAGES            which of them (default: all)
  JOB_LOGS          directory of the jobs' output (default: output/slurm)
USAGE
}

local=false
for argument in "$@"; do
    case $argument in
        --local) local=true ;;
        -h | --help)
            usage
            exit
            ;;
        *)
            printf "pipeline: error: unknown argument '%s' (--help shows what there is)\n" "$argument" >&2
            exit 2
            ;;
    esac
done
command -v sbatch >/dev/null || local=true
STAGES=${STAGES:-generate_configs generate_scene mpm render train eval_dynamics}
JOB_LOGS=${JOB_LOGS:-output/slurm}
declare -A needs=([generate_scene]=generate_configs [mpm]=generate_scene [render]=mpm [train]=mpm [eval_dynamics]=train)
declare -A jobs=()

# stage NAME: runs or submits scripts/NAME.sh.
stage() {
    local name=$1 variable=${1^^} array=_%a
    local before=${needs[$1]:-none}
    local -a flags options
    local -n stage_flags=${variable}_FLAGS stage_sbatch=${variable}_SBATCH
    read -ra flags <<<"${stage_flags:-}"
    if $local; then
        printf '\n== %s\n' "$name"
        bash "scripts/$name.sh" "${flags[@]}"
        return
    fi
    read -ra options <<<"${stage_sbatch:-}"
    grep -q '^#SBATCH --array' "scripts/$name.sh" || array=
    options=(--parsable --output="$JOB_LOGS/$name-%A$array.log" "${options[@]}")
    if [[ ${jobs[$before]:-} ]]; then
        options+=(--dependency="afterok:${jobs[$before]}" --kill-on-invalid-dep=yes)
    fi
    jobs[$name]=$(sbatch "${options[@]}" "scripts/$name.sh" "${flags[@]}")
    jobs[$name]=${jobs[$name]%%;*} # the cluster's name may follow
    printf '%-17s job %s%s\n' "$name" "${jobs[$name]}" "${jobs[$before]:+ after ${jobs[$before]}}"
}

$local || mkdir -p "$JOB_LOGS"
bash setup_env.sh
for name in $STAGES; do stage "$name"; done
$local || printf 'submitted; squeue shows how far they are, %s what they say\n' "$JOB_LOGS"
