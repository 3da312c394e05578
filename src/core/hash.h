// A hash that stays the same from run to run, unlike std::hash.
#pragma once

#include <cstdint>
#include <string_view>

namespace instructblip {

/// FNV-1a of 64 bits (http://www.isthe.com/chongo/tech/comp/fnv). Tells changed files apart; it
/// does not resist someone who looks for files with the same hash.
class Hash {
 public:
  void add(std::string_view bytes) {
    for (const char byte : bytes) {
      value_ = (value_ ^ static_cast<unsigned char>(byte)) * 0x100000001b3u;
    }
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

}  // namespace instructblip
