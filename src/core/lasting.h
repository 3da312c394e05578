// Static objects that other threads may use until the process has ended.
#pragma once

namespace instructblip {

/// A static object that is never destroyed: `exit` destroys static objects while other threads
/// still run. Declare it constinit, so that its initialisation cannot be interrupted either.
template <class T>
class Lasting {
 public:
  constexpr Lasting() : value_() {}
  ~Lasting() {}
  Lasting(const Lasting&) = delete;
  Lasting& operator=(const Lasting&) = delete;

  constexpr T& operator*() { return value_; }
  constexpr T* operator->() { return &value_; }

 private:
  union {
    T value_;
  };
};

}  // namespace instructblip
