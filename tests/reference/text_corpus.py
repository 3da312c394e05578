"""Texts that tokenizers get wrong."""

import random

SPECIALS = ["<s>", "</s>", "<unk>", "<pad>", "[CLS]", "[SEP]", "[DEC]", "<image>", "<extra_id_0>", "<0x41>"]

TEXTS = [
    "",
    " ",
    "   ",
    "a",
    "What is unusual about this image?",
    "Is there a dog in the picture?  Answer yes or no.",
    "  two spaces before and after  ",
    "tab\tnewline\ncarriage\rreturn\r\nform\x0cfeed\x0bvertical\x1cfs\x1fus",
    "can't I'LL we've they're I'm he'd it's 'tis rock 'n' roll don't won't",
    "I'Ve WE'RE 'S 's'' ''",
    "do not do that. do not , do n't ! ?",
    "0123456789 12,345.67 3rd 1\u00bd \u00b2\u00b3 \u0663\u0664 \uff11\uff12 \u2167",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \u017b\u00f3\u0142\u0107",
    "cafe\u0301 nai\u0308ve A\u030angstro\u0308m",
    "a\u0301\u0327 a\u0327\u0301 \u1e69 s\u0323\u0307 s\u0307\u0323",
    "\u0130stanbul I\u0307 \u0131 \u1e9e Stra\u00dfe \u03a3\u03c3\u03c2 \u0391\u03a3",
    "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002 "
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "mixed\u4e2d\u6587and English\uff0c\uff21\uff22\uff23 full\u3000width",
    "\U00020000\U0002a6d6\U0002f800 \uf900",
    "\U0001f600\U0001f44d\U0001f3fd\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0650\u0633\u0652\u0645\u0650 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0958\u0300 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u1006\u102d\u102f",
    "nbsp\u00a0ideographic\u3000zero\u200bwidth\u200cjoin\u200dnel\u0085line\u2028para\u2029thin\u2009ogham\u1680bom\ufeff",
    "\u00a0\u3000\u2009 a\u00a0\u00a0b \u0085\u0085c",
    "soft\u00adhyphen \u202eright\u202c \u2066isolate\u2069 \u061c",
    "\x00nul\x00 \x01\x02\x7f\x80\x9f \ufffd \ue000 \U000f0000 \uffff \U0010ffff",
    "\u2581", "\u2581\u2581a", "\u2581a b\u2581 \u2581", " \u2581 a", "a\u2581b",
    "\ufb01\ufb02\ufb03\ufb04 \ufb04\u0336 \u00aa\u0300\u0300 \u00ba\u20dd \u2122 \u2121 \u33a1 \u3392 \u210c",
    "\uff76\uff9e\uff77\uff9f \u30ab\u3099 \u304b\u3099",
    "x\r\ny \r\n z\u2028",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \u00a1\u00a7\u00b6\u00b7\u00bf\u2014\u2018\u2019\u201c\u201d\u2026\u3001\u3002",
    "http://example.com/a?b=c&d=e#f user@example.org C++ C# #hash @name 50% $5 \u20ac5 \u00a35",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "a" * 100, "a" * 101, "\u00e9" * 100, "\u00e9" * 101, "e\u0301" * 60,
    "." * 150, "-" * 64 + " " * 64 + "=" * 64, " " * 200, "\n" * 20 + "x", "\u4e2d" * 50, "\U0001f600" * 30,
    "unbelievablyantidisestablishmentarianismsupercalifragilistic",
    "HELLO World hElLo", "\u00c9COLE \u00c9t\u00e9",
]  # fmt: skip


def with_specials(specials):
    texts = []
    for token in specials:
        texts += [token, f"a{token}b", f"a {token} b", f"  {token}  b", f"{token}{token} {token}",
                  f"{token} start", f"end {token}", f"x\u00a0{token}\u3000y", token.lower(), token.upper(),
                  token[:-1], f"word{token}", f"{token}word", f"_{token}_ \u00e9{token}\u00e9"]  # fmt: skip
    return texts


def random_texts(seed, count, specials=()):
    generator = random.Random(seed)
    alphabets = [
        "abcdefghijklmnopqrstuvwxyz     ",
        "aAeE\u00e9\u0301\u0308 \u00a0'.,!?",
        " \t\n\r\u00a0\u3000\u200b\u0085\u2581ab",
        "'sStTrReEvVmMlLdD n",
        "0123456789.,%$ \u00b2\u0663",
        "\u4e2d\u6587\u65e5\u672c\u3042\u30ab\uff76\uff9e\ud55c\uae00 ab",
        "\U0001f600\u200d\ufe0f\U0001f3fd\U0001f468\u2764\U0001f1e9 a",
        "\u0627\u0628\u064e\u0651\u05d0\u05bc\u0915\u094d\u0937\u093f\u0e01\u0e34 ",
        "\ufb01\u00aa\u00ba\u2122\uff21\u00bd\u0300\u0336\u20dd\u0958\u094d\u0600 ",
        "".join(chr(c) for c in range(1, 128)),
    ]
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(generator.randint(1, 6)):
            choice = generator.random()
            if choice < 0.15 and specials:
                parts.append(generator.choice(specials))
            elif choice < 0.25:
                code = generator.choice([0x250, 0x3000, 0x11000, 0x20000, 0x110000])
                code = generator.randrange(1, code)
                parts.append("" if 0xD800 <= code <= 0xDFFF else chr(code))
            else:
                alphabet = generator.choice(alphabets)
                parts.append("".join(generator.choice(alphabet) for _ in range(generator.randint(1, 12))))
        texts.append("".join(parts))
    return texts


VOCABULARY = """what is unusual about this image picture photo show describe the a an in on of and or to with left
right behind front man woman child dog cat horse bird car bus train plane street road tree house table chair red green
blue yellow black white brown large small how many are there does do can could would should will answer question short
caption long detailed yes no not it's can't don't i'm they're we've he'd she'll one two three four five six seven eight
nine ten 0 1 2 3 4 5 6 7 8 9 sign says stop where who why which color shape wearing holding sitting standing running
playing café naïve élan über 中文 日本 한국 привет мир émigré! ? . , ; : " ' ( ) - / % $ # @ & * + = < > [ ] { }"""


def training_texts(seed=1, count=1500):
    generator = random.Random(seed)
    words = VOCABULARY.split()
    texts = []
    for _ in range(count):
        text = " ".join(generator.choice(words) for _ in range(generator.randint(3, 14)))
        texts.append(text[0].upper() + text[1:] + generator.choice([".", "?", "!", ""]))
    return texts
