// The exceptions of the library: one base class and one class per kind of invalid input.
#pragma once

#include <stdexcept>
#include <string>

#include "instructblip/core/export.h"

namespace instructblip {

/// Base of every exception that the library throws itself. The message says what is wrong, where
/// (file, tensor, key or argument), what was expected, what was found, and what to do.
class INSTRUCTBLIP_EXPORT Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message);
  ~Error() override;
};

/// An invalid configuration: missing file, malformed JSON, wrong type or value of a key.
class INSTRUCTBLIP_EXPORT ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message);
  ~ConfigError() override;
};

/// An invalid checkpoint: unreadable or inconsistent safetensors file, missing shard, tensor that
/// is missing or has the wrong shape.
class INSTRUCTBLIP_EXPORT CheckpointError : public Error {
 public:
  explicit CheckpointError(const std::string& message);
  ~CheckpointError() override;
};

/// An invalid image: it cannot be opened or decoded, is too large, or has a shape that cannot be
/// processed.
class INSTRUCTBLIP_EXPORT ImageError : public Error {
 public:
  explicit ImageError(const std::string& message);
  ~ImageError() override;
};

/// Invalid tokenizer files or text: unsupported pipeline, text that is not UTF-8.
class INSTRUCTBLIP_EXPORT TokenizerError : public Error {
 public:
  explicit TokenizerError(const std::string& message);
  ~TokenizerError() override;
};

/// An invalid argument of a call: wrong shape, count, range or combination.
class INSTRUCTBLIP_EXPORT InputError : public Error {
 public:
  explicit InputError(const std::string& message);
  ~InputError() override;
};

}  // namespace instructblip
