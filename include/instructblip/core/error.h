// The exceptions of the library: one base and one class per kind of input that can be wrong.
#pragma once

#include <stdexcept>
#include <string>

#include "instructblip/core/export.h"

namespace instructblip {

/// Base of every exception that the library throws on purpose. The message names what was wrong,
/// where (file, tensor, key, argument), what was expected and found, and what to do.
class INSTRUCTBLIP_EXPORT Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message);
  ~Error() override;
};

/// A configuration file or object: missing file, malformed JSON, wrong type or value of a key.
class INSTRUCTBLIP_EXPORT ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message);
  ~ConfigError() override;
};

/// A checkpoint: unreadable or lying safetensors file, missing shard, missing or misshapen tensor.
class INSTRUCTBLIP_EXPORT CheckpointError : public Error {
 public:
  explicit CheckpointError(const std::string& message);
  ~CheckpointError() override;
};

/// An image: cannot be opened or decoded, too large, or of a shape that cannot be processed.
class INSTRUCTBLIP_EXPORT ImageError : public Error {
 public:
  explicit ImageError(const std::string& message);
  ~ImageError() override;
};

/// Tokenizer files or text: unsupported pipeline, text that is not UTF-8, ids out of range.
class INSTRUCTBLIP_EXPORT TokenizerError : public Error {
 public:
  explicit TokenizerError(const std::string& message);
  ~TokenizerError() override;
};

/// An argument of a call: wrong shape, count, range or combination.
class INSTRUCTBLIP_EXPORT InputError : public Error {
 public:
  explicit InputError(const std::string& message);
  ~InputError() override;
};

}  // namespace instructblip
