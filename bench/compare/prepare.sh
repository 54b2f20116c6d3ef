#!/usr/bin/env bash
# Makes what the comparison runs, in the folder $1: DPDK's ipsec-secgw and, unless
# only that is named as $2, wireguard-go, beside packages. What cannot be made is
# named on stdout as "PEER: reason", and the others are made all the same.
set -uo pipefail
dir=${1:?usage: prepare.sh FOLDER [secgw]}
only=${2:-}
mkdir -p "$dir"
export DEBIAN_FRONTEND=noninteractive

packages=(libdpdk-dev librte-net-pcap23 librte-net-null23 librte-net-af-packet23 librte-crypto-ipsec-mb23 gcc make pkg-config)
[ "$only" = secgw ] || packages+=(dpdk-dev wireguard-tools iperf3 charon-systemd strongswan-swanctl libstrongswan-extra-plugins libcharon-extra-plugins)

cannot() { echo "$1: $2"; }

# install says on stdout what is still missing.
install() {
  local missing=() p
  for p in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >>"$dir/log" 2>&1
}

# secgw takes the example's sources out of Debian's dpdk-doc without installing its
# 60 MB, sets the default RX offloads to 0, as software ports have none, and builds.
secgw() {
  [ -x "$dir/ipsec-secgw" ] && return
  rm -rf "$dir/doc"
  mkdir -p "$dir/doc"
  (cd "$dir/doc" && apt-get download -qq dpdk-doc && dpkg-deb --fsys-tarfile dpdk-doc_*.deb |
    tar -x --strip-components=4 ./usr/share/dpdk/examples) >>"$dir/log" 2>&1 ||
    { cannot ipsec-secgw "the example's sources (package dpdk-doc) cannot be fetched, see $dir/log"; return; }
  sed -i 's/\.offloads = RTE_ETH_RX_OFFLOAD_CHECKSUM/.offloads = 0/' "$dir/doc/examples/ipsec-secgw/ipsec-secgw.c"
  make -C "$dir/doc/examples/ipsec-secgw" shared >>"$dir/log" 2>&1 ||
    { cannot ipsec-secgw "does not build, see $dir/log"; return; }
  cp -L "$dir/doc/examples/ipsec-secgw/build/ipsec-secgw" "$dir/ipsec-secgw"
  rm -rf "$dir/doc"
}

wireguard() {
  [ -x "$dir/wireguard" ] && return
  GOFLAGS=-mod=mod GOBIN="$dir" go install golang.zx2c4.com/wireguard@latest >>"$dir/log" 2>&1 ||
    cannot wireguard-go "cannot be built, see $dir/log"
}

if [ "$(id -u)" != 0 ]; then
  cannot packages "not root: nothing is installed"
elif ! command -v apt-get >/dev/null; then
  cannot packages "not Debian: nothing is installed; wanted are ${packages[*]}"
else
  install || cannot packages "apt-get failed, see $dir/log"
fi
secgw
[ "$only" = secgw ] || wireguard
exit 0
