#include "instructblip/core/error.h"

namespace instructblip {

// Defined here, so that each class has exactly one type_info in a program, shared or static.
Error::Error(const std::string& message) : std::runtime_error(message) {}
Error::~Error() = default;
ConfigError::ConfigError(const std::string& message) : Error(message) {}
ConfigError::~ConfigError() = default;
CheckpointError::CheckpointError(const std::string& message) : Error(message) {}
CheckpointError::~CheckpointError() = default;
ImageError::ImageError(const std::string& message) : Error(message) {}
ImageError::~ImageError() = default;
TokenizerError::TokenizerError(const std::string& message) : Error(message) {}
TokenizerError::~TokenizerError() = default;
InputError::InputError(const std::string& message) : Error(message) {}
InputError::~InputError() = default;

}  // namespace instructblip
