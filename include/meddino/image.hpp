// Part of meddino.hpp: the context and images.
#ifndef MEDDINO_IMAGE_HPP
#define MEDDINO_IMAGE_HPP
#include <memory>
#include <utility>

#include "volume.hpp"

namespace meddino {

/// How a context works. Defaults: all processors, silent, no memory limit.
struct ContextOptions {
  int threads = 0;
  std::uint64_t max_bytes = 0;
  int log_level = MEDDINO_LOG_WARNING;
  /// May be called from any thread. What it throws is dropped.
  std::function<void(int level, const char *message)> log;
  /// The host's own parallel loop, see meddino.h; must not throw.
  meddino_parallel_fn parallel = nullptr;
  void *parallel_user = nullptr;
  int parallel_width = 1;
};

/// The root of all state: threads, memory limit, log.
class Context {
 public:
  explicit Context(const ContextOptions &options = ContextOptions()) : state_(std::make_shared<State>()) {
    meddino_context_options o;
    meddino_context_options_init(&o, sizeof o);
    o.threads = options.threads;
    o.max_bytes = options.max_bytes;
    o.log_level = options.log_level;
    if (options.log) {
      state_->log.function = options.log;
      o.log = &detail::Log::call;
      o.log_user = &state_->log;
    }
    o.parallel = options.parallel;
    o.parallel_user = options.parallel_user;
    o.parallel_width = options.parallel_width;
    detail::check(meddino_context_create(&o, state_->handle.out()));
  }
  Context(Context &&) = default;
  Context &operator=(Context &&) = default;
  Context(const Context &) = delete;
  Context &operator=(const Context &) = delete;
  meddino_context *get() const noexcept { return state_->handle.get(); }

  /// Kept by everything made from a context, so that its log outlives it.
  struct State {
    detail::Log log;
    detail::Handle<meddino_context, meddino_context_release> handle;
  };
  const std::shared_ptr<State> &state() const noexcept { return state_; }

 private:
  std::shared_ptr<State> state_;
};

/// Stops runs from any thread. Copies are not possible; share a reference or a pointer.
class Cancel {
 public:
  Cancel() { detail::check(meddino_cancel_create(handle_.out())); }
  void request() const noexcept { meddino_cancel_request(handle_.get()); }
  meddino_cancel *get() const noexcept { return handle_.get(); }

 private:
  detail::Handle<meddino_cancel, meddino_cancel_release> handle_;
};

/// Watching and stopping work on a whole file; see meddino_file_options.
struct FileOptions {
  /// Returns false to stop. What it throws stops the work too and comes out of the call.
  std::function<bool(double fraction, const char *stage)> progress;
  const Cancel *cancel = nullptr;
};

namespace detail {
/// FileOptions as a C struct that begins with the same fields. Stays where it was made: the C struct points into it.
template <class Options, void (*Init)(Options *, size_t)>
class FileRun {
 public:
  explicit FileRun(const FileOptions &options) {
    Init(&c, sizeof c);
    if (options.progress) {
      progress_.function = options.progress;
      c.progress = &Progress::call;
      c.progress_user = &progress_;
    }
    if (options.cancel != nullptr) c.cancel = options.cancel->get();
  }
  FileRun(const FileRun &) = delete;
  FileRun &operator=(const FileRun &) = delete;
  void check(meddino_status status) { detail::check(status, progress_); }
  Progress &progress() noexcept { return progress_; }
  Options c;

 private:
  Progress progress_;
};
using Watched = FileRun<meddino_file_options, meddino_file_options_init>;
}  // namespace detail

/// A volume in memory of the library's own.
class Image {
 public:
  /// Reads a NIfTI, NRRD or MetaImage file as ITK does. For a model whose plan names another reader: Model::read_image.
  static Image read(const Context &context, const std::string &path, const FileOptions &options = FileOptions()) {
    Image image(context.state());
    detail::Watched run(options);
    run.check(meddino_image_read_with(context.get(), path.c_str(), &run.c, image.handle_.out()));
    return image;
  }
  /// Copies the voxels of a view.
  static Image copy(const Context &context, const meddino_volume &volume) {
    Image image(context.state());
    detail::check(meddino_image_create(context.get(), &volume, image.handle_.out()));
    return image;
  }
  /// A view of the voxels, valid while this image lives. Strides may be negative for images of Model::read_image.
  meddino_volume view() const {
    meddino_volume v = volume();
    detail::check(meddino_image_view(handle_.get(), &v));
    return v;
  }
  /// Writes the format of the ending (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd), whole or not at all.
  void write(const std::string &path, const FileOptions &options = FileOptions()) const {
    detail::Watched run(options);
    run.check(meddino_image_write_with(handle_.get(), path.c_str(), &run.c));
  }
  meddino_image *get() const noexcept { return handle_.get(); }

 private:
  friend class Model;
  explicit Image(std::shared_ptr<Context::State> state) : state_(std::move(state)) {}
  std::shared_ptr<Context::State> state_;
  detail::Handle<meddino_image, meddino_image_release> handle_;
};

}  // namespace meddino
#endif
