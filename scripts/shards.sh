# Sourced by the scripts that work on a dataset in shards, as a Slurm job array or here. Goes to the repository's root.
# shellcheck shell=bash
#
# (submitit would start Python functions instead: these stay scripts that people can read, change and sbatch.)
#
# What all of them take from the environment:
#   DATA_ROOT      the dataset (default: GSCOLLISION_ROOT, or data/GSCollision)
#   SCENE_GROUPS   its groups of scenes (default: 3_0 to 3_9, 4, 5 and 6)
#   SHARDS         shards in all (default: tasks of the job array; elsewhere PROCESSES)
#   PROCESSES      without Slurm: shards at a time (default: one for each GPU, or one); several of a GPU share it through
#                  NVIDIA's MPS, where that runs and CUDA_MPS_PIPE_DIRECTORY does not name one already
#   LOGS           without Slurm: directory of the shards' output where there are several (default: output/logs)
# and, as sbatch does anyway, in place of the #SBATCH lines: SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT,
# SBATCH_ARRAY_INX, SBATCH_GPUS_PER_TASK. To run task 3 of 8 once more: SHARDS=8 sbatch --array=3 scripts/mpm.sh

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DATA_ROOT=${DATA_ROOT:-${GSCOLLISION_ROOT:-data/GSCollision}}
SCENE_GROUPS=${SCENE_GROUPS:-3_0 3_1 3_2 3_3 3_4 3_5 3_6 3_7 3_8 3_9 4 5 6}
LOGS=${LOGS:-output/logs}
export GSCOLLISION_ROOT=$DATA_ROOT
if [[ ! -t 2 ]]; then export TQDM_MININTERVAL=${TQDM_MININTERVAL:-30}; fi # seconds: logs are read, not watched
name=${SLURM_JOB_NAME:-$(basename "$0" .sh)} # a job runs a copy of the script that is called otherwise
python=$(bash setup_env.sh --print_python)

fail() {
    printf '%s: error: %s\n' "$name" "$*" >&2
    exit 2
}

# Numbers of the GPUs that this process may use, one a line.
gpus() {
    if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
        tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | sed '/^$/d'
    elif command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true
    fi
}

# each_shard FUNCTION [ARGUMENT...]: calls FUNCTION INDEX COUNT [ARGUMENT...] for the shard of this Slurm task, or for
# all shards. What FUNCTION starts, it starts with `step`.
each_shard() {
    if [[ ${SLURM_JOB_ID:-} ]]; then
        slurm_shard "$@"
    else
        local_shards "$@"
    fi
}

slurm_shard() {
    local function=$1 index=${SLURM_ARRAY_TASK_ID:-0} count=${SHARDS:-${SLURM_ARRAY_TASK_COUNT:-1}}
    shift
    if [[ -z ${SHARDS:-} && ${SLURM_ARRAY_TASK_MAX:-0} -ne $((count - 1)) ]]; then
        fail "tasks ${SLURM_ARRAY_TASK_MIN:-0} to ${SLURM_ARRAY_TASK_MAX:-0} are not the whole of an array 0-$((count - 1));" \
            "SHARDS says how many shards there are"
    fi
    ((index < count)) || fail "task $index: expected less than SHARDS ($count)"
    "$function" "$index" "$count" "$@"
}

# slurm_step PROGRAM [ARGUMENT...]: a step of this Slurm job. Before the node is taken away, Slurm sends TERM to the
# step and at last to this shell, which has to outlive the step. USR1 (#SBATCH --signal) says that the time is nearly
# over: the step is ended, and the job requeued.
slurm_step() {
    local status stopped=false time_over=false job=$SLURM_JOB_ID
    # One task of an array has the array's own number, by which Slurm means all tasks.
    if [[ ${SLURM_ARRAY_TASK_ID:-} ]]; then job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID; fi
    trap 'stopped=true' TERM
    trap 'stopped=true time_over=true; scancel --signal=TERM "$job"' USR1
    srun ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} "$@" &
    while :; do
        wait $! && status=0 || status=$?
        kill -0 $! 2>/dev/null || break
    done
    if $time_over; then
        printf '%s: the time is over: requeued\n' "$name"
        scontrol requeue "$job"
    fi
    ! $stopped || exit 143
    return "$status"
}

# step MODULE [ARGUMENT...]: a Python program of the repository.
step() {
    if [[ ${SLURM_JOB_ID:-} ]]; then
        slurm_step "$python" -m "$@"
    else
        "$python" -m "$@"
    fi
}

# Several processes' kernels run at the same time on a GPU only through a server of NVIDIA's MPS, which may be missing
# or fail in a container: then they take turns. Sets mps to the server's directory.
start_mps() {
    mps=
    if [[ ${CUDA_MPS_PIPE_DIRECTORY:-} ]] || ! command -v nvidia-cuda-mps-control >/dev/null; then return; fi
    mps=$(mktemp -d)
    export CUDA_MPS_PIPE_DIRECTORY=$mps CUDA_MPS_LOG_DIRECTORY=$mps
    # The server sees all GPUs, so that their numbers stay the same.
    if env -u CUDA_VISIBLE_DEVICES nvidia-cuda-mps-control -d >/dev/null 2>&1 &&
        timeout 60 "$python" -c 'import torch; torch.zeros(1).cuda()' >/dev/null 2>&1; then
        return
    fi
    printf '%s: MPS does not run here: processes that share a GPU take turns\n' "$name"
    stop_mps
}

stop_mps() {
    if [[ ! $mps ]]; then return; fi
    timeout 10 nvidia-cuda-mps-control <<<quit >/dev/null 2>&1 || true
    unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
    rm -rf "$mps"
    mps=
}

local_shards() {
    local function=$1 devices processes count slot status=0 mps=
    shift
    mapfile -t devices < <(gpus)
    processes=${PROCESSES:-$((${#devices[@]} ? ${#devices[@]} : 1))}
    count=${SHARDS:-$processes}
    ((processes <= count)) || processes=$count
    if ((processes > 1)); then
        export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((processes < $(nproc) ? $(nproc) / processes : 1))}
    fi
    if ((${#devices[@]} && processes > ${#devices[@]})); then
        trap 'stop_mps; exit 130' INT TERM
        start_mps
    fi
    set -m # a process group for each, so that a signal reaches all of it
    local -a groups=()
    trap stop_groups INT TERM
    for ((slot = 0; slot < processes; slot++)); do
        if ((${#devices[@]})); then export CUDA_VISIBLE_DEVICES=${devices[slot % ${#devices[@]}]}; fi
        if ((processes > 1)); then
            mkdir -p "$LOGS"
            printf '%s: process %d of %d: %s\n' "$name" "$slot" "$processes" "$LOGS/$name-$slot.log"
            local_slot "$slot" "$processes" "$count" "$function" "$@" >"$LOGS/$name-$slot.log" 2>&1 </dev/null &
        else
            local_slot "$slot" "$processes" "$count" "$function" "$@" </dev/null &
        fi
        groups+=($!)
    done
    for slot in "${!groups[@]}"; do
        while :; do
            wait "${groups[slot]}" && break || status=$?
            kill -0 "${groups[slot]}" 2>/dev/null || break
        done
        if ((status && processes > 1)); then tail -n 1 "$LOGS/$name-$slot.log" >&2; fi
    done
    trap - INT TERM
    stop_mps
    return "$status"
}

stop_groups() {
    local group
    for group in "${groups[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
}

# Every so-many-th shard, one after the other.
local_slot() {
    local slot=$1 processes=$2 count=$3 function=$4 index
    shift 4
    trap : TERM # the program in hand gets it too, and says how it ended
    for ((index = slot; index < count; index += processes)); do "$function" "$index" "$count" "$@"; done
}
