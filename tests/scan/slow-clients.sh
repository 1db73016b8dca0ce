#!/usr/bin/env bash
# A thousand slow clients at a time for half a minute: slow headers, slow bodies, many ranges. Meanwhile somebody asks for
# the machines; 99 of 100 answers have to come within $limit milliseconds.
# slow-clients.sh SERVER
set -euo pipefail
server=$1
limit=500
ulimit -n "$(ulimit -Hn)"
. "$(dirname "$0")/server.sh"
start_server
url=http://127.0.0.1:$port

# How long each answer takes, in milliseconds, until the file $folder/over is there.
ask() {
    while [ ! -e "$folder/over" ]; do
        curl -sS -o "$folder/answer" -m 10 -w '%{time_total} %{http_code}\n' "$url/v1/machines" || echo '10 000'
        sleep 0.03
    done | awk '{ print $2 == 200 ? $1 * 1000 : 10000 }'
}

worst=0
attack() {
    what=$1
    shift
    rm -f "$folder/over"
    ask >"$folder/took" &
    asking=$!
    # Once all are cut off they come again.
    until=$((SECONDS + 30))
    : >"$folder/slow"
    while [ $SECONDS -lt $until ]; do
        slowhttptest -c 1000 -r 300 -l $((until - SECONDS)) "$@" >>"$folder/slow" 2>&1 || true
    done
    touch "$folder/over"
    wait "$asking"
    sed -i 's/\x1b\[[0-9;]*[A-Za-z]//g' "$folder/slow"
    most=$(sed -n 's/^connected: *\([0-9]*\).*/\1/p' "$folder/slow" | sort -n | tail -n 1)
    closed=$(sed -n 's/^closed: *\([0-9]*\).*/\1/p' "$folder/slow" | sort -n | tail -n 1)
    sort -n "$folder/took" >"$folder/sorted"
    count=$(wc -l <"$folder/sorted")
    at() { sed -n "$(((count * $1 + 99) / 100))p" "$folder/sorted"; }
    printf '%-13s %s connections at once at most; %d answers: p50 %.0f ms, p99 %.0f ms, slowest %.0f ms\n' \
        "$what" "${most:-no}" "$count" "$(at 50)" "$(at 99)" "$(at 100)"
    p99=$(printf '%.0f' "$(at 99)")
    [ "$p99" -le "$worst" ] || worst=$p99
    # What is answered or refused at once does not stay until somebody looks: then all thousand have come and gone.
    [ $((${most:-0} + ${closed:-0})) -ge 500 ] || grep -q 'No open connections left' "$folder/slow" ||
        { cat "$folder/slow" >&2; echo "that was no attack" >&2; exit 1; }
}

attack 'slow headers' -H -i 5 -x 24 -p 3 -t GET -u "$url/v1/machines"
attack 'slow bodies' -B -i 5 -s 8192 -x 10 -p 3 -t POST -u "$url/v1/reservations"
attack 'many ranges' -R -a 10 -b 3000 -p 3 -t HEAD -u "$url/"
if [ "$worst" -ge "$limit" ]; then
    echo "p99 is $worst ms; it has to be below $limit" >&2
    exit 1
fi
