#!/usr/bin/env bash
# One big machine with several NUMA nodes: one rank for each of them, so that every core reads weights and cache from the
# memory next to it. On a machine with one NUMA node this is one rank, and plain `longreach generate` does the same.
#
#   configs/one-node.sh MODEL PROMPT_FILE [options of longreach generate]
#
# Another program than build/release/longreach: LONGREACH=/path/to/longreach configs/one-node.sh ...
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: $0 MODEL PROMPT_FILE [options of longreach generate]" >&2
  exit 2
fi
model=$1 prompt=$2
shift 2
program=${LONGREACH:-"$(dirname "$0")/../build/release/longreach"}

# Open MPI 4.1 does not count the ranks itself here.
n_domains=$(lscpu --parse=NODE | grep -v '^#' | sort -u | wc -l)

# Each rank is bound to the cores of its NUMA node; --verbose tells what every rank was bound to. Open MPI refuses to run as
# root unless OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 are set.
exec mpirun -n "$n_domains" --map-by ppr:1:numa --bind-to numa \
  "$program" generate --model "$model" --prompt-file "$prompt" --verbose "$@"
