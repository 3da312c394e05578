// The regular expressions over module names in an adapter's configuration. They follow Python's
// `re`, but no pattern takes more than a bounded time.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace instructblip {

/// A compiled expression: literals, `.`, classes, groups, alternatives, repetitions, `^ $ \b`,
/// look-aheads. Immutable, cheap to copy.
class ModulePattern {
 public:
  /// Throws ConfigError, which begins with `where`, if the expression is malformed, too long, or
  /// needs what is not supported: flags, back references, look-behinds.
  ModulePattern(std::string_view pattern, const std::string& where);

  /// Whether the whole text matches, as Python's re.fullmatch. A text longer than 1024 bytes, which
  /// is no module's name, does not.
  bool matches(std::string_view text) const;

 private:
  struct Program;
  std::shared_ptr<const Program> program_;
};

}  // namespace instructblip
