#!/bin/sh
# Writes and reads a password over the server's socket: STRONGROOM_SOCKET says where it is.
set -eu
ask() { curl --silent --show-error --fail --unix-socket "$STRONGROOM_SOCKET" "$@"; }
at='http://localhost/api/v1/secret?reference=keys://app/db'
head -c 12 /dev/urandom | base64 | tr -d '\n' |
    ask --request PUT --header 'Content-Type: text/plain' --data-binary @- --output /dev/null "$at"
password=$(ask --header 'Accept: text/plain' "$at")
echo "got a password of ${#password} characters"
