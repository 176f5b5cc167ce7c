#!/usr/bin/env bash
# Thousands of prompts on one big machine: a replica of the model on each of its NUMA nodes, many prompts at once on each. The
# results come in as they are done; the same command goes on where a run was stopped.
#
#   configs/prompts.sh MODEL PROMPTS.jsonl RESULTS.jsonl [options of longreach generate]
#
# For several machines see prompts.sbatch. A model too large for one NUMA node: give --replicas 1, or less than there are nodes.
# Another program than build/release/longreach: LONGREACH=/path/to/longreach configs/prompts.sh ...
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "usage: $0 MODEL PROMPTS.jsonl RESULTS.jsonl [options of longreach generate]" >&2
  exit 2
fi
model=$1 prompts=$2 results=$3
shift 3
program=${LONGREACH:-"$(dirname "$0")/../build/release/longreach"}

# Open MPI 4.1 does not count the ranks itself here.
n_domains=$(lscpu --parse=NODE | grep -v '^#' | sort -u | wc -l)
[[ " $* " == *" --replicas"* ]] || set -- --replicas "$n_domains" "$@"

# Open MPI refuses to run as root unless OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 are set.
exec mpirun -n "$n_domains" --map-by ppr:1:numa --bind-to numa \
  "$program" generate --model "$model" --prompts "$prompts" --out "$results" "$@"
