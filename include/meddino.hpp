// meddino for C++11: owners for the handles of meddino.h, failures as exceptions. Header only, no state of its own.
//
//   meddino::Context context;
//   meddino::Model model = meddino::Model::open(context, "organs.safetensors");
//   meddino::Image ct = meddino::Image::read(context, "ct.nii.gz");
//   model.segment(ct).labels.write("labels.nii.gz");
//
// Every class is move-only and releases its handle once. Children keep what they need of their parents, so destruction may come in
// any order. What meddino.h says about threads and buffers holds here too. A moved-from object may only be destroyed or assigned to.
#ifndef MEDDINO_HPP
#define MEDDINO_HPP
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "meddino.h"

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

// Volumes ---------------------------------------------------------------------------------------------------------------------------

/// A volume as meddino_volume_init sets it: float32, one channel, 1 mm, LPS.
inline meddino_volume volume() {
  meddino_volume v;
  meddino_volume_init(&v, sizeof v);
  return v;
}

/// A read-only view of packed voxels, x fastest. `spacing` in mm.
template <class T>
meddino_volume view(const T *voxels, std::int64_t width, std::int64_t height, std::int64_t depth, double spacing_x = 1, double spacing_y = 1,
                    double spacing_z = 1) {
  meddino_volume v = volume();
  v.dtype = detail::DType<T>::code;
  v.dims[0] = width, v.dims[1] = height, v.dims[2] = depth;
  v.spacing[0] = spacing_x, v.spacing[1] = spacing_y, v.spacing[2] = spacing_z;
  v.data = voxels;
  v.data_bytes = width > 0 && height > 0 && depth > 0 ? sizeof(T) * static_cast<size_t>(width) * static_cast<size_t>(height) * static_cast<size_t>(depth) : 0;
  return v;
}

/// A packed view for a result on the grid of `like`, with `channels` channels one after the other.
template <class T>
meddino_volume writable(T *voxels, const meddino_volume &like, std::int32_t channels = 1) {
  meddino_volume v = view(voxels, like.dims[0], like.dims[1], like.dims[2], like.spacing[0], like.spacing[1], like.spacing[2]);
  for (int i = 0; i < 3; i++) v.origin[i] = like.origin[i];
  for (int i = 0; i < 9; i++) v.direction[i] = like.direction[i];
  v.space = like.space;
  v.channels = channels;
  v.data = nullptr;
  v.writable = voxels;
  v.data_bytes *= channels > 0 ? static_cast<size_t>(channels) : 0;
  return v;
}

/// Throws `Error` for a volume that no call would take.
inline void check(const meddino_volume &v) { detail::check(meddino_volume_check(&v)); }

// Context ---------------------------------------------------------------------------------------------------------------------------

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

// Images ----------------------------------------------------------------------------------------------------------------------------

/// A volume in memory of the library's own.
class Image {
 public:
  /// Reads a NIfTI file.
  static Image read(const Context &context, const std::string &path) {
    Image image(context.state());
    detail::check(meddino_image_read(context.get(), path.c_str(), image.handle_.out()));
    return image;
  }
  /// Copies the voxels of a view.
  static Image copy(const Context &context, const meddino_volume &volume) {
    Image image(context.state());
    detail::check(meddino_image_create(context.get(), &volume, image.handle_.out()));
    return image;
  }
  /// A view of the voxels, valid while this image lives.
  meddino_volume view() const {
    meddino_volume v = volume();
    detail::check(meddino_image_view(handle_.get(), &v));
    return v;
  }
  /// Writes .nii or .nii.gz, whole or not at all.
  void write(const std::string &path) const { detail::check(meddino_image_write(handle_.get(), path.c_str())); }
  meddino_image *get() const noexcept { return handle_.get(); }

 private:
  friend class Model;
  explicit Image(std::shared_ptr<Context::State> state) : state_(std::move(state)) {}
  std::shared_ptr<Context::State> state_;
  detail::Handle<meddino_image, meddino_image_release> handle_;
};

// Runs ------------------------------------------------------------------------------------------------------------------------------

/// Stops runs from any thread. Copies are not possible; share a reference or a pointer.
class Cancel {
 public:
  Cancel() { detail::check(meddino_cancel_create(handle_.out())); }
  void request() const noexcept { meddino_cancel_request(handle_.get()); }
  meddino_cancel *get() const noexcept { return handle_.get(); }

 private:
  detail::Handle<meddino_cancel, meddino_cancel_release> handle_;
};

/// How a run computes; see meddino_run_options. Defaults give the official results.
struct RunOptions {
  double tile_step = 0;
  std::int32_t mirror_axes = MEDDINO_MIRROR_MODEL;
  std::int32_t precision = MEDDINO_PRECISION_MODEL;
  bool body_crop = false;
  /// x0, x1, y0, y1, z0, z1; empty: everything. Any other count than 6 is refused.
  std::vector<std::int64_t> roi;
  /// Empty: all labels.
  std::vector<std::int32_t> label_subset;
  std::uint64_t max_bytes = 0;
  /// Returns false to stop the run. What it throws stops the run too and comes out of the call that started the run (of a job: of
  /// `wait`). Of a job it is called on the job's thread.
  std::function<bool(double fraction, const char *stage)> progress;
  const Cancel *cancel = nullptr;
};

/// Statistics and warnings of one run.
class Report {
 public:
  /// One entry per foreground label of the model.
  std::vector<meddino_label_stats> labels() const {
    std::vector<meddino_label_stats> list(meddino_report_label_count(handle_.get()));
    for (size_t i = 0; i < list.size(); i++) {
      list[i].struct_size = sizeof list[i];
      detail::check(meddino_report_get_label(handle_.get(), i, &list[i]));
    }
    return list;
  }
  std::vector<std::string> warnings() const {
    std::vector<std::string> list;
    for (size_t i = 0; i < meddino_report_warning_count(handle_.get()); i++) list.push_back(meddino_report_warning(handle_.get(), i));
    return list;
  }
  meddino_report *get() const noexcept { return handle_.get(); }

 private:
  friend class Model;
  friend class Job;
  detail::Handle<meddino_report, meddino_report_release> handle_;
};

namespace detail {
/// RunOptions as the C struct, with the memory that it points to. Stays where it was made: the C struct points into it.
class Run {
 public:
  explicit Run(const RunOptions &options) : subset_(options.label_subset) {
    meddino_run_options_init(&c_, sizeof c_);
    c_.tile_step = options.tile_step;
    c_.mirror_axes = options.mirror_axes;
    c_.precision = options.precision;
    c_.body_crop = options.body_crop ? 1 : 0;
    if (!options.roi.empty()) {
      if (options.roi.size() != 6) throw Error(MEDDINO_E_INVALID, "roi has " + std::to_string(options.roi.size()) + " values, expected 6");
      for (size_t i = 0; i < 6; i++) c_.roi[i] = options.roi[i];
    }
    if (!subset_.empty()) {
      c_.label_subset = subset_.data();
      c_.label_subset_count = subset_.size();
    }
    c_.max_bytes = options.max_bytes;
    if (options.progress) {
      progress_.function = options.progress;
      c_.progress = &Progress::call;
      c_.progress_user = &progress_;
    }
    if (options.cancel != nullptr) c_.cancel = options.cancel->get();
  }
  Run(const Run &) = delete;
  Run &operator=(const Run &) = delete;
  const meddino_run_options *get() const noexcept { return &c_; }
  /// The callback's own exception first: it is why the run was cancelled.
  void check(meddino_status status) {
    if (status == MEDDINO_OK) return;
    const std::string text = last_error();
    if (status == MEDDINO_E_CANCELLED) progress_.rethrow();
    throw Error(status, text);
  }

 private:
  meddino_run_options c_;
  std::vector<std::int32_t> subset_;
  Progress progress_;
};
}  // namespace detail

/// A segmentation on a thread of its own. The destructor cancels it and waits: buffers given to it must live until then.
class Job {
 public:
  /// True when the run has ended well, false when `timeout_ms` passed before (negative: no limit).
  /// Throws `Error` when the run failed, and what the progress function threw.
  bool wait(std::int32_t timeout_ms = -1) {
    const meddino_status status = meddino_job_wait(handle_.get(), timeout_ms);
    if (status == MEDDINO_E_TIMEOUT) return false;
    run_->check(status);
    return true;
  }
  /// 0 to 1.
  double progress() const noexcept { return meddino_job_progress(handle_.get()); }
  void cancel() noexcept { meddino_job_cancel(handle_.get()); }
  /// Throws `Error` before the end and after a failure.
  Report report() const {
    Report report;
    detail::check(meddino_job_report(handle_.get(), report.handle_.out()));
    return report;
  }
  meddino_job *get() const noexcept { return handle_.get(); }
  Job(Job &&) = default;
  Job &operator=(Job &&other) noexcept {
    handle_ = std::move(other.handle_);  // first: the run that it replaces uses run_ until its release returns
    run_ = std::move(other.run_);
    state_ = std::move(other.state_);
    return *this;
  }

 private:
  friend class Model;
  Job() = default;
  // Destroyed from the last to the first: the handle goes before what its thread uses.
  std::shared_ptr<Context::State> state_;
  std::unique_ptr<detail::Run> run_;
  detail::Handle<meddino_job, meddino_job_release> handle_;
};

// Features --------------------------------------------------------------------------------------------------------------------------

/// What dense features are wanted; see meddino_feature_options.
struct FeatureOptions {
  /// Ascending block numbers, at most 8; empty: the last.
  std::vector<std::int32_t> blocks;
  bool apply_norm = true;
  std::int32_t input_rows = 0, input_columns = 0;
  std::int64_t slice_begin = 0, slice_end = 0;
};

/// Patch tokens of the slices of a volume.
class Features {
 public:
  /// [slices, blocks, rows, columns, channels] float32, valid while this object lives.
  meddino_tensor view() const {
    meddino_tensor t = meddino_tensor();
    t.struct_size = sizeof t;
    detail::check(meddino_features_view(handle_.get(), &t));
    return t;
  }
  /// Colours of the first three principal components into `rgb` (uint8, 3 channels, the token grid).
  void pca(const meddino_volume *mask, meddino_volume rgb) const { detail::check(meddino_features_pca(handle_.get(), mask, &rgb)); }
  /// Cosine similarity to the tokens under `points_mm` (x, y, z, x, y, z, …) into `cosine` (float32, the token grid).
  void similarity(const std::vector<double> &points_mm, meddino_volume cosine) const {
    if (points_mm.size() % 3 != 0) throw Error(MEDDINO_E_INVALID, "points_mm has " + std::to_string(points_mm.size()) + " values, expected three per point");
    static const double none[3] = {0, 0, 0};
    detail::check(meddino_features_similarity(handle_.get(), points_mm.empty() ? none : points_mm.data(), points_mm.size() / 3, &cosine));
  }
  meddino_features *get() const noexcept { return handle_.get(); }

 private:
  friend class Model;
  std::shared_ptr<Context::State> state_;
  detail::Handle<meddino_features, meddino_features_release> handle_;
};

// Models ----------------------------------------------------------------------------------------------------------------------------

/// Which parts of an nnU-Net result folder are opened; see meddino_model_options.
struct ModelOptions {
  std::uint64_t fold_mask = 0;
  std::string checkpoint, configuration;
};

/// One value of a label map.
struct Label {
  std::int32_t value;
  std::uint8_t rgba[4];
  std::string name, coding_scheme, code;
};

/// A network, or several whose outputs are averaged, with plan and labels.
class Model {
 public:
  /// Opens a model file, a checkpoint or a folder.
  static Model open(const Context &context, const std::string &path, const ModelOptions &options = ModelOptions()) {
    meddino_model_options o;
    meddino_model_options_init(&o, sizeof o);
    o.fold_mask = options.fold_mask;
    if (!options.checkpoint.empty()) o.checkpoint = options.checkpoint.c_str();
    if (!options.configuration.empty()) o.configuration = options.configuration.c_str();
    Model model(context.state());
    detail::check(meddino_model_open(context.get(), path.c_str(), &o, model.handle_.out()));
    return model;
  }
  /// Opens a model file or checkpoint in memory; the bytes are kept until they are not needed any more.
  static Model open_memory(const Context &context, std::vector<std::uint8_t> bytes) {
    std::unique_ptr<std::vector<std::uint8_t>> owned(new std::vector<std::uint8_t>(std::move(bytes)));
    static const std::uint8_t none = 0;
    const std::uint8_t *data = owned->empty() ? &none : owned->data();
    const size_t size = owned->size();
    Model model(context.state());
    detail::check(meddino_model_open_memory(context.get(), data, size, &Model::free_bytes, owned.release(), model.handle_.out()));
    return model;
  }
  /// A fresh network with random weights.
  static Model create(const Context &context, const std::string &config_json, std::uint64_t seed) {
    Model model(context.state());
    detail::check(meddino_model_create(context.get(), config_json.c_str(), seed, model.handle_.out()));
    return model;
  }
  /// One model of the members of all; every entry must be set.
  static Model combine(const std::vector<const Model *> &models) {
    std::vector<const meddino_model *> handles;
    for (const Model *model : models) handles.push_back(model != nullptr ? model->get() : nullptr);
    Model result(!models.empty() && models[0] != nullptr ? models[0]->state_ : nullptr);
    for (const Model *model : models)
      if (model != nullptr) result.parents_.push_back(model->state_);
    detail::check(meddino_model_combine(handles.data(), handles.size(), result.handle_.out()));
    return result;
  }

  void save(const std::string &path) const { detail::check(meddino_model_save(handle_.get(), path.c_str())); }
  meddino_model_info info() const {
    meddino_model_info i = meddino_model_info();
    i.struct_size = sizeof i;
    detail::check(meddino_model_get_info(handle_.get(), &i));
    return i;
  }
  /// Background first.
  std::vector<Label> labels() const {
    std::vector<Label> list;
    const std::int32_t count = info().labels;
    for (std::int32_t index = 0; index < count; index++) {
      meddino_label c = meddino_label();
      c.struct_size = sizeof c;
      detail::check(meddino_model_get_label(handle_.get(), index, &c));
      Label label = {c.value, {c.rgba[0], c.rgba[1], c.rgba[2], c.rgba[3]}, text(c.name), text(c.coding_scheme), text(c.code)};
      list.push_back(std::move(label));
    }
    return list;
  }
  /// A text that the model carries; empty if it does not.
  std::string metadata(const std::string &key) const { return text(meddino_model_metadata(handle_.get(), key.c_str())); }

  /// What a run would take; `in` needs no buffer.
  meddino_estimate estimate(const meddino_volume &in, const RunOptions &options = RunOptions()) const {
    detail::Run run(options);
    meddino_estimate e = meddino_estimate();
    e.struct_size = sizeof e;
    detail::check(meddino_estimate_run(handle_.get(), &in, run.get(), &e));
    return e;
  }

  /// Labels a volume into the buffer that `labels` views; `probabilities` may be null.
  Report segment(const std::vector<meddino_volume> &channels, meddino_volume labels, meddino_volume *probabilities = nullptr,
                 const RunOptions &options = RunOptions()) const {
    detail::Run run(options);
    Report report;
    const std::vector<const meddino_volume *> views = pointers(channels);
    run.check(meddino_segment(handle_.get(), views.data(), views.size(), run.get(), &labels, probabilities, report.handle_.out()));
    return report;
  }
  Report segment(const meddino_volume &in, meddino_volume labels, const RunOptions &options = RunOptions()) const {
    return segment(std::vector<meddino_volume>(1, in), labels, nullptr, options);
  }

  struct Segmented;
  /// From image to image.
  Segmented segment(const Image &image, const RunOptions &options = RunOptions()) const;

  /// The same on a thread of its own. The buffers behind the views must live as long as the job.
  Job segment_async(const std::vector<meddino_volume> &channels, meddino_volume labels, meddino_volume *probabilities = nullptr,
                    const RunOptions &options = RunOptions()) const {
    Job job;
    job.state_ = state_;
    job.run_.reset(new detail::Run(options));
    const std::vector<const meddino_volume *> views = pointers(channels);
    detail::check(
        meddino_segment_async(handle_.get(), views.data(), views.size(), job.run_->get(), &labels, probabilities, job.handle_.out()));
    return job;
  }

  /// Dense features. Of `run`, precision, max_bytes, progress and cancel are used.
  Features features(const meddino_volume &in, const FeatureOptions &options = FeatureOptions(), const RunOptions &run_options = RunOptions()) const {
    meddino_feature_options o;
    meddino_feature_options_init(&o, sizeof o);
    if (options.blocks.size() > 8) throw Error(MEDDINO_E_INVALID, "blocks has " + std::to_string(options.blocks.size()) + " entries, expected at most 8");
    o.block_count = static_cast<std::int32_t>(options.blocks.size());
    for (size_t i = 0; i < options.blocks.size(); i++) o.blocks[i] = options.blocks[i];
    o.apply_norm = options.apply_norm ? 1 : 0;
    o.input_size[0] = options.input_rows, o.input_size[1] = options.input_columns;
    o.slice_begin = options.slice_begin, o.slice_end = options.slice_end;
    detail::Run run(run_options);
    Features features;
    features.state_ = state_;
    run.check(meddino_features_create(handle_.get(), &in, &o, run.get(), features.handle_.out()));
    return features;
  }
  meddino_model *get() const noexcept { return handle_.get(); }

 private:
  explicit Model(std::shared_ptr<Context::State> state) : state_(std::move(state)) {}
  static std::string text(const char *c) { return c != nullptr ? std::string(c) : std::string(); }
  static void free_bytes(void *user, const void *) noexcept { delete static_cast<std::vector<std::uint8_t> *>(user); }
  static std::vector<const meddino_volume *> pointers(const std::vector<meddino_volume> &channels) {
    std::vector<const meddino_volume *> list;
    for (const meddino_volume &channel : channels) list.push_back(&channel);
    return list;
  }
  std::shared_ptr<Context::State> state_;
  std::vector<std::shared_ptr<Context::State>> parents_;
  detail::Handle<meddino_model, meddino_model_release> handle_;
};

/// A label image and its report.
struct Model::Segmented {
  Image labels;
  Report report;
};

inline Model::Segmented Model::segment(const Image &image, const RunOptions &options) const {
  detail::Run run(options);
  Segmented result = {Image(image.state_), Report()};
  run.check(meddino_segment_image(handle_.get(), image.get(), run.get(), result.labels.handle_.out(), result.report.handle_.out()));
  return result;
}

}  // namespace meddino
#endif
