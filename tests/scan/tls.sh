#!/usr/bin/env bash
# What sslscan thinks of our TLS: fails if any protocol or cipher of it is less than good.
# tls.sh SERVER
set -euo pipefail
server=$1
. "$(dirname "$0")/server.sh"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout "$folder/key.pem" -out "$folder/certificate.pem" -addext basicConstraints=critical,CA:FALSE \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null
start_server --tls-certificate certificate.pem --tls-key key.pem
sslscan --no-colour --xml="$folder/found.xml" "127.0.0.1:$port"
grep -q 'type="tls" version="1.3" enabled="1"' "$folder/found.xml" || { echo "nothing was scanned" >&2; exit 1; }
if grep -E 'type="ssl" .*enabled="1"|version="1\.[01]" enabled="1"|strength="(medium|weak|null|anonymous)"|vulnerable="1"|compression supported="1"' \
    "$folder/found.xml"; then
    echo "the lines above are not good enough" >&2
    exit 1
fi
echo "nothing to complain of"
