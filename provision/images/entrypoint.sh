#!/bin/sh
# The first process of a machine: keeps its SSH server and its agent running and takes in orphans. Runs under
# dash and under BusyBox.
set -u

# Made at the first start, so that no two machines share a key. Moved into place whole: a start may be cut
# short.
host_key() {
    [ -s "$1" ] && return
    rm -f "$1.new"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$1.new"
    rm -f "$1.new.pub"
    mv "$1.new" "$1"
}

ssh_server() {
    # Nobody who logs in is to find it.
    unset BERTH_JOIN_TOKEN
    mkdir -p /run/sshd
    host_key /etc/ssh/ssh_host_ed25519_key
    exec /usr/sbin/sshd -D -e
}

agent() {
    exec /usr/local/sbin/berth-agent run --server unix:/run/berth/agent.sock
}

# Runs it in a process of its own, again and again.
keep() {
    while :; do
        ("$1")
        sleep 1
    done
}

# The kernel ends every other process with the first one, so there is nothing to wait for.
trap 'exit 0' TERM INT
keep ssh_server &
keep agent &
# Takes in every child that ends, including those whose parents ended before them.
wait
