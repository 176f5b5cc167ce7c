#!/usr/bin/env bash
# A server on one big machine: one rank for each of its NUMA nodes, so that every core reads weights and cache from the
# memory next to it. On a machine with one NUMA node this is one rank, and plain `longreach serve` does the same.
#
#   configs/serve.sh MODEL [options of longreach serve]
#
# It prints its address when requests are taken. Ctrl-C or SIGTERM lets running answers finish, a second one ends at once.
# Another program than build/release/longreach: LONGREACH=/path/to/longreach configs/serve.sh ...
set -euo pipefail

if [ $# -lt 1 ]; then
  echo "usage: $0 MODEL [options of longreach serve]" >&2
  exit 2
fi
model=$1
shift
program=${LONGREACH:-"$(dirname "$0")/../build/release/longreach"}

# Open MPI 4.1 does not count the ranks itself here.
n_domains=$(lscpu --parse=NODE | grep -v '^#' | sort -u | wc -l)

# Open MPI refuses to run as root unless OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 are set. A signal
# would make mpirun end its ranks a second later, so it gets none, not even from the terminal: its children do.
setsid mpirun -n "$n_domains" --map-by ppr:1:numa --bind-to numa \
  "$program" serve --model "$model" --verbose "$@" </dev/null &
job=$!

trap 'kill -TERM $(cat "/proc/$job/task/$job/children") || true' INT TERM HUP

code=0
wait "$job" || code=$?
while kill -0 "$job" 2>/dev/null; do # a signal has ended the waiting
  code=0
  wait "$job" || code=$?
done
exit "$code"
