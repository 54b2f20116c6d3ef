#!/usr/bin/env bash
# Runs every test. The end-to-end tests account for every packet between gateways
# that share this machine's cores with whatever else runs on it; one of them that
# fails is run once more, alone and aloud. What fails twice is broken.
set -uo pipefail

go=${GO:-go}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

"$go" test -p 1 -timeout 15m ./... 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
[ "$status" = 0 ] && exit 0

broken=$(awk '/^FAIL\t/{print $2}' "$log" | sort -u)
failed=$(awk '/^--- FAIL: /{print $3}' "$log" | sort -u | paste -sd '|' -)
if [ "$broken" != spindle/cmd/spindle ] || [ -z "$failed" ] || grep -q '^panic:' "$log"; then
  exit "$status"
fi
echo "== failed end to end, run once more: $failed"
exec "$go" test -count=1 -timeout 10m ./cmd/spindle -run "^($failed)\$"
