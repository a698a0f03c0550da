#!/usr/bin/env python3
"""Fill fuzz/corpus from recordings of a reference server and real clients: seed.py GOLDEN_DIRECTORY."""
import glob, hashlib, io, json, os, struct, sys, zipfile, zlib

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


def png(width, height, interlaced):
    """A PNG with noise, and one colour below it."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((x * y * 37) % 256 if y < 9 else 200 for x in range(width * 4)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def ora():
    """An OpenRaster archive with a group and two layers."""
    stack = ('<image w="90" h="70"><stack><layer name="a" src="a.png" x="3" opacity="0.5" composite-op="svg:multiply"/>'
             '<stack name="g"><layer src="a.png" y="-4"/></stack></stack></image>')
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "image/openraster")
        archive.writestr("stack.xml", stack)
        archive.writestr("a.png", png(70, 20, 0))
    return file.getvalue()


for first in (b"\0", b"\1"):
    for picture in (png(100, 70, 0), ora()):
        add("picture", first + picture)
tile = zlib.compress(bytes(16384))
add("picture", b"\2" + struct.pack(">I", 16384) + tile)
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
