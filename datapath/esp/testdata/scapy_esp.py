"""Seals and opens ESP packets with scapy, an implementation independent of ours.

Reads a JSON array of cases from standard input and answers with an array of hex
strings: for "seal" the whole outer packet, for "open" the packet inside, or
"error: ..." for a case that scapy refuses.
"""
import copy
import json
import struct
import sys

from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import Raw, raw


class GMAC:
    """AES-GMAC of RFC 4543, which scapy lacks, put where it has its ciphers."""
    name = "AES-NULL-GMAC"
    is_aead = True
    block_size, iv_size, icv_size, salt_size = 1, 8, 16, 4

    def check_key(self, key):
        pass

    def generate_iv(self):
        return b"GMAC IV."

    def pad(self, esp):
        esp.padlen = -(len(esp.data) + 2) % 4
        esp.padding = bytes(range(1, esp.padlen + 1))
        return esp

    def tag(self, sa, esp, key, text):
        seq = struct.pack("!I", esp.seq)
        if sa.esn_en:
            seq = struct.pack("!I", sa.esn) + seq
        covered = struct.pack("!I", esp.spi) + seq + esp.iv + text
        return AESGCM(key).encrypt(sa.crypt_salt + esp.iv, b"", covered)

    def encrypt(self, sa, esp, key, icv_size=None, esn_en=False, esn=0):
        text = esp.data_for_encryption()
        return ESP(spi=esp.spi, seq=esp.seq, data=esp.iv + text + self.tag(sa, esp, key, text))

    def decrypt(self, sa, esp, key, icv_size=None, esn_en=False, esn=0):
        from scapy.layers.ipsec import _ESPPlain
        esp.iv, text, icv = esp.data[:8], esp.data[8:-16], esp.data[-16:]
        assert self.tag(sa, esp, key, text) == icv, "ICV"
        padlen, nh = text[-2], text[-1]
        end = len(text) - 2 - padlen
        return _ESPPlain(spi=esp.spi, seq=esp.seq, iv=esp.iv, data=text[:end],
                         padding=text[end:-2], padlen=padlen, nh=nh, icv=icv)


def association(case):
    key = bytes.fromhex(case["key"])
    options = dict(spi=case["spi"], esn_en=case["esn"], esn=case["seq"] >> 32)
    if not case["transport"]:
        options["tunnel_header"] = (IPv6 if case["v6"] else IP)(src=case["src"], dst=case["dst"])
    if case["encap"]:
        options["nat_t_header"] = UDP(sport=4500, dport=4501)
    split = len(key) - case["integrity"]
    gmac = case["cipher"] == GMAC.name
    if case["cipher"] != "NULL" and not gmac:
        options.update(crypt_algo=case["cipher"], crypt_key=key[:split])
    if case["auth"]:
        options.update(auth_algo=case["auth"], auth_key=key[split:])
    sa = SecurityAssociation(ESP, **options)
    if gmac:
        sa.crypt_key, sa.crypt_salt = key[:-4], key[-4:]
        sa.crypt_algo = GMAC()
    elif case["icv"] < 16 and not case["auth"]:
        # The interface that scapy uses for combined modes knows full tags only.
        sa.crypt_algo = copy.copy(sa.crypt_algo)
        sa.crypt_algo.ciphers_aead_api = False
        sa.crypt_algo.cipher, sa.crypt_algo.mode = algorithms.AES, modes.GCM
        sa.crypt_algo.icv_size = case["icv"]
    return sa


def parse(data):
    return IPv6(data) if data[0] >> 4 == 6 else IP(data)


def run(case):
    sa = association(case)
    packet = bytes.fromhex(case["packet"])
    if case["do"] == "seal":
        sealed = sa.encrypt(parse(packet), seq_num=case["seq"] & 0xFFFFFFFF)
        if case["encap"]:
            del sealed[UDP].len  # over IPv4 scapy fixed it before ESP was behind it
        return raw(sealed).hex()
    outer = parse(packet)
    if case["encap"]:
        # scapy finds ESP behind UDP only between its default ports.
        udp = outer.payload
        assert isinstance(udp, UDP) and udp.len == len(udp), "UDP length"
        esp = raw(udp.payload)
        outer.remove_payload()
        if case["v6"]:
            outer.nh, outer.plen = 50, len(esp)
        else:
            outer.proto, outer.len, outer.chksum = 50, outer.ihl * 4 + len(esp), None
        outer = parse(raw(outer / esp))
    return raw(sa.decrypt(outer)).hex()


def main():
    answers = []
    for case in json.load(sys.stdin):
        try:
            answers.append(run(case))
        except Exception as e:
            answers.append("error: %s: %s" % (type(e).__name__, e))
    json.dump(answers, sys.stdout)


main()
