// The checksum of Python's zlib.crc32, for fixtures that would be large otherwise.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace instructblip::testing {

inline std::uint32_t crc32(std::string_view bytes, std::uint32_t crc = 0) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> values{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit)
        value = (value & 1) != 0 ? value >> 1 ^ 0xedb88320u : value >> 1;
      values[i] = value;
    }
    return values;
  }();
  crc = ~crc;
  for (const char byte : bytes)
    crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(byte)) & 255];
  return ~crc;
}

}  // namespace instructblip::testing
