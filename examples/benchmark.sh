#!/usr/bin/env bash
# A benchmark without a line of Python: a workload, and on each host a collector whose output is cut by phase.
#
#   examples/benchmark.sh [RESULTS]
#
# Two "hosts" are two processes here. On real ones, `respond` is started there (by ssh, or as a service, see
# docs/service.md), and all else stays the same. From the environment:
#
#   HOSTS              the hosts that are started here           (host-a host-b)
#   SAMPLES            how often the workload runs               (2)
#   WORKLOAD           what is measured, run by bash             (fio if it is installed, else dd and sha256sum)
#   COLLECTOR          what collects, run by sh on each host     (vmstat 1, or a look at /proc/loadavg each second)
#   ABSENT             hosts that are waited for and not started here (none)
#   SUBSCRIBE_TIMEOUT  seconds to wait for the collectors        (30)
#   PRESENCE           seconds without a sign of life after which one is lost (15)
#   STATE_SIGNALS_URL  the server                                (one of our own, for as long as this runs)
#
# Exit code: 0, that of the workload, or what signalling has come to: 1 a collector failed, 3 one was missing or lost,
# 4 no connection, 5 aborted.
set -euo pipefail

RESULTS=$(mkdir -p "${1:-results}" && cd "${1:-results}" && pwd)
read -r -a HOSTS <<< "${HOSTS:-host-a host-b}"
SAMPLES=${SAMPLES:-2}
export RESULTS

if [[ -z ${WORKLOAD:-} ]]; then
    if command -v fio > /dev/null; then
        WORKLOAD='fio --name=write --rw=write --bs=64k --size=64m --directory="$RESULTS" --unlink=1 --minimal'
    else
        WORKLOAD='dd if=/dev/zero bs=64k count=4096 status=none | tee "$RESULTS/data" | sha256sum; rm "$RESULTS/data"'
    fi
fi
if [[ -z ${COLLECTOR:-} ]]; then
    if command -v vmstat > /dev/null; then
        COLLECTOR='vmstat -n 1'
    else
        COLLECTOR='while cat /proc/loadavg; do sleep 1; done'
    fi
fi

children=()
id=

finish() {
    code=$?
    trap - EXIT INT TERM
    # Whoever is still in the run is told why it is over.
    [[ -z $id ]] || state-signals abort "$id" --reason "the script ended with exit code $code" || true
    ((${#children[@]} == 0)) || kill "${children[@]}" 2> /dev/null || true
    wait
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -z ${STATE_SIGNALS_URL:-} ]]; then
    # The server prints its URL as soon as it is ready.
    exec {url}< <(exec state-signals server --port 0 2> /dev/null)
    children+=($!)
    read -r STATE_SIGNALS_URL <&"$url"
    export STATE_SIGNALS_URL
fi

expected=()
for host in "${HOSTS[@]}"; do
    mkdir -p "$RESULTS/$host"
    HOST_RESULTS="$RESULTS/$host" state-signals respond --id "$host" --once \
        --while benchmark-start..benchmark-stop "{ $COLLECTOR; } > \"\$HOST_RESULTS/sample-\$SIGNAL_SAMPLE.log\"" \
        2> "$RESULTS/$host/respond.log" &
    children+=($!)
    expected+=(--expect "$host")
done
for host in ${ABSENT:-}; do
    expected+=(--expect "$host")
done

id=$(state-signals init benchmark --events benchmark-start,benchmark-stop --tag example \
    --timeout "${SUBSCRIBE_TIMEOUT:-30}" --presence "${PRESENCE:-15}" "${expected[@]}")
echo "$id" > "$RESULTS/id"

for ((sample = 0; sample < SAMPLES; sample++)); do
    state-signals publish "$id" benchmark-start --sample "$sample" --tag example
    bash -c "$WORKLOAD" > "$RESULTS/workload-$sample.log"
    state-signals publish "$id" benchmark-stop --sample "$sample" --tag example
done

state-signals shutdown "$id"
state-signals history "$id" > "$RESULTS/history.txt"
cat "$RESULTS/history.txt"
id=
