#!/usr/bin/env bash
# What ssh-audit thinks of the SSH servers of our images: fails if anything of them is less than good.
set -euo pipefail
tools=${XDG_CACHE_HOME:-$HOME/.cache}/berth/ssh-audit
[ -d "$tools/ssh_audit" ] ||
    python3 -m pip install --quiet --disable-pip-version-check --target "$tools" 'ssh-audit==3.*'
container=
tidy_up() { [ -z "$container" ] || docker rm -f "$container" >/dev/null; }
trap tidy_up EXIT
failed=0
for image in ${IMAGES:-berth-debian berth-alpine}; do
    container=$(docker run -d -p 127.0.0.1::22 "$image")
    port=$(docker port "$container" 22/tcp | head -n 1 | cut -d: -f2)
    for _ in {1..100}; do
        if banner=$(timeout 1 head -c 7 </dev/tcp/127.0.0.1/"$port" 2>/dev/null) && [ "$banner" = SSH-2.0 ]; then break; fi
        sleep 0.1
    done
    found=$(PYTHONPATH=$tools python3 -m ssh_audit.ssh_audit --no-colors --skip-rate-test "127.0.0.1:$port" || true)
    grep -q '^(key) ssh-ed25519' <<<"$found" || { echo "$image was not scanned: $found" >&2; exit 1; }
    # Programs that know nothing newer than curve25519, such as those of most distributions of today, have to get in, too.
    bad=$(grep -E '\[(warn|fail)\]' <<<"$found" | grep -vE 'curve25519.*post-quantum' || true)
    if [ -n "$bad" ]; then
        printf '%s:\n%s\n' "$image" "$bad" >&2
        failed=1
    else
        echo "$image: nothing to complain of, among $(grep -cE '^\((kex|key|enc|mac)\)' <<<"$found") algorithms"
    fi
    tidy_up
    container=
done
exit "$failed"
