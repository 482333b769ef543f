#!/bin/sh
# The routes and rules that transparent sessions need on the machine that Peerway runs on. As root:
#
#   deploy/transparent.sh up              replies to clients' addresses come to Peerway (`connect.source: client`)
#   deploy/transparent.sh up 5432 15432   the same, and what comes for port 5432 of any address goes to a listener at
#                                         port 15432 (`bind: { address: …, transparent: true }`)
#   deploy/transparent.sh down            all of it away
#
# Backends must send their replies through this machine: it is their default gateway, or that of their routes to the
# clients. Of machines that do not, clients would hear from a stranger.
set -eu
mark=1 table=100

down() {
    nft delete table inet peerway 2>/dev/null || true
    for family in -4 -6; do
        ip $family rule del fwmark $mark lookup $table 2>/dev/null || true
        ip $family route flush table $table 2>/dev/null || true
    done
}

up() {
    down
    # What carries the mark is for a socket of this machine, whatever its address.
    for family in -4 -6; do
        ip $family rule add fwmark $mark lookup $table
        ip $family route add local default dev lo table $table
    done
    # Packets of a session that has a transparent socket here carry it …
    nft -f - <<RULES
table inet peerway {
    chain prerouting {
        type filter hook prerouting priority mangle; policy accept;
        meta l4proto tcp socket transparent 1 meta mark set $mark accept
    }
}
RULES
    # … and so do first packets that a listener is to have.
    if [ $# = 2 ]; then
        nft add rule inet peerway prerouting meta nfproto ipv4 tcp dport "$1" tproxy ip to ":$2" meta mark set $mark accept
        nft add rule inet peerway prerouting meta nfproto ipv6 tcp dport "$1" tproxy ip6 to ":$2" meta mark set $mark accept
    fi
}

case ${1-} in
    up) shift && up "$@" ;;
    down) down ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
