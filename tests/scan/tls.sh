#!/usr/bin/env bash
# What sslscan thinks of our TLS: fails if any protocol or cipher of it is less than good, or if it sees nothing amiss with
# a server that is known to be weak.
# tls.sh SERVER
set -euo pipefail
server=$1
. "$(dirname "$0")/server.sh"

bad='type="ssl" .*enabled="1"|version="1\.[01]" enabled="1"|strength="(medium|weak|null|anonymous)"|vulnerable="1"|compression supported="1"'
complaints() {
    sslscan --no-colour --xml="$folder/found.xml" "127.0.0.1:$1" >"$folder/found"
    grep -q 'type="tls" version="1\.2" enabled="1"' "$folder/found.xml" || { echo "nothing was scanned" >&2; exit 1; }
    grep -E "$bad" "$folder/found.xml" || true
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout "$folder/key.pem" -out "$folder/certificate.pem" -addext basicConstraints=critical,CA:FALSE \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null

coproc openssl s_server -accept 127.0.0.1:0 -key "$folder/key.pem" -cert "$folder/certificate.pem" -tls1_2 \
    -cipher 'ALL:eNULL:@SECLEVEL=0' -www 2>&1
pids+=("$COPROC_PID")
while read -r said && [[ $said != ACCEPT* ]]; do :; done <&"${COPROC[0]}"
found=$(complaints "${said##*:}")
[ -n "$found" ] || { echo "sslscan sees nothing amiss with a weak server" >&2; exit 1; }

start_server --tls-certificate certificate.pem --tls-key key.pem
found=$(complaints "$port")
cat "$folder/found"
[ -z "$found" ] || { printf '%s\nthe lines above are not good enough\n' "$found" >&2; exit 1; }
echo "nothing to complain of"
