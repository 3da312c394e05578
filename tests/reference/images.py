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


def all_files():
    seed(11)
    return jpegs() | pngs() | bmps() | gifs() | pnms()


def decoding(folder):
    tensors = {}
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in all_files().items():
            path = Path(temporary) / name
            path.write_bytes(data)
            tensors[f"{name}.file"] = data
            loaded = load_image(str(path))
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
