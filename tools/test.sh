#!/usr/bin/env bash
# Runs every test. The tests with live gateways and peers account for every packet
# on cores that they share with whatever else runs on this machine; one of them
# that fails is run once more, alone and aloud. What fails twice is broken.
set -uo pipefail

go=${GO:-go}
live='^spindle/(cmd/spindle|datapath|datapath/xsk|ike|tools/netlab)$'
log=$(mktemp)
trap 'rm -f "$log"' EXIT

"$go" test -p 1 -timeout 20m ./... 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
[ "$status" = 0 ] && exit 0

broken=$(awk '/^FAIL\t/{print $2}' "$log" | sort -u)
failed=$(awk '/^--- FAIL: /{print $3}' "$log" | sort -u | paste -sd '|' -)
if [ -z "$broken" ] || grep -qvE "$live" <<<"$broken" || [ -z "$failed" ] || grep -q '^panic:' "$log"; then
  exit "$status"
fi
echo "== failed live, run once more: $failed"
exec "$go" test -p 1 -count=1 -timeout 10m $broken -run "^($failed)\$"
