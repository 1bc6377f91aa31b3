#!/usr/bin/env python3
"""Makes the conformance table for docs/compatibility.md from results of CRIU's test programs.

  conformance.py CLASSES.tsv FOLDER >conformance.tsv

The programs, the tool that drives them, and their classes are not part of this repository (issue 3). FOLDER has the
tool's results, one file for each run: *-native.tsv, *-twice.tsv (restarted twice in a row), *-isolate.tsv,
*-continue.tsv (checkpointed and continued), and *-alone.tsv (without any checkpoint). A line is: program, result,
seconds, text.
"""
import re
import sys
from collections import defaultdict
from pathlib import Path

VARIANTS = ("native", "twice", "isolate", "continue")

# Why, where the tool's text does not say it in a few words.
REASONS = {
    "dumpable02": "a process that is not dumpable: only root may look at it",
    "inotify_system": "wants unread events back; after a restart they are an overflow event (CRIU runs it by hand only)",
    "inotify_system_nodel": "wants unread events back; after a restart they are an overflow event (CRIU runs it by hand only)",
    "vfork00": "a vfork child that never executes a program: refused by name, as by CRIU",
    "ptrace_sig": "traced by another program: refused by name, as by CRIU",
    "seccomp_strict": "seccomp cannot be read back without privilege: refused by name",
    "socket_udp-corked": "an incomplete UDP message: refused by name, as by CRIU",
    "pidfd_of_thread": "a thread with descriptors of its own: refused by name, as by CRIU",
    "helper_zombie_child": "needs an init that does not collect orphans",
    "session03": "hundreds of processes that change sessions and sub-reapers by chance: about one family in 200 is refused",
    "loginuid": "the audit login uid is the restarting launcher's",
}
for number in ("02", "03", "04"):
    REASONS[f"sk-unix-listen{number}"] = (
        "a connection that was not accepted yet and already carries data, or is closed: refused by name, as by CRIU"
    )


def read_classes(path):
    rows = (line.rstrip("\n").split("\t") for line in open(path) if not line.startswith("#"))
    return {row[0]: row[1] for row in rows}


def read_results(folder):
    """By program and variant: result and text. A later file of the same variant replaces an earlier one, but not by a
    program that did not set itself up (such as those that need huge pages)."""
    results = defaultdict(dict)
    for variant in (*VARIANTS, "alone"):
        for path in sorted(Path(folder).glob(f"*-{variant}.tsv")):
            for line in open(path):
                name, result, _, text = (line.rstrip("\n").split("\t") + ["", ""])[:4]
                known = results[name.removeprefix("static/")]
                if result != "SKIP" and not (variant in known and "no pidfile" in text):
                    known[variant] = (result, text)
    return results


def judge(name, results):
    """Result and reason."""
    alone = results.get("alone", ("", ""))[0]
    tried = {variant: results[variant] for variant in VARIANTS if variant in results}
    set_up = {variant: tried[variant] for variant in tried if "no pidfile" not in tried[variant][1]}
    tried = set_up or tried
    passed = [variant for variant in VARIANTS if tried.get(variant, ("", ""))[0] == "PASS"]
    others = {variant: tried[variant] for variant in tried if variant not in passed}
    texts = [text for _, text in others.values()]
    if tried and not others:
        some = ", ".join(passed) + "; otherwise it does not set itself up (huge pages have to be reserved)"
        return "passes", "the four variants" if len(passed) == len(VARIANTS) else some
    if not passed and all("no pidfile" in text or "no command line" in text for text in texts):
        return "not for an ordinary user", "does not set itself up without more rights"
    if alone not in ("", "PASS"):
        return "not for an ordinary user", "fails without a checkpoint, too"
    reason = REASONS.get(name) or re.sub(r"/var/tmp/\S+", "PATH", texts[0])[:140]
    # Where a program has to be refused, some do not live on for reasons of their own, which counts as their failure.
    expected = not passed and any(result == "REFUSED-OK" for result, _ in others.values())
    if expected or not passed and all("cannot checkpoint" in text for text in texts):
        return "refused", reason
    return ("passes in " + ", ".join(passed) if passed else "fails"), reason


def main():
    classes, results = read_classes(sys.argv[1]), read_results(sys.argv[2])
    for name in sorted(name for name in results if results[name]):
        result, reason = judge(name, results[name])
        kind = classes.get(name.split("/")[-1], "a")
        print(name, kind, result, reason.replace("|", "/").replace("\t", " "), sep="\t")


main()
