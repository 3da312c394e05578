"""Fixtures of tests/image_processing/: small files of every format with the pixels that the reference loads
from them, resized images, and what the image processor makes of them."""

import io
import json
import struct
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from transformers.image_utils import load_image
from transformers.image_transforms import convert_to_rgb
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from common import save, seed, texts


def scene(width, height, mode="RGB"):
    """A picture with gradients, edges and noise, so that each step of a decoder shows."""
    y, x = np.mgrid[0:height, 0:width]
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    planes = []
    for c in range(channels):
        wave = 127 + 90 * np.sin((x * (c + 2) + y * 3) / 9.0) + 40 * ((x + y * (c + 1)) % 7 == 0)
        planes.append(np.clip(wave + np.random.uniform(-30, 30, wave.shape), 0, 255))
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8).squeeze(), mode)


def saved(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


# JPEG


def orientation(value, little=True):
    order = "<" if little else ">"
    head = (b"II*\0" if little else b"MM\0*") + struct.pack(order + "I", 8)
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, value, 0)
    return b"Exif\0\0" + head + struct.pack(order + "H", 1) + entry + struct.pack(order + "I", 0)


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def with_segment(jpeg, marker, data):
    return jpeg[:2] + segment(marker, data) + jpeg[2:]


def jpegs():
    colour = scene(37, 29)
    files = {
        "baseline": saved(colour, "JPEG", quality=90),
        "444": saved(colour, "JPEG", quality=95, subsampling="4:4:4"),
        "422": saved(colour, "JPEG", quality=80, subsampling="4:2:2"),
        "420_poor": saved(colour, "JPEG", quality=15, subsampling="4:2:0"),
        "progressive": saved(colour, "JPEG", quality=85, progressive=True),
        "restarts": saved(colour, "JPEG", quality=85, restart_marker_blocks=2),
        "gray": saved(scene(19, 33, "L"), "JPEG", quality=85),
        "gray_progressive": saved(scene(19, 33, "L"), "JPEG", quality=85, progressive=True),
        "cmyk": saved(scene(21, 18, "CMYK"), "JPEG", quality=90),
        "one_pixel": saved(colour.crop((3, 3, 4, 4)), "JPEG"),
        "thin": saved(colour.crop((0, 0, 37, 1)), "JPEG"),
    }
    # Adobe's marker decides between CMYK and YCCK, RGB and YCbCr.
    cmyk = files["cmyk"]
    assert b"Adobe" in cmyk
    at = cmyk.index(b"Adobe") + 11
    files["ycck"] = cmyk[:at] + b"\2" + cmyk[at + 1:]
    files["rgb"] = with_segment(files["444"], 0xEE, b"Adobe\0\x64\0\0\0\0\0")
    files["rgb"] = files["rgb"].replace(segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), b"")
    small = saved(scene(11, 6), "JPEG", quality=90)
    for value in range(0, 10):
        files[f"exif_{value}"] = with_segment(small, 0xE1, orientation(value, little=value % 2 == 0))
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation="%d"/>'
    files["xmp_6"] = with_segment(small, 0xE1, xmp % 6)
    files["exif_3_xmp_6"] = with_segment(files["xmp_6"], 0xE1, orientation(3))
    files["exif_twice"] = with_segment(files["exif_6"], 0xE1, orientation(8))
    files["comment"] = with_segment(small, 0xFE, b"a comment with \xff\xc4 in it")
    files["trailing_bytes"] = small + b"\0junk"
    return {f"jpeg_{name}": data for name, data in files.items()}


# PNG


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, *, palette=None, interlaced=0, before=b"", after=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    if palette is not None:
        data += chunk(b"PLTE", palette)
    return data + before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")


def paeth(left, above, corner):
    distances = [abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)]
    return [left, above, corner][distances.index(min(distances))]


def filtered(rows, step):
    """Rows with PNG's five filters in turn."""
    out, above = bytearray(), bytes(len(rows[0])) if rows else b""
    for y, row in enumerate(rows):
        out.append(y % 5)
        for i, value in enumerate(row):
            left = row[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            guess = [0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner)][y % 5]
            out.append((value - guess) % 256)
        above = row
    return bytes(out)


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def made_png(width, height, depth, colour, interlaced):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    samples = np.random.randint(0, 2**depth, (height, width, channels))
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    data = b""
    for x0, y0, dx, dy in passes:
        part = samples[y0::dy, x0::dx]
        if part.size == 0:
            continue
        rows = []
        for row in part.reshape(part.shape[0], -1):
            bits = "".join(format(int(value), f"0{depth}b") for value in row)
            bits += "0" * (-len(bits) % 8)
            rows.append(bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8)))
        data += filtered(rows, max(1, channels * depth // 8))
    palette = np.random.bytes(3 * 2**depth) if colour == 3 else None
    return png(width, height, depth, colour, data, palette=palette, interlaced=int(interlaced))


def pngs():
    files = {}
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            for interlaced in (False, True):
                name = f"{colour}_{depth}" + ("_adam7" if interlaced else "")
                files[name] = made_png(13, 11, depth, colour, interlaced)
    for width, height in ((1, 1), (2, 3), (5, 1), (1, 5)):
        files[f"adam7_{width}x{height}"] = made_png(width, height, 8, 2, True)
    rows = filtered([bytes(range(0, 6)), bytes(range(250, 256))], 1)
    palette = np.random.bytes(9)
    files["short_palette"] = png(6, 2, 8, 3, rows, palette=palette)
    files["palette_trns"] = png(6, 2, 8, 3, rows, palette=palette, before=chunk(b"tRNS", b"\0\x80"))
    files["palette_one_trns"] = png(6, 2, 8, 3, rows, palette=palette, before=chunk(b"tRNS", b"\xff\0"))
    files["gray_trns"] = png(6, 2, 8, 0, rows, before=chunk(b"tRNS", b"\0\3"))
    files["gray1_trns"] = png(6, 2, 1, 0, b"\0\x58\0\xA4", before=chunk(b"tRNS", b"\0\0"))
    files["gray1_white_trns"] = png(6, 2, 1, 0, b"\0\x58\0\xA4", before=chunk(b"tRNS", b"\0\1"))
    files["gray4_trns"] = png(6, 2, 4, 0, b"\0\x01\x23\x45\0\x11\x67\x89", before=chunk(b"tRNS", b"\0\x11"))
    files["gray_beyond_trns"] = png(6, 2, 8, 0, rows, before=chunk(b"tRNS", b"\1\2"))
    files["gray16_trns"] = png(3, 2, 16, 0, rows, before=chunk(b"tRNS", b"\1\0"))
    files["rgb_trns"] = png(2, 2, 8, 2, rows, before=chunk(b"tRNS", b"\0\3\0\4\0\5"))
    files["rgb16_trns"] = png(1, 2, 16, 2, rows, before=chunk(b"tRNS", b"\0\0\7\2\0\4"))
    files["late_trns"] = png(6, 2, 8, 0, rows, after=chunk(b"tRNS", b"\0\3"))
    turned = chunk(b"eXIf", orientation(6)[6:]) + chunk(b"tRNS", b"\0\4")
    files["exif_6_trns"] = png(6, 2, 8, 0, rows, before=turned)
    files["palette_two_trns"] = png(6, 2, 8, 3, rows, palette=palette, before=chunk(b"tRNS", b"\0\0"))
    files["palette_zero_trns"] = png(6, 2, 8, 3, rows, palette=palette, before=chunk(b"tRNS", b"\0"))
    files["gray16_clipped"] = png(3, 2, 16, 0, rows)
    files["unknown_chunks"] = png(6, 2, 8, 0, rows, before=chunk(b"abCD", b"x"), after=chunk(b"teXt", b"y"))
    compressed = zlib.compress(rows)
    head = files["gray_trns"][:33]
    split = [chunk(b"IDAT", part) for part in (compressed[:5], b"", compressed[5:])]
    files["split_data"] = head + b"".join(split) + chunk(b"IEND", b"")
    files["no_end"] = files["gray_trns"][:-12]
    files["exif_6"] = png(6, 2, 8, 0, rows, before=chunk(b"eXIf", orientation(6)[6:]))
    files["exif_8_behind"] = png(6, 2, 8, 0, rows, after=chunk(b"eXIf", orientation(8, False)[6:]))
    xmp = b"<tiff:Orientation>5</tiff:Orientation>"
    files["xmp_5"] = png(6, 2, 8, 0, rows, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    packed = b"XML:com.adobe.xmp\0\1\0en\0x\0" + zlib.compress(xmp)
    files["xmp_5_packed"] = png(6, 2, 8, 0, rows, before=chunk(b"iTXt", packed))
    raw = orientation(7).hex().encode()
    profile = b"\nexif\n%8d\n" % (len(raw) // 2) + raw[:40] + b"\n" + raw[40:] + b"\n"
    files["raw_profile_7"] = png(6, 2, 8, 0, rows, before=chunk(b"tEXt", b"Raw profile type exif\0" + profile))
    packed = b"Raw profile type exif\0\0" + zlib.compress(profile)
    files["raw_profile_7_packed"] = png(6, 2, 8, 0, rows, before=chunk(b"zTXt", packed))
    files["pillow_rgba"] = saved(scene(25, 14, "RGBA"), "PNG")
    return {f"png_{name}": data for name, data in files.items()}


# BMP


def bmp(width, height, bits, data, *, palette=b"", compression=0, colours=0, masks=b"", size=40, rest=b""):
    header = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, len(data), 0, 0, colours, 0)
    header += masks + rest
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


def bmp_rows(width, height, bits):
    return np.random.bytes((width * bits + 31) // 32 * 4 * height)


def colours(count):
    values = np.random.randint(0, 256, (count, 4))
    values[:, 3] = 0
    return values.astype(np.uint8).tobytes()


def bmps():
    files = {}
    for bits in (1, 4, 8):
        palette = colours(2**bits)
        files[f"{bits}"] = bmp(7, 5, bits, bmp_rows(7, 5, bits), palette=palette)
        files[f"{bits}_few"] = bmp(7, 5, bits, bmp_rows(7, 5, bits), palette=palette[:8], colours=2)
    files["8_gray_ramp"] = bmp(
        7, 5, 8, bmp_rows(7, 5, 8), palette=b"".join(bytes([i, i, i, 0]) for i in range(256))
    )
    files["1_black_white"] = bmp(9, 3, 1, bmp_rows(9, 3, 1), palette=b"\0\0\0\0\xff\xff\xff\0")
    files["16"] = bmp(7, 5, 16, bmp_rows(7, 5, 16))
    files["16_565"] = bmp(
        7, 5, 16, bmp_rows(7, 5, 16), compression=3, masks=struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    )
    files["24"] = bmp(7, 5, 24, bmp_rows(7, 5, 24))
    files["24_top_down"] = bmp(7, -5, 24, bmp_rows(7, 5, 24))
    files["32"] = bmp(7, 5, 32, bmp_rows(7, 5, 32))
    layouts = [
        (0xFF0000, 0xFF00, 0xFF, 0), (0xFF000000, 0xFF0000, 0xFF00, 0), (0xFF000000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        (0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xFF000000, 0xFF00, 0xFF, 0xFF0000), (0, 0, 0, 0),
    ]
    for i, masks in enumerate(layouts):
        files[f"32_masks_{i}"] = bmp(
            5, 3, 32, bmp_rows(5, 3, 32), compression=3, masks=struct.pack("<4I", *masks), size=108,
            rest=bytes(52),
        )
    core = struct.pack("<IHHHH", 12, 7, 5, 1, 8)
    files["core_8"] = (
        b"BM" + struct.pack("<IHHI", 0, 0, 0, 26 + 768) + core + np.random.bytes(768) + bmp_rows(7, 5, 8)
    )
    runs = bytes([5, 1, 2, 7, 0, 0, 0, 3, 9, 8, 7, 0, 4, 6, 0, 0, 0, 2, 2, 1, 5, 3, 0, 0, 7, 2, 0, 1])
    files["rle8"] = bmp(7, 5, 8, runs, palette=colours(256), compression=1)
    runs = bytes([5, 0x12, 2, 0x34, 0, 0, 0, 3, 0x98, 0x70, 4, 0x65, 0, 0, 7, 0x10, 0, 1])
    files["rle4"] = bmp(7, 3, 4, runs, palette=colours(16), compression=2)
    return {f"bmp_{name}": data for name, data in files.items()}


# GIF


def lzw(literal_bits, codes):
    clear = 1 << literal_bits
    out = at = 0
    size, following, first = literal_bits + 1, clear + 2, True
    for code in codes:
        out |= code << at
        at += size
        if code == clear:
            size, following, first = literal_bits + 1, clear + 2, True
        elif first:
            first = False
        elif following < 4096:
            following += 1
            if following == 1 << size and size < 12:
                size += 1
    return out.to_bytes((at + 7) // 8, "little")


def gif(screen, frame, data, *, palette=b"", local=b"", transparent=None, interlaced=False, bits=2, end=b";"):
    def flags(colours):
        return 0x80 | (len(colours) // 3 - 1).bit_length() - 1 if colours else 0

    out = b"GIF89a" + struct.pack("<HH", *screen) + bytes([flags(palette), 2, 0]) + palette
    if transparent is not None:
        out += b"!\xf9\4" + bytes([1, 0, 0, transparent]) + b"\0"
    out += b"!\xfe\3abc\0" + b"," + struct.pack("<HHHH", *frame)
    out += bytes([flags(local) | 0x40 * interlaced]) + local + bytes([bits])
    for i in range(0, len(data), 255):
        out += bytes([len(data[i:i + 255])]) + data[i:i + 255]
    return out + b"\0" + end


def gifs():
    palette, other = np.random.bytes(12), np.random.bytes(12)
    ramp = bytes([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    four = lzw(2, [4, 0, 1, 2, 3, 5])
    two = lzw(2, [4, 3, 1, 5])
    files = {
        "plain": gif((2, 2), (0, 0, 2, 2), four, palette=palette),
        "transparent": gif((2, 2), (0, 0, 2, 2), four, palette=palette, transparent=1),
        "part": gif((4, 3), (1, 1, 2, 1), two, palette=palette),
        "part_transparent": gif((4, 3), (1, 1, 2, 1), two, palette=palette, transparent=2),
        "beyond_screen": gif((1, 1), (1, 2, 2, 1), two, palette=palette),
        "local_palette": gif((2, 2), (0, 0, 2, 2), four, palette=palette, local=other),
        "no_palette": gif((2, 2), (0, 0, 2, 2), four),
        "gray_ramp": gif((2, 2), (0, 0, 2, 2), four, palette=ramp),
        "local_gray_ramp": gif((2, 2), (0, 0, 2, 2), four, local=ramp),
        "short_palette": gif((2, 2), (0, 0, 2, 2), four, palette=palette[:6]),
        "no_end": gif((2, 2), (0, 0, 2, 2), four, palette=palette, end=b"")[:-1],
        "repeats": gif((5, 5), (0, 0, 5, 5), lzw(2, [4, 1, 6, 7, 8, 9, 10, 3, 2, 3, 0, 5]), palette=palette),
        "interlaced": gif(
            (3, 11), (0, 0, 3, 11), lzw(2, [4] + [i % 4 for i in range(33)] + [5]), palette=palette, interlaced=True
        ),
        # More than 4096 different strings, so the table is full before the end.
        "full_table": saved(
            Image.fromarray(np.random.randint(0, 256, (70, 71), np.uint8), "L").quantize(64), "GIF"
        ),
    }
    frames = [scene(9, 7).quantize(16) for _ in range(2)]
    files["animated"] = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    return {f"gif_{name}": data for name, data in files.items()}


# PNM


def pnms():
    files = {
        "p1": b"P1\n# a comment\n5 3\n1 0 1 0 1\n0#\n1 0 1 0\n11011",
        "p2": b"P2 3 2 100 0 50 100 99 1 33",
        "p2_wide": b"P2 3 1 65535 255 256 65535",
        "p3": b"P3 2 1 31 0 1 2 30 31 15",
        "p4": b"P4 10 2\n\xaa\x40\x12\x80",
        "p5": b"P5\n#comment\n4 2\n255\n" + bytes(range(1, 9)),
        "p5_small": b"P5 4 2 200\n" + bytes([0, 1, 77, 100, 150, 199, 200, 255]),
        "p5_1000": b"P5 3 1 1000\n" + struct.pack(">3H", 0, 3, 1000),
        "p5_65535": b"P5 3 1 65535\n" + struct.pack(">3H", 0, 254, 300),
        "p6": b"P6 3 2 255\n" + np.random.bytes(18),
        "p6_1000": b"P6 2 1 1000\n" + struct.pack(">6H", 0, 1, 499, 500, 1000, 2000),
    }
    return {f"pnm_{name}": data for name, data in files.items()}


# EXIF: every layout, in small PNGs; and where the orientation may stand

TIFF_FORMATS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d",
                13: "I", 16: "Q", 17: "q"}


def tiff_value(order, type, value):
    form = TIFF_FORMATS.get(type, "H")
    return struct.pack(order + form, *((value * 2, 2) if len(form) == 2 else (value,)))


def tiff(order, entries, *, version=42, offset=8, count=None):
    """A TIFF directory of (tag, type, number of values, their bytes, or where they would stand)."""
    out = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", version, offset) + bytes(offset - 8)
    out += struct.pack(order + "H", len(entries) if count is None else count)
    behind, rest = offset + 6 + 12 * len(entries), b""
    for tag, type, number, data in entries:
        out += struct.pack(order + "HHI", tag, type, number)
        if isinstance(data, int):
            out += struct.pack(order + "I", data)
        elif len(data) > 4:
            out += struct.pack(order + "I", behind + len(rest))
            rest += data
        else:
            out += data.ljust(4, b"\0")
    return out + bytes(4) + rest


def layouts(order):
    def turned(type=3, *values, number=None):
        values = values or (6,)
        data = b"".join(tiff_value(order, type, value) for value in values)
        return (0x112, type, len(values) if number is None else number, data)

    found = {}
    for type in [*TIFF_FORMATS, 0, 99]:
        for values in ((6,), (8, 3), (5, 1, 1)):
            found[f"type{type}_{len(values)}"] = tiff(order, [turned(type, *values)])
    for value in (0, 9, 255, 262):
        found[f"value{value}"] = tiff(order, [turned(8, value), turned(3, 6)])
    found |= {
        "half": tiff(order, [turned(11, 6.5)]),
        "zero_denominator": tiff(order, [(0x112, 5, 1, struct.pack(order + "II", 6, 0))]),
        "minus_6_by_minus_1": tiff(order, [(0x112, 10, 1, struct.pack(order + "ii", -6, -1))]),
        "large": tiff(order, [turned(4, 65536 + 6)]),
        "no_values": tiff(order, [turned(3, 6, number=0)] + [turned(3, 3)]),
        "twice": tiff(order, [turned(3, 6), turned(3, 3)]),
        "twice_unknown_type": tiff(order, [turned(99, 6), turned(3, 3)]),
        "twice_text": tiff(order, [turned(2, 54), turned(3, 3)]),
        "maker": tiff(order, [(0x10F, 2, 6, b"Maker\0"), turned()]),
        "maker_outside": tiff(order, [(0x10F, 2, 20, 9000), turned()]),
        "maker_larger_than_file": tiff(order, [(0x10F, 2, 9000, 8), turned()]),
        "values_outside": tiff(order, [(0x112, 3, 5, 9000)]),
        "cut_directory": tiff(order, [turned()], count=3),
        "cut_entry": tiff(order, [turned()])[:-6],
        "directory_behind": tiff(order, [turned()], offset=44),
        "directory_outside": tiff(order, [turned()])[:4] + struct.pack(order + "I", 9999),
        "version_swapped": tiff(order, [turned()], version=42 << 8),
        "prefix": b"Exif\0\0" + tiff(order, [turned()]),
        "second_directory": tiff(order, [])[:10] + struct.pack(order + "I", 14) + tiff(order, [turned()])[8:],
    }
    return found


def orientations():
    def tiny(**chunks):
        return png(3, 2, 8, 0, b"\0\1\2\3\0\4\5\6", **chunks)

    files = {}
    for order, name in (("<", "ii"), (">", "mm")):
        for layout, data in layouts(order).items():
            files[f"png_exif_{layout}_{name}"] = tiny(before=chunk(b"eXIf", data))
    jpeg = saved(Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40), "JPEG")
    turned, untouched = orientation(6), b"Exif\0\0" + tiff("<", [(0x10F, 2, 2, b"M")])
    xmp = b'http://ns.adobe.com/xap/1.0/\0<a tiff:Orientation="8"/>'
    damaged = b"Exif\0\0" + tiff(">", [(0x112, 3, 1, b"\0\6")], version=43)
    for name, segments in {
        "two_prefixes": [b"Exif\0\0" + turned], "three_prefixes": [b"Exif\0\0Exif\0\0" + turned],
        "split": [turned[:20], b"Exif\0\0" + turned[20:]], "wrong_name": [b"exif\0\0" + turned[6:]],
        "xmp": [untouched, xmp], "xmp_not_needed": [orientation(1), xmp], "xmp_value_0": [orientation(0), xmp],
        "xmp_text": [b"Exif\0\0" + tiff("<", [(0x112, 2, 1, b"6")]), xmp], "xmp_damaged": [b"Exif\0\0II", xmp],
        "xmp_empty": [b"Exif\0\0", xmp], "xmp_twice": [xmp, xmp.replace(b"8", b"6")], "version_43": [damaged],
    }.items():
        files[f"jpeg_exif_{name}"] = jpeg[:2] + b"".join(segment(0xE1, data) for data in segments) + jpeg[2:]
    raw = b"\nexif\n  1\n" + b"\r\n".join(b"%02x" % byte for byte in turned)
    text = b"XML:com.adobe.xmp\0tiff:Orientation>6"
    files |= {
        "png_exif_two": tiny(before=chunk(b"eXIf", orientation(3)[6:]), after=chunk(b"eXIf", turned[6:])),
        "png_exif_before_header": tiny()[:8] + chunk(b"eXIf", turned[6:]) + tiny()[8:],
        "png_exif_before_profile": tiny(before=chunk(b"eXIf", orientation(3)[6:]) + chunk(b"tEXt", b"Raw profile type exif\0" + raw)),
        "png_profile_lines": tiny(before=chunk(b"tEXt", b"Raw profile type exif\0" + raw)),
        "png_text_exif": tiny(before=chunk(b"tEXt", b"exif\0" + turned)),
        "png_text_xmp": tiny(before=chunk(b"tEXt", text)),
        "png_packed_xmp": tiny(after=chunk(b"zTXt", text[:18] + b"\0" + zlib.compress(text[18:]))),
    }
    return files


# Files that lack something, have too much, or are not quite as the standards say


def oddities():
    files = {}
    data = b"\0\1\2\3\0\4\5\6"
    ends = {
        "none": b"", "ff": b"\xff", "zeros": bytes(40), "text": b"SEFT", "restart": b"\xff\xd0", "scan": b"\xff\xda",
        "cut_comment": segment(0xFE, b"a comment")[:-2], "start": b"\xff\xd8\xff\xd9", "late": bytes(40) + b"\xff\xd9",
    }
    for kind, options in {
        "baseline": {}, "444": {"subsampling": "4:4:4"}, "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 1},
    }.items():
        jpeg = saved(scene(18, 17), "JPEG", quality=60, **options)
        for name, end in ends.items():
            files[f"jpeg_end_{kind}_{name}"] = jpeg[:-2] + end
        for cut in (3, 4, 8, 16, 40):
            files[f"jpeg_end_{kind}_cut_{cut}"] = jpeg[:-cut]
        files[f"jpeg_end_{kind}_cut_marked"] = jpeg[:-12] + b"\xff\xd9"
    image = scene(9, 5)
    jpeg = saved(image, "JPEG")
    scan = jpeg.index(b"\xff\xda")
    for name, junk in {"nul": b"\0\0", "filled": b"\xff\xff", "escaped": b"\xff\0", "restart": b"\xff\xd0"}.items():
        files[f"jpeg_{name}_before_scan"] = jpeg[:scan] + junk + jpeg[scan:]
    files["jpeg_short_segment"] = jpeg[:2] + b"\xff\xfe\0\0" + jpeg[2:]
    files["jpeg_mpo"] = saved(image, "MPO", save_all=True, append_images=[scene(9, 5)])
    frame = jpeg.index(b"\xff\xc0")
    files["jpeg_12_bits"] = jpeg[:frame + 4] + b"\x0c" + jpeg[frame + 5:]
    files["jpeg_no_lines"] = jpeg[:frame + 5] + b"\0\0" + jpeg[frame + 7:]
    files["jpeg_more_lines"] = jpeg[:frame + 5] + b"\0\x10" + jpeg[frame + 7:]

    whole = png(3, 2, 8, 0, data)
    for kind in (b"CgBI", b"abCD", b"tIME"):
        files[f"png_{kind.decode()}_first"] = whole[:8] + chunk(kind, b"P\0 \6") + whole[8:]
    files |= {f"png_cut_{cut}": whole[:-cut] for cut in (1, 4, 8, 11, 12, 16, 17, 20, 22, 30)}
    files |= {
        "png_trailing": whole + b"junk", "png_spare": png(3, 2, 8, 0, data + bytes(20000)),
        "png_two_palettes": png(3, 2, 8, 3, data, palette=bytes(range(24)), before=chunk(b"PLTE", b"\x63\x62\x61")),
        "png_no_palette": png(3, 2, 8, 3, data), "png_long_palette": png(3, 2, 8, 3, data, palette=bytes(771)),
        "png_gray1_high_trns": png(6, 2, 1, 0, b"\0\x58\0\xA4", before=chunk(b"tRNS", b"\xff\0")),
        "png_animated": saved(image, "PNG", save_all=True, append_images=[scene(9, 5)]),
        "png_animated_behind": saved(image, "PNG", save_all=True, append_images=[scene(9, 5)], default_image=True),
        "png_filter_5": png(3, 2, 8, 0, b"\5" + data[1:]), "unlike_png_rows_missing": png(3, 2, 8, 0, data[:4]),
        "unlike_png_cut_trns": png(3, 2, 8, 0, data, before=chunk(b"tRNS", b"\0")),
        "unlike_png_cut_gama": png(3, 2, 8, 0, data, before=chunk(b"gAMA", b"\0")),
        "unlike_png_broken_exif": png(3, 2, 8, 0, data, before=chunk(b"eXIf", b"no TIFF")),
        "png_compression_1": whole[:8] + chunk(b"IHDR", whole[16:26] + b"\1\0\0") + whole[33:],
        "png_filter_1": whole[:8] + chunk(b"IHDR", whole[16:26] + b"\0\1\0") + whole[33:],
    }
    # A table of 12-bit codes that stays in use for thousands of codes, as some encoders leave it.
    codes = [256] + [i * 37 % 251 for i in range(95 * 91)] + [257]
    files["gif_kept_table"] = gif((95, 91), (0, 0, 95, 91), lzw(8, codes), palette=bytes(range(256)) * 3, bits=8)
    return files


# WebP


def riff(*chunks):
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webps():
    colour, clear = scene(37, 29), scene(14, 9, "RGBA")
    files = {
        "lossy": saved(colour, "WEBP", quality=60), "lossy_poor": saved(colour, "WEBP", quality=3),
        "lossless": saved(scene(19, 8), "WEBP", lossless=True), "gray": saved(scene(9, 14, "L"), "WEBP"),
        "palette": saved(scene(19, 8).quantize(5), "WEBP", lossless=True),
        "lossy_alpha": saved(clear, "WEBP", quality=70), "one_pixel": saved(colour.crop((0, 0, 1, 1)), "WEBP"),
        "lossless_alpha": saved(clear, "WEBP", lossless=True, exact=True), "thin": saved(colour.crop((0, 0, 1, 21)), "WEBP"),
        "profile": saved(scene(9, 5), "WEBP", icc_profile=bytes(132)),
        "xmp_6": saved(scene(9, 5), "WEBP", xmp=b'<a tiff:Orientation="6"/>'),
    }
    files |= {f"exif_{i}": saved(scene(7, 4), "WEBP", exif=orientation(i)) for i in (3, 6, 9)}
    files["exif_8_without_prefix"] = saved(scene(7, 4), "WEBP", exif=orientation(8)[6:])
    frames = [scene(13, 10, "RGBA") for _ in range(2)]
    files["animated"] = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], background=(255, 0, 0, 255))
    # A first frame that is smaller than its canvas.
    small = saved(scene(8, 6, "RGBA"), "WEBP", lossless=True, exact=True)

    def u24(value):
        return struct.pack("<I", value)[:3]

    for blend, (x, y) in enumerate(((2, 4), (12, 0))):
        frame = u24(x // 2) + u24(y // 2) + u24(7) + u24(5) + u24(100) + bytes([2 * blend]) + small[12:]
        files[f"part_{blend}"] = riff(
            (b"VP8X", b"\x12\0\0\0" + u24(19) + u24(10)), (b"ANIM", b"\x10\x80\xf0\xc0\0\0"), (b"ANMF", frame)
        )
    lossy = files["lossy_alpha"]
    files |= {f"cut_{cut}": lossy[:-cut] for cut in (1, 2, 9, 60, len(lossy) - 30, len(lossy) - 12)}
    files |= {
        "trailing": lossy + b"junk", "unknown_kind": lossy[:12] + b"XXXX" + lossy[16:],
        "short_riff": lossy[:4] + struct.pack("<I", len(lossy) - 20) + lossy[8:],
    }
    return {f"webp_{name}": data for name, data in files.items()}


def all_files():
    seed(11)
    return jpegs() | pngs() | bmps() | gifs() | pnms() | orientations() | oddities() | webps()


def decoding(folder):
    """NAME.file, and NAME.rgb (and NAME.opaque if it differs) or NAME.refused. What the library reads
    otherwise than the reference has a name that begins with unlike."""
    tensors = {}
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in all_files().items():
            path = Path(temporary) / name
            path.write_bytes(data)
            tensors[f"{name}.file"] = data
            try:
                loaded = load_image(str(path))
            except Exception as error:
                tensors[f"{name}.refused"] = f"{type(error).__name__}: {error}".replace(str(path), name)
                continue
            tensors[f"{name}.rgb"] = np.array(loaded)
            opaque = convert_to_rgb(loaded, return_numpy=True)
            if (opaque != tensors[f"{name}.rgb"]).any():
                tensors[f"{name}.opaque"] = opaque
    save(folder, "image_processing/decoding", tensors)


# Image objects, resizing, the processor


def objects(folder):
    """Every pair of a colour and an alpha, composited by the reference."""
    seed(12)
    color, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    image = Image.fromarray(np.stack([color, alpha], -1), "LA")
    composited = np.asarray(convert_to_rgb(image, return_numpy=True))
    assert (composited[..., 0] == composited[..., 2]).all()
    rgba = np.stack([color] * 3 + [alpha], -1)
    assert (composited == np.asarray(convert_to_rgb(Image.fromarray(rgba), return_numpy=True))).all()
    arrays = convert_to_rgb(rgba, return_numpy=True, input_data_format="channels_last")
    assert (composited == arrays).all()
    tensors = {"composited": composited[..., 0]}
    for mode in ("L", "LA", "RGBA"):
        image = scene(5, 4, mode)
        tensors[mode] = np.array(image).reshape(4, 5, -1)
        tensors[f"{mode}.rgb"] = convert_to_rgb(image, return_numpy=True)
    save(folder, "image_processing/objects", tensors)


# Those that transformers accepts; Pillow 13 has two more.
FILTERS = range(6)


def resizing(folder):
    seed(13)
    tensors = {}
    sources = {mode: scene(41, 30, mode) for mode in ("L", "LA", "RGB", "RGBA")}
    rgba = np.array(sources["RGBA"])
    rgba[:9, :, 3] = 0
    sources["RGBA"] = Image.fromarray(rgba)
    checker = np.indices((33, 47)).sum(0) // 2 % 2 * 255
    sources["checker"] = Image.fromarray(np.stack([checker] * 3, -1).astype(np.uint8))
    sizes = {
        "RGB": [(24, 24), (41, 13), (17, 30), (50, 33), (7, 3), (1, 1), (97, 2), (40, 31),
                (36, 20), (36, 19), (43, 20)],
        "checker": [(24, 24), (49, 35), (5, 9)], "L": [(13, 20), (43, 20)], "LA": [(13, 20), (44, 33)],
        "RGBA": [(13, 20), (44, 33), (43, 20)],
    }
    for name, image in sources.items():
        tensors[name] = np.array(image).reshape(image.height, image.width, -1)
        for size in sizes[name]:
            for filter in FILTERS:
                resized = np.array(image.resize(size, filter))
                key = f"{name}.{size[0]}x{size[1]}.{filter}"
                tensors[key] = resized.reshape(size[1], size[0], -1)
    wide = Image.fromarray(np.random.randint(0, 256, (3, 3000, 3), np.uint8))
    tensors["wide"] = np.array(wide)
    for filter in FILTERS:
        tensors[f"wide.7x2.{filter}"] = np.array(wide.resize((7, 2), filter))
    save(folder, "image_processing/resizing", tensors)


CONFIGS = [
    {},
    {"size": 24},
    {"size": {"height": 20, "width": 31}, "resample": 2},
    {"size": [18, 25], "resample": 1, "do_normalize": False},
    {"size": 16, "default_to_square": False, "resample": 4},
    {"size": {"shortest_edge": 16, "longest_edge": 20}},
    {"size": {"shortest_edge": 40, "longest_edge": 300}, "do_rescale": False},
    {"size": {"max_height": 20, "max_width": 30}},
    {"do_resize": False, "do_rescale": False, "do_normalize": False},
    {"do_resize": None, "do_center_crop": True, "crop_size": {"height": 21, "width": 13}},
    {"size": 16, "do_center_crop": True, "crop_size": 23, "resample": 5},
    {"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": [27, 20]},
    {"size": 20, "rescale_factor": 0.25, "image_mean": 0.5, "image_std": [0.25, 0.3, 3], "resample": 0},
    {"size": 20, "do_rescale": False, "image_mean": [120, 110.5, 100], "image_std": 60},
    {"size": 20, "do_pad": True, "pad_size": {"height": 25, "width": 22}},
    {"size": 20, "do_normalize": False, "do_pad": True},
    {"size": 20, "processor_class": "InstructBlipProcessor", "feature_extractor_type": "BlipFeatureExtractor",
     "image_processor_type": "BlipImageProcessor", "unknown": {"kept": [1, None, "ä"]}, "data_format": "channels_first"},
]


def processor(folder):
    seed(14)
    image = scene(33, 26)
    tensors, written = {"image": np.array(image)}, []
    for i, config in enumerate(CONFIGS):
        made = BlipImageProcessorPil(**config)
        written.append(made.to_json_string())
        if i > 0:  # the default is large; its values are those of any other size
            pixels = made([image], return_tensors="np")["pixel_values"]
            tensors[f"pixel_values.{i}"] = pixels
    for mode in ("L", "LA", "RGBA"):
        other = scene(12, 9, mode)
        plain = BlipImageProcessorPil(size=10, do_convert_rgb=False, image_mean=0.4, image_std=0.3)
        tensors[mode] = np.array(other).reshape(9, 12, -1)
        tensors[f"{mode}.rgb"] = BlipImageProcessorPil(size=10)([other], return_tensors="np")["pixel_values"]
        tensors[f"{mode}.plain"] = plain([other], return_tensors="np")["pixel_values"]
    two = [scene(12, 9), scene(7, 16)]
    tensors |= {"two.0": np.array(two[0]), "two.1": np.array(two[1])}
    tensors["two"] = BlipImageProcessorPil(size=10)(two, return_tensors="np")["pixel_values"]
    padded = BlipImageProcessorPil(size={"shortest_edge": 8}, do_pad=True)
    tensors["two.padded"] = padded(two, return_tensors="np")["pixel_values"]
    # All byte values through rescaling and normalisation.
    levels = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, -1))
    tensors["levels"] = BlipImageProcessorPil(do_resize=False)([levels], return_tensors="np")["pixel_values"]
    tensors |= texts("configs", [json.dumps(config) for config in CONFIGS])
    tensors |= texts("written", written)
    save(folder, "image_processing/processor", tensors)


FIXTURES = {
    "image_processing/decoding": decoding,
    "image_processing/objects": objects,
    "image_processing/resizing": resizing,
    "image_processing/processor": processor,
}
