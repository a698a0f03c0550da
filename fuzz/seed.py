#!/usr/bin/env python3
"""Fill fuzz/corpus from recordings of a reference server and real clients: seed.py GOLDEN_DIRECTORY."""
import glob, hashlib, json, os, sys

golden = sys.argv[1]
corpus = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def add(target, data):
    data = data if isinstance(data, bytes) else data.encode()
    directory = os.path.join(corpus, target)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, hashlib.sha1(data).hexdigest()), "wb") as file:
        file.write(data)


def files(target, *pattern):
    for path in glob.glob(os.path.join(golden, *pattern), recursive=True):
        if os.path.isfile(path) and os.path.getsize(path) < 100_000:
            with open(path, "rb") as file:
                add(target, file.read())


def objects(value):
    """All JSON objects with a command or a reply, at any depth."""
    if isinstance(value, dict):
        if "cmd" in value or "type" in value:
            yield value
        for member in value.values():
            yield from objects(member)
    elif isinstance(value, list):
        for member in value:
            yield from objects(member)


files("dptxt", "**", "*.dptxt")
files("dprec", "**", "*.dprec")
files("journal", "storage", "**", "*.session")
files("ini", "config", "ini", "*.cfg")
for path in glob.glob(os.path.join(golden, "conversations", "*.json")):
    with open(path) as file:
        for command in objects(json.load(file)):
            add("commands", json.dumps(command))
for path in glob.glob(os.path.join(golden, "realclient", "*.jsonl")):
    with open(path) as file:
        for command in objects([json.loads(line) for line in file]):
            add("commands", json.dumps(command))
with open(os.path.join(golden, "wire", "vectors.json")) as file:
    for vector in json.load(file):
        text = vector.get("hex") or vector.get("bytes") or ""
        if isinstance(text, str) and len(text) % 2 == 0:
            add("frames", bytes.fromhex(text))
            add("messages", bytes.fromhex(text))
