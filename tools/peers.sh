#!/usr/bin/env bash
# Installs the programs that the network tests talk to, where that can be done.
set -euo pipefail

packages=(charon-systemd strongswan-swanctl libcharon-extra-plugins libcharon-extauth-plugins libstrongswan-extra-plugins
  libstrongswan-standard-plugins python3-scapy python3-cryptography iproute2 iputils-ping ethtool nftables tcpdump curl
  clang-19 llvm-19 libbpf-dev)

if [ "$(id -u)" != 0 ]; then
  echo "not root: network tests will be skipped, and no peer is installed" >&2
  exit 0
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "not Debian: install by hand what the tests say they miss: ${packages[*]}" >&2
  exit 0
fi
missing=()
for p in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} != 0 ]; then
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
# DPDK's ipsec-secgw, which tests take for a peer with keys by hand, and the
# comparison as well. Without it they say so.
bash "$(dirname "$0")/../bench/compare/prepare.sh" "$(dirname "$0")/../bin" secgw >&2
# The package starts a system-wide daemon; tests run their own, in namespaces.
if command -v systemctl >/dev/null && systemctl is-active --quiet strongswan 2>/dev/null; then
  echo "note: the strongswan service that came with the package is running; tests do not need it" >&2
fi
