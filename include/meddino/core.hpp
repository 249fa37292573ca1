// Part of meddino.hpp: errors, owners of handles, callbacks.
#ifndef MEDDINO_CORE_HPP
#define MEDDINO_CORE_HPP
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>

#include "../meddino.h"

namespace meddino {

/// A failed call: the status and the one line that says what was wrong.
class Error : public std::runtime_error {
 public:
  Error(meddino_status code, const std::string &text) : std::runtime_error(text), code_(code) {}
  meddino_status code() const noexcept { return code_; }
  const char *name() const noexcept { return meddino_status_name(code_); }

 private:
  meddino_status code_;
};

namespace detail {

/// The text of the last failed call on this thread.
inline std::string last_error() {
  const size_t length = meddino_last_error(nullptr, 0);
  std::string text(length + 1, '\0');
  meddino_last_error(&text[0], text.size());
  text.resize(length);
  return text;
}

/// Throws `Error` unless the status is MEDDINO_OK.
inline void check(meddino_status status) {
  if (status != MEDDINO_OK) throw Error(status, last_error());
}

/// Sole owner of a C handle.
template <class T, void (*Release)(T *)>
class Handle {
 public:
  Handle() noexcept : handle_(nullptr) {}
  explicit Handle(T *handle) noexcept : handle_(handle) {}
  Handle(Handle &&other) noexcept : handle_(other.handle_) { other.handle_ = nullptr; }
  Handle &operator=(Handle &&other) noexcept {
    if (this != &other) {
      Release(handle_);
      handle_ = other.handle_;
      other.handle_ = nullptr;
    }
    return *this;
  }
  Handle(const Handle &) = delete;
  Handle &operator=(const Handle &) = delete;
  ~Handle() { Release(handle_); }

  T *get() const noexcept { return handle_; }
  /// Where a C function stores a new handle. Only on an empty owner.
  T **out() noexcept { return &handle_; }

 private:
  T *handle_;
};

/// What a callback needs that must not let an exception pass: it is kept here and thrown again after the call.
struct Progress {
  std::function<bool(double, const char *)> function;
  std::exception_ptr failure;
  std::mutex mutex;

  static int32_t call(void *user, double fraction, const char *stage) noexcept {
    Progress *self = static_cast<Progress *>(user);
    try {
      return self->function(fraction, stage) ? 0 : 1;
    } catch (...) {
      std::lock_guard<std::mutex> lock(self->mutex);
      self->failure = std::current_exception();
      return 1;
    }
  }
  /// For a callback that serves several calls, before each of them.
  void forget() {
    std::lock_guard<std::mutex> lock(mutex);
    failure = nullptr;
  }
  /// Throws what the function threw; else nothing.
  void rethrow() {
    std::exception_ptr kept;
    {
      std::lock_guard<std::mutex> lock(mutex);
      kept = failure;
    }
    if (kept) std::rethrow_exception(kept);
  }
};

/// The callback's own exception first: it is why the work was cancelled.
inline void check(meddino_status status, Progress &progress) {
  if (status == MEDDINO_OK) return;
  const std::string text = last_error();
  if (status == MEDDINO_E_CANCELLED) progress.rethrow();
  throw Error(status, text);
}

/// The host's log function; lives as long as anything made from the context.
struct Log {
  std::function<void(int, const char *)> function;
  static void call(void *user, int32_t level, const char *message) noexcept {
    try {
      static_cast<Log *>(user)->function(level, message);
    } catch (...) {  // a log line has no call that it could fail
    }
  }
};

template <class T>
struct DType;
template <> struct DType<std::uint8_t> { static constexpr int32_t code = MEDDINO_U8; };
template <> struct DType<std::int8_t> { static constexpr int32_t code = MEDDINO_I8; };
template <> struct DType<std::int16_t> { static constexpr int32_t code = MEDDINO_I16; };
template <> struct DType<std::uint16_t> { static constexpr int32_t code = MEDDINO_U16; };
template <> struct DType<std::int32_t> { static constexpr int32_t code = MEDDINO_I32; };
template <> struct DType<std::uint32_t> { static constexpr int32_t code = MEDDINO_U32; };
template <> struct DType<std::int64_t> { static constexpr int32_t code = MEDDINO_I64; };
template <> struct DType<std::uint64_t> { static constexpr int32_t code = MEDDINO_U64; };
template <> struct DType<float> { static constexpr int32_t code = MEDDINO_F32; };
template <> struct DType<double> { static constexpr int32_t code = MEDDINO_F64; };

}  // namespace detail

/// The version of the library that runs, as major << 16 | minor << 8 | patch.
inline std::uint32_t version() noexcept { return meddino_version(); }
/// Version, kernels in use and thread back end, in one line.
inline std::string build_info() { return meddino_build_info(); }

}  // namespace meddino
#endif
