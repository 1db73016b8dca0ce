# Sourced by the scripts beside this one: a server of its own on loopback, gone at the end with all that it made.
# $server is the program.
set -euo pipefail

folder=$(mktemp -d)
pids=()
tidy_up() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$folder"
}
trap tidy_up EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

# The flags beside its own are $@.
start_server() {
    (cd "$folder" && exec "$server" --listen "127.0.0.1:$port" --requests-per-second 1000000 "$@" >log 2>&1) &
    pids+=($!)
    for _ in {1..150}; do
        if (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null; then return; fi
        sleep 0.1
    done
    cat "$folder/log" >&2
    return 1
}
