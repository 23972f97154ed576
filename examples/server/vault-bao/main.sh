#!/bin/sh
# Writes and reads a password with OpenBao's own command line: BAO_ADDR and BAO_TOKEN say where and who.
set -eu
bao kv put secret/app/db user=app password="$(head -c 12 /dev/urandom | base64)" >/dev/null
password=$(bao kv get -field=password secret/app/db)
echo "got a password of ${#password} characters"
