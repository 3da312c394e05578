// Damaged image files: any bytes give an image or an ImageError. With the sanitizers, this is a
// small deterministic fuzzer. INSTRUCTBLIP_FUZZ_ROUNDS sets its number of rounds.
#include <array>
#include <cstdlib>
#include <random>

#include "instructblip/core/error.h"
#include "instructblip/image_processing/image.h"
#include "support/fixtures.h"

namespace instructblip {
namespace {

using Bytes = std::vector<std::uint8_t>;
using Random = std::mt19937;

std::uint32_t below(Random& random, std::size_t end) {
  return static_cast<std::uint32_t>(random() % std::max<std::size_t>(end, 1));
}

void damage(Bytes& bytes, const Bytes& other, Random& random) {
  constexpr std::uint8_t kTelling[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, 0xc4, 0xda, 0xd9, 0x20};
  const std::size_t at = below(random, bytes.size());
  switch (below(random, 7)) {
    case 0: bytes[at] ^= static_cast<std::uint8_t>(1u << below(random, 8)); break;
    case 1: bytes[at] = static_cast<std::uint8_t>(random()); break;
    case 2: bytes[at] = kTelling[below(random, std::size(kTelling))]; break;
    case 3: bytes.resize(at + 1); break;
    case 4: {  // repeat a run of bytes
      const std::size_t size = 1 + below(random, std::min<std::size_t>(bytes.size() - at, 40));
      const Bytes run(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                      bytes.begin() + static_cast<std::ptrdiff_t>(at + size));
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), run.begin(), run.end());
      break;
    }
    case 5:
      bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                  bytes.begin() + static_cast<std::ptrdiff_t>(
                                      std::min(bytes.size(), at + 1 + below(random, 9))));
      break;
    default:  // append the end of another file
      bytes.resize(at);
      if (at < other.size()) {
        bytes.insert(bytes.end(), other.begin() + static_cast<std::ptrdiff_t>(at), other.end());
      }
  }
  if (bytes.empty()) bytes.push_back(0);
}

std::uint32_t crc32(const std::uint8_t* begin, const std::uint8_t* end) {
  std::uint32_t crc = 0xffffffffu;
  for (; begin != end; ++begin) {
    crc ^= *begin;
    for (int k = 0; k < 8; ++k) crc = (crc & 1) ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
  }
  return ~crc;
}

/// Corrects the checksums of a damaged PNG, so that the damage reaches the decoder.
void repair_checksums(Bytes& png) {
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const std::size_t length =
        std::size_t{png[at]} << 24 | png[at + 1] << 16 | png[at + 2] << 8 | png[at + 3];
    if (length > png.size() - at - 12) return;
    const std::uint8_t* data = png.data() + at + 4;
    const std::uint32_t crc = crc32(data, data + 4 + length);
    at += 8 + length;
    for (int shift = 24; shift >= 0; shift -= 8) {
      png[at++] = static_cast<std::uint8_t>(crc >> shift);
    }
  }
}

std::vector<Bytes> files() {
  const testing::Fixture fixture("image_processing/decoding");
  std::vector<Bytes> all;
  for (const std::string& name : fixture.names()) {
    if (!name.ends_with(".file")) continue;
    const Tensor tensor = fixture[name];
    const auto span = tensor.span<std::uint8_t>();
    all.emplace_back(span.begin(), span.end());
  }
  return all;
}

TEST(ImageRobustness, DamagedFilesGiveAnImageOrAnImageError) {
  const char* wanted = std::getenv("INSTRUCTBLIP_FUZZ_ROUNDS");
  const int rounds = wanted ? std::atoi(wanted) : 8;
  const std::vector<Bytes> originals = files();
  Random random(20);
  int decoded = 0, refused = 0;
  for (int round = 0; round < rounds; ++round) {
    for (const Bytes& original : originals) {
      Bytes bytes = original;
      const std::uint32_t damages = 1 + below(random, 4);
      for (std::uint32_t i = 0; i < damages; ++i) {
        damage(bytes, originals[below(random, originals.size())], random);
      }
      if (random() % 4 != 0) repair_checksums(bytes);
      try {
        const Image image = Image::open(bytes, {.max_pixels = 1 << 20});
        EXPECT_GT(image.width() * image.height(), 0);
        ++decoded;
      } catch (const ImageError&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(decoded, 0);
  EXPECT_GT(refused, 0);
}

TEST(ImageRobustness, MeaninglessBytesAreRefused) {
  constexpr std::string_view kBeginnings[] = {
      "\xff\xd8\xff\xe0", "\x89PNG\r\n\x1a\n", "GIF89a", "BM", "P1 ", "P3 ", "P5 ", "P6 ", ""};
  Random random(21);
  for (const std::string_view beginning : kBeginnings) {
    for (int i = 0; i < 50; ++i) {
      Bytes bytes(beginning.begin(), beginning.end());
      const std::uint32_t size = below(random, 300);
      for (std::uint32_t k = 0; k < size; ++k) bytes.push_back(static_cast<std::uint8_t>(random()));
      try {
        Image::open(bytes, {.max_pixels = 1 << 20});
      } catch (const ImageError&) {
      }
    }
  }
}

}  // namespace
}  // namespace instructblip
