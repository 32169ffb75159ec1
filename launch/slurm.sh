#!/usr/bin/env bash
# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
# Trains on GPUs of a SLURM cluster, one process a GPU. Prints the command; --yes submits it. See launch/README.md.
#
#   launch/slurm.sh --nodes=2 --gpus=8 [--cpus=12] [--time=24:00:00] [--partition=NAME] [--yes] -- \
#     --config=configs/stage1_tokenizer.py --workdir=/shared/runs/stage1
set -euo pipefail

fail() {
  echo "launch/slurm.sh: $1" >&2
  exit 2
}

usage() {
  sed -n '4,7s/^# \{0,1\}//p' "$0"
}

nodes=1
gpus=1
cpus=12
time="24:00:00"
partition=""
run=0
while [[ $# -gt 0 ]]; do
  case "$1" in
    --nodes=*) nodes="${1#*=}" ;;
    --gpus=*) gpus="${1#*=}" ;;
    --cpus=*) cpus="${1#*=}" ;;
    --time=*) time="${1#*=}" ;;
    --partition=*) partition="${1#*=}" ;;
    --yes) run=1 ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) fail "$1: expected one of the options that --help lists." ;;
  esac
  shift
done
for option in nodes gpus cpus; do
  [[ "${!option}" =~ ^[1-9][0-9]*$ ]] || fail "--$option=${!option}: expected a positive number."
done
[[ $# -gt 0 ]] || fail "expected the arguments of focus_jax.train after --."

printf -v arguments ' %q' "$@"
# --gpus-per-node and not per task: jax gives process i of a node its GPU i, so every process must see them all.
# --signal: SIGTERM two minutes before the end, time enough to save; --requeue: the same command then goes on.
command=(
  sbatch --job-name=focus_jax "--nodes=$nodes" "--gpus-per-node=$gpus" "--ntasks-per-node=$gpus"
  "--cpus-per-task=$cpus" "--time=$time" --signal=TERM@120 --requeue --open-mode=append
)
[[ -z "$partition" ]] || command+=("--partition=$partition")
command+=("--wrap=srun .venv/bin/python -m focus_jax.train --distributed$arguments")

if [[ "$run" == 1 ]]; then
  exec "${command[@]}"
fi
printf '%q ' "${command[@]}"
printf '\n'
echo "(printed only; add --yes to submit it)" >&2
