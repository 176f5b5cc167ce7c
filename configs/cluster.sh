#!/usr/bin/env bash
# Several machines without a batch system, reachable by ssh: one rank for each NUMA node of each machine in a host file.
# The program and the model must lie at the same path on all of them.
#
#   configs/cluster.sh HOSTFILE MODEL PROMPT_FILE [options of longreach generate]
#
# configs/hostfile shows what a host file looks like. Another program than build/release/longreach:
# LONGREACH=/path/to/longreach configs/cluster.sh ...
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "usage: $0 HOSTFILE MODEL PROMPT_FILE [options of longreach generate]" >&2
  exit 2
fi
hosts=$1 model=$2 prompt=$3
shift 3
program=$(realpath "${LONGREACH:-"$(dirname "$0")/../build/release/longreach"}")

# As many ranks as the machines have slots, dealt to their NUMA nodes. Ranks of a machine follow one another, so that the shards of a stage share it. All ranks must compute with the same
# instruction set: give LONGREACH_ISA when machines differ, -x hands it on.
exec mpirun --hostfile "$hosts" --map-by numa --bind-to numa ${LONGREACH_ISA:+-x LONGREACH_ISA} \
  "$program" generate --model "$model" --prompt-file "$prompt" --verbose "$@"
