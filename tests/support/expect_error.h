// Expects an exception of a given type whose message contains given texts.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace instructblip::testing {

template <class Expected, class Body>
void expect_error(Body&& body, std::initializer_list<std::string_view> texts = {},
                  const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  try {
    body();
  } catch (const Expected& error) {
    const std::string message = error.what();
    for (const std::string_view text : texts) {
      if (message.find(text) == std::string::npos) {
        ADD_FAILURE_AT(file, line) << "the message does not contain \"" << text << "\":\n"
                                   << message;
      }
    }
    return;
  } catch (const std::exception& error) {
    ADD_FAILURE_AT(file, line) << "an exception of the wrong type: " << error.what();
    return;
  }
  ADD_FAILURE_AT(file, line) << "no exception";
}

}  // namespace instructblip::testing
