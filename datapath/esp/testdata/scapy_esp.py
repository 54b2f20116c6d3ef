"""Seals and opens ESP packets with scapy, an implementation independent of ours.

Reads a JSON array of cases from standard input and answers with an array of hex
strings: for "seal" the whole tunnel packet, for "open" the inner packet, or
"error: ..." for a case that scapy refuses.
"""
import json
import sys

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import raw

AUTH = {"sha256": "SHA2-256-128", "sha384": "SHA2-384-192", "sha512": "SHA2-512-256"}


def association(case):
    header = (IPv6 if case["v6"] else IP)(src=case["src"], dst=case["dst"])
    key = bytes.fromhex(case["key"])
    encryption = case["encryption"]
    options = dict(spi=case["spi"], tunnel_header=header)
    if case["hash"]:
        options.update(crypt_algo="AES-CBC", crypt_key=key[:encryption],
                       auth_algo=AUTH[case["hash"]], auth_key=key[encryption:])
    else:
        options.update(crypt_algo="AES-GCM", crypt_key=key)
        options.update(esn_en=case["esn"], esn=case["seq"] >> 32)
    if case["encap"]:
        options["nat_t_header"] = UDP(sport=4500, dport=4501)
    return SecurityAssociation(ESP, **options)


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
            outer.proto, outer.len, outer.chksum = 50, 20 + len(esp), None
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
