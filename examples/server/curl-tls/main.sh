#!/bin/sh
# Writes and reads a password over TLS: STRONGROOM_ADDR and STRONGROOM_TOKEN say where and who, CURL_CA_BUNDLE whom to trust.
# The token goes to curl on standard input and the value in a file: arguments are seen by every process of the machine.
set -eu
umask 077
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
ask() {
    printf 'Authorization: Bearer %s\n' "$STRONGROOM_TOKEN" |
        curl --silent --show-error --fail --header @- "$@" "$STRONGROOM_ADDR/api/v1/secret?reference=keys://app/db"
}
head -c 12 /dev/urandom | base64 | tr -d '\n' >"$folder/password"
ask --request PUT --header 'Content-Type: text/plain' --data-binary "@$folder/password" --output /dev/null
password=$(ask --header 'Accept: text/plain')
echo "got a password of ${#password} characters"
