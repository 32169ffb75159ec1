#!/usr/bin/env bash
# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
# Sets up and trains on every host of a TPU VM slice. Prints the commands; --yes runs them. See launch/README.md.
#
#   launch/tpu_vm.sh setup --name=NAME --zone=ZONE --repository=URL [--commit=HASH] [--yes]
#   launch/tpu_vm.sh train --name=NAME --zone=ZONE [--yes] -- --config=configs/stage1_tokenizer.py --workdir=gs://BUCKET/RUN
#   launch/tpu_vm.sh stop  --name=NAME --zone=ZONE [--yes]
set -euo pipefail

fail() {
  echo "launch/tpu_vm.sh: $1" >&2
  exit 2
}

usage() {
  sed -n '4,8s/^# \{0,1\}//p' "$0"
}

action=""
name=""
zone=""
project=""
repository=""
commit=""
directory="focus_jax"
run=0
while [[ $# -gt 0 ]]; do
  case "$1" in
    setup | train | stop) action="$1" ;;
    --name=*) name="${1#*=}" ;;
    --zone=*) zone="${1#*=}" ;;
    --project=*) project="${1#*=}" ;;
    --repository=*) repository="${1#*=}" ;;
    --commit=*) commit="${1#*=}" ;;
    --directory=*) directory="${1#*=}" ;;
    --yes) run=1 ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) fail "$1: expected setup, train or stop and the options that --help lists." ;;
  esac
  shift
done
[[ -n "$action" ]] || fail "expected setup, train or stop first."
[[ -n "$name" ]] || fail "--name: expected the name of the TPU VM."
[[ -n "$zone" ]] || fail "--zone: expected the zone of the TPU VM."

# What runs on every host; %q keeps each word one word in the remote shell.
case "$action" in
  setup)
    [[ -n "$repository" ]] || fail "--repository: expected the URL of the repository for setup."
    printf -v remote 'set -e; test -d %q || git clone %q %q' "$directory" "$repository" "$directory"
    printf -v remote '%s; cd %q; git fetch; git checkout %q' "$remote" "$directory" "${commit:-origin/HEAD}"
    # TPU images bring an older Python than 3.11; uv brings its own.
    remote+='; python3 -m pip install --user --quiet uv; python3 -m uv venv --allow-existing --python 3.12 .venv'
    remote+='; python3 -m uv pip install --python .venv --require-hashes -r requirements.txt'
    remote+='; python3 -m uv pip install --python .venv ".[tpu]"'
    ;;
  train)
    [[ $# -gt 0 ]] || fail "train: expected the arguments of focus_jax.train after --."
    printf -v arguments ' %q' "$@"
    printf -v remote 'cd %q && .venv/bin/python -m focus_jax.train --distributed%s' "$directory" "$arguments"
    ;;
  stop) # SIGTERM: the hosts agree on a step, save it and leave. The brackets keep pkill from matching its own shell.
    remote='pkill -TERM -f "[f]ocus_jax.train"'
    ;;
esac

command=(gcloud compute tpus tpu-vm ssh "$name" "--zone=$zone" --worker=all "--command=$remote")
[[ -z "$project" ]] || command+=("--project=$project")

if [[ "$run" == 1 ]]; then
  exec "${command[@]}"
fi
printf '%q ' "${command[@]}"
printf '\n'
echo "(printed only; add --yes to run it)" >&2
