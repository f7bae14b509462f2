#!/usr/bin/env python3
"""Runs one attack on a server: attacker.py NAME TARGET, the target a file of JSON that `scripts/attack` writes."""

import asyncio
import json
import os
import pathlib
import resource
import sys

import floods
import guessers
import monsters
import slow
from target import Target

ATTACKS = {
    "slow-batch": (slow.slow_batches, "bodies of batches at a byte a second, from one account"),
    "slow-list": (slow.slow_lists, "bodies of commits and lists at a byte a second, from one account"),
    "slow-upload": (slow.slow_uploads, "bodies of plain uploads at a byte a second, from one account"),
    "slow-chunk": (slow.slow_chunks, "bodies of chunks at a byte a second, from one account"),
    "slow-several": (slow.slow_from_several, "all of these together, from several accounts and addresses"),
    "slow-heads": (slow.slow_heads, "1,000 heads of 15 KiB that do not end"),
    "slow-downloads": (slow.slow_downloads, "100 readers of large contents at 1 KiB a second"),
    "slow-listings": (slow.slow_listings, "100 readers of very long listings and changes at 1 KiB a second"),
    "vanishing": (slow.vanishing, "clients that go without a word in the middle of a batch"),
    "idle": (slow.idle, "2,000 connections on which nothing is said"),
    "guess-ipv4": (guessers.guess_by_ipv4, "wrong passwords from addresses all over 127.0.0.0/8"),
    "guess-ipv6": (guessers.guess_by_ipv6, "wrong passwords from all addresses of a /64 and of a /48"),
    "refresh": (guessers.forged_refresh, "forged refresh tokens"),
    "sign-ups": (guessers.sign_ups, "new accounts as fast as it goes"),
    "monster-commit": (monsters.monster_commits, "commits of 380,000 names"),
    "monster-xattrs": (monsters.monster_xattrs, "commits of 30 MB of xattrs"),
    "refused-commit": (monsters.refused_commits, "commits whose every change is refused for one large node"),
    "listings": (monsters.listings, "listings and changes of 200,000 names by eight at once"),
    "holes": (monsters.holes, "manifests of 1 TiB of holes"),
    "unknown-routes": (floods.unknown_routes, "pipelined requests for what is not there"),
    "garbage": (floods.garbage, "requests that two parsers could read in two ways, and noise"),
}


def main():
    attack, _ = ATTACKS[sys.argv[1]]
    target = Target(json.loads(pathlib.Path(sys.argv[2]).read_text()))
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
    asyncio.run(attack(target))
    print(json.dumps({"seen": target.seen}), flush=True)
    # What is still open is not worth a farewell.
    os._exit(0)


if __name__ == "__main__":
    main()
