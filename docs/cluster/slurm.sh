#!/usr/bin/env bash
# A search as a Slurm job: sbatch docs/cluster/slurm.sh, from the project's folder.
# Read docs/cluster.md first. A job that met its time limit goes on: sbatch docs/cluster/slurm.sh --resume
#SBATCH --job-name=search
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

SPACE=spaces/pneumonia.py
DATA=$HOME/data/chest_xray
RUNS=$HOME/runs                                     # home and project folders are shared by all nodes
export XFER_CACHE=${TMPDIR:-/tmp}/xfer-$SLURM_JOB_ID # of each node: decoded images, frozen activations
export TORCH_HOME=$HOME/.cache/torch
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0

# Other people's jobs run on the same network: without the token nobody gives this Ray work.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

PORT=$((20000 + SLURM_JOB_ID % 20000))
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
HEAD=${HEAD%%$'\n'*}
GPUS=${SLURM_GPUS_PER_TASK:-0}

srun --overlap --nodes=1 --ntasks=1 --nodelist="$HEAD" \
  ray start --head --block --port="$PORT" --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$GPUS" &
sleep 20
if [ "$SLURM_NNODES" -gt 1 ]; then
  srun --overlap --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$HEAD" \
    ray start --block --address="$HEAD:$PORT" --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$GPUS" &
  sleep 20
fi

# SIGTERM two minutes before the limit: the run puts back what is in the middle and ends by itself.
python -m search.run "$SPACE" --data "$DATA" --address "$HEAD:$PORT" \
  --name pneumonia --out "$RUNS" "$@" &
search=$!
trap 'kill -TERM "$search"' TERM
wait "$search" || wait "$search"
