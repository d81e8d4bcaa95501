#!/usr/bin/env bash
# Runs schemathesis (PyPI) against the live example: what the OpenAPI document says, in thousands of
# requests that follow it and that do not, with the token and without. No 5xx that it does not name, no
# answer that is not in it. Needs Python 3.9 or newer, and installs schemathesis below target/ the first
# time.
#
#   bash tests/http/schemathesis.sh [options of `schemathesis run`]
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=target/schemathesis
if [ ! -x "$venv/bin/schemathesis" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet 'schemathesis>=4,<5'
fi
cargo build --quiet --release --features http --example http_gateway

home=$(mktemp -d)
mkfifo "$home/ready"
env -u TIDEGATE_DRAIN_SECRET target/release/examples/http_gateway --home "$home" >"$home/ready" &
gateway=$!
trap 'kill "$gateway" 2>/dev/null; wait "$gateway" || true; rm -r "$home"' EXIT
exec 3<"$home/ready"
read -r ready <&3
address=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["address"])' "$ready")

run() {
    printf '\n== %s\n' "$1"
    shift
    # A document cannot say that `wait` must be less than `lease_s`: what is refused for that is
    # well-formed.
    "$venv/bin/schemathesis" run "http://$address/api/gateway/openapi.json" --max-examples 1000 \
        --checks all --exclude-checks "positive_data_acceptance$without" --suppress-health-check all "$@"
}
token="Authorization: Bearer $(cat "$home/drain_secret")"
without=''
run 'with the token' --exclude-path /readyz --header "$token" "$@"
run 'without a token' --exclude-path /readyz "$@"
# 503 is what a gateway that drains says there.
without=',not_a_server_error'
run 'readiness, while it drains' --include-path /readyz "$@"

kill -0 "$gateway"
