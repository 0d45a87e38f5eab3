#!/usr/bin/env bash
# Train a dynamics model on one node or several: `sbatch [--nodes=4] [--gpus-per-node=8] scripts/train.sh`, or without
# Slurm, on this machine's GPUs, `bash scripts/train.sh`. Arguments are passed on to dynamic_models.train, which goes on
# where an interrupted training was saved. Variables: see scripts/shards.sh, and
#   TRAIN_GROUPS    groups to learn from (default: 3_0 to 3_8)
#   CHECKPOINT      directory of the result (default: checkpoints/ngff)
#   MAIN_ADDRESS    of the first node, for the others (default: its name)
#   MAIN_PORT       on that node (default: 20000 and the last four digits of the job's number)
#SBATCH --job-name=train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120

TRAIN_GROUPS=${TRAIN_GROUPS:-3_0 3_1 3_2 3_3 3_4 3_5 3_6 3_7 3_8}
CHECKPOINT=${CHECKPOINT:-checkpoints/ngff}

here=$(dirname "${BASH_SOURCE[0]}")
[[ -e $here/shards.sh ]] || here=scripts # sbatch runs a copy of this file; call it from the repository
# shellcheck source=scripts/shards.sh
source "$here/shards.sh" || exit

read -ra groups <<<"$TRAIN_GROUPS"
mapfile -t devices < <(gpus)
machines=${SLURM_JOB_NUM_NODES:-1}
processes=$((machines * (${#devices[@]} ? ${#devices[@]} : 1)))
train=(-m dynamic_models.train --data_root "$DATA_ROOT" --groups "${groups[@]}" --output "$CHECKPOINT")
train+=(--ode_method leapfrog "$@") # one evaluation a step, as Euler's, and free fall is exact
accelerate=$(dirname "$python")/accelerate
launch=(--multi_gpu --num_machines "$machines" --num_processes "$processes" --mixed_precision no --dynamo_backend no)

if ((processes == 1)); then
    program=("$python" "${train[@]}") # a launcher would end on SIGTERM before its one process has saved
elif ((machines == 1)); then
    program=("$accelerate" launch "${launch[@]}" "${train[@]}")
else
    first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    launch+=(--main_process_ip "${MAIN_ADDRESS:-$first}")
    launch+=(--main_process_port "${MAIN_PORT:-$((20000 + SLURM_JOB_ID % 10000))}")
    # Which of the machines it is on, only the environment of a launcher says.
    # shellcheck disable=SC2016
    program=(bash -c 'exec "$0" launch --machine_rank "$SLURM_NODEID" "$@"' "$accelerate" "${launch[@]}" "${train[@]}")
fi
[[ ${SLURM_JOB_ID:-} ]] || exec "${program[@]}"
slurm_step "${program[@]}"
