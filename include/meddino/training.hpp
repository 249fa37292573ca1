// Part of meddino.hpp: data to train on, and training runs.
#ifndef MEDDINO_TRAINING_HPP
#define MEDDINO_TRAINING_HPP
#include "model.hpp"

namespace meddino {

/// How a call of training works; see meddino_train_options. Of a trainer, progress and cancel hold for every later call too.
struct TrainOptions : FileOptions {
  /// JSON text with the keys of `meddino finetune --print-config`; empty: the defaults.
  std::string settings;
  std::uint64_t max_bytes = 0;
  /// MEDDINO_PRETRAIN_1 to 3 where a trainer pretrains; its settings have the keys of `meddino pretrain --print-config`.
  std::int32_t objective = MEDDINO_FINETUNE;
  /// The anchor of MEDDINO_PRETRAIN_2 and 3, while a trainer is made.
  const Model *gram_teacher = nullptr;
};

/// How slices are read or handed over; see meddino_slice_options.
struct SliceOptions {
  bool skip_damaged = false;
  bool concurrent = false;
  /// mm; 0: pixels as they come.
  double spacing = 0;
};

namespace detail {
/// TrainOptions as the C struct. Stays where it was made: the C struct points into it.
class TrainRun : public FileRun<meddino_train_options, meddino_train_options_init> {
 public:
  explicit TrainRun(const TrainOptions &options) : FileRun(options), settings_(options.settings) {
    if (!settings_.empty()) c.settings_json = settings_.c_str();
    c.max_bytes = options.max_bytes;
    c.objective = options.objective;
    if (options.gram_teacher != nullptr) c.gram_teacher = options.gram_teacher->get();
  }

 private:
  std::string settings_;
};

/// A function that hands over slices. It lives as long as what draws from it.
struct SliceSource {
  std::function<bool(std::int64_t, meddino_volume &)> function;
  static std::int32_t call(void *user, std::int64_t index, meddino_volume *slice) noexcept {
    try {
      return static_cast<SliceSource *>(user)->function(index, *slice) ? 0 : 1;
    } catch (...) {
      return 1;
    }
  }
};

inline meddino_slice_options slice_options(const SliceOptions &options) {
  meddino_slice_options c;
  meddino_slice_options_init(&c, sizeof c);
  c.skip_damaged = options.skip_damaged ? 1 : 0;
  c.concurrent = options.concurrent ? 1 : 0;
  c.spacing = options.spacing;
  return c;
}

/// A function that hands over cases, and what it threw.
struct CaseSource {
  using Function = std::function<bool(std::int64_t, std::vector<meddino_volume> &, meddino_volume &, std::string &)>;
  Function function;
  std::vector<meddino_volume> channels;
  std::string identifier;
  std::exception_ptr failure;

  static std::int32_t call(void *user, std::int64_t index, meddino_volume *channels, size_t count, meddino_volume *labels, const char **name) noexcept {
    CaseSource *self = static_cast<CaseSource *>(user);
    try {
      self->identifier.clear();
      self->channels.assign(channels, channels + count);
      if (!self->function(index, self->channels, *labels, self->identifier)) return 1;
      if (self->channels.size() != count)
        throw Error(MEDDINO_E_SHAPE, "the case has " + std::to_string(self->channels.size()) + " channels, expected " + std::to_string(count));
      for (size_t i = 0; i < count; i++) channels[i] = self->channels[i];
      if (!self->identifier.empty()) *name = self->identifier.c_str();
      return 0;
    } catch (...) {
      self->failure = std::current_exception();
      return 1;
    }
  }
};
}  // namespace detail

/// Cases to train on, or slices to pretrain on. Cases from memory have no folds: every case trains and validates.
class Dataset {
 public:
  /// Checks a raw nnU-Net dataset folder and prepares it under `prepared`/<its name>.
  static void prepare(const Context &context, const std::string &raw, const std::string &prepared, const TrainOptions &options = TrainOptions()) {
    detail::TrainRun run(options);
    run.check(meddino_dataset_prepare(context.get(), raw.c_str(), prepared.c_str(), &run.c));
  }
  /// Opens a prepared folder. `configuration` is needed where several are prepared.
  static Dataset open(const Context &context, const std::string &folder, const std::string &configuration = std::string()) {
    Dataset dataset(context.state());
    const char *name = configuration.empty() ? nullptr : configuration.c_str();
    detail::check(meddino_dataset_open(context.get(), folder.c_str(), name, dataset.handle_.out()));
    return dataset;
  }
  /// An empty dataset with the plan and labels of a segmenter.
  static Dataset create(const Model &like) {
    Dataset dataset(like.state_);
    detail::check(meddino_dataset_create(like.get(), dataset.handle_.out()));
    return dataset;
  }
  /// A folder of shards that `meddino curate` made, to pretrain on.
  static Dataset open_slices(const Context &context, const std::string &folder, const SliceOptions &options = SliceOptions()) {
    Dataset dataset(context.state());
    const meddino_slice_options c = detail::slice_options(options);
    detail::check(meddino_dataset_open_slices(context.get(), folder.c_str(), &c, dataset.handle_.out()));
    return dataset;
  }
  /// `count` slices that a function fills in whenever one is needed; see meddino_dataset_from_slices. It returns false, or throws, to stop
  /// the trainer's call, which then says that it was cancelled.
  static Dataset from_slices(const Context &context, std::int64_t count, const std::function<bool(std::int64_t, meddino_volume &)> &next,
                             const SliceOptions &options = SliceOptions()) {
    Dataset dataset(context.state());
    const meddino_slice_options c = detail::slice_options(options);
    dataset.source_ = std::make_shared<detail::SliceSource>();
    dataset.source_->function = next;
    detail::check(
        meddino_dataset_from_slices(context.get(), count, &detail::SliceSource::call, dataset.source_.get(), &c, dataset.handle_.out()));
    return dataset;
  }
  /// Prepares and keeps one case; nothing of the caller's memory is kept. The same identifier replaces a case.
  void add(const std::string &identifier, const std::vector<meddino_volume> &channels, const meddino_volume &labels,
           const TrainOptions &options = TrainOptions()) {
    detail::TrainRun run(options);
    const std::vector<const meddino_volume *> views = Model::pointers(channels);
    run.check(meddino_dataset_add(handle_.get(), identifier.c_str(), views.data(), views.size(), &labels, &run.c));
  }
  void add(const std::string &identifier, const meddino_volume &image, const meddino_volume &labels, const TrainOptions &options = TrainOptions()) {
    add(identifier, std::vector<meddino_volume>(1, image), labels, options);
  }
  /// Adds `count` cases that a function fills in one by one: channels, labels and, if it likes, the identifier. It returns false to stop;
  /// what it throws comes out of this call.
  void add_cases(std::int64_t count, const detail::CaseSource::Function &next, const TrainOptions &options = TrainOptions()) {
    detail::TrainRun run(options);
    detail::CaseSource source;
    source.function = next;
    const meddino_status status = meddino_dataset_add_cases(handle_.get(), count, &detail::CaseSource::call, &source, &run.c);
    if (status == MEDDINO_E_CANCELLED && source.failure) std::rethrow_exception(source.failure);
    run.check(status);
  }
  size_t count() const noexcept { return meddino_dataset_count(handle_.get()); }
  /// In training order.
  std::vector<std::string> identifiers() const {
    std::vector<std::string> list;
    for (size_t i = 0; i < count(); i++) {
      const char *name = meddino_dataset_case(handle_.get(), i);
      if (name == nullptr) break;  // slices have none
      list.push_back(name);
    }
    return list;
  }
  meddino_dataset *get() const noexcept { return handle_.get(); }

 private:
  friend class Trainer;
  explicit Dataset(std::shared_ptr<Context::State> state) : state_(std::move(state)) {}
  std::shared_ptr<Context::State> state_;
  std::shared_ptr<detail::SliceSource> source_;
  detail::Handle<meddino_dataset, meddino_dataset_release> handle_;
};

/// One training run. After a call that was stopped or lacked memory the next one goes on as if nothing had happened.
class Trainer {
 public:
  /// start: a segmenter, a backbone or null (random weights). dataset: where batches come from; null: only `step` with a batch.
  static Trainer create(const Context &context, const Model *start, const Dataset *dataset, const TrainOptions &options = TrainOptions()) {
    Trainer trainer(context.state(), options);
    if (dataset != nullptr) trainer.source_ = dataset->source_;
    detail::TrainRun &run = *trainer.run_;
    run.check(meddino_trainer_create(context.get(), start != nullptr ? start->get() : nullptr, dataset != nullptr ? dataset->get() : nullptr, &run.c,
                                     trainer.handle_.out()));
    return trainer;
  }
  /// Goes on from a file that `save` wrote. dataset: the same cases, or null.
  static Trainer resume(const Context &context, const std::string &path, const Dataset *dataset, const TrainOptions &options = TrainOptions()) {
    Trainer trainer(context.state(), options);
    if (dataset != nullptr) trainer.source_ = dataset->source_;
    detail::TrainRun &run = *trainer.run_;
    run.check(meddino_trainer_resume(context.get(), path.c_str(), dataset != nullptr ? dataset->get() : nullptr, &run.c, trainer.handle_.out()));
    return trainer;
  }
  /// What one update would take.
  static meddino_train_estimate estimate(const Context &context, const Model *start, const Dataset *dataset, const TrainOptions &options = TrainOptions()) {
    detail::TrainRun run(options);
    meddino_train_estimate e = meddino_train_estimate();
    e.struct_size = sizeof e;
    run.check(meddino_trainer_estimate(context.get(), start != nullptr ? start->get() : nullptr, dataset != nullptr ? dataset->get() : nullptr, &run.c, &e));
    return e;
  }

  /// One update on the next batch.
  meddino_metrics step() {
    meddino_metrics m = empty();
    check(meddino_trainer_step(handle_.get(), &m));
    return m;
  }
  /// One update on the caller's batch; see meddino_trainer_step_batch.
  meddino_metrics step(const meddino_tensor &images, const meddino_tensor &targets) {
    meddino_metrics m = empty();
    check(meddino_trainer_step_batch(handle_.get(), &images, &targets, &m));
    return m;
  }
  /// The rest of the epoch, with validation.
  meddino_metrics epoch() {
    meddino_metrics m = empty();
    check(meddino_trainer_epoch(handle_.get(), &m));
    return m;
  }
  /// Loss and pseudo Dice over the validation batches; nothing changes.
  meddino_metrics validate() {
    meddino_metrics m = empty();
    check(meddino_trainer_validate(handle_.get(), &m));
    return m;
  }
  /// Whether no epoch is left, also of a resumed run or after a job; false while a job is at work.
  bool finished() const noexcept { return meddino_trainer_finished(handle_.get()) != 0; }
  /// Every epoch that is left, on a thread of its own. Other calls fail until the job has ended.
  Job run_async() {
    Job job;
    job.state_ = state_;
    job.keep(run_);
    check(meddino_trainer_run_async(handle_.get(), job.handle_.out()));
    return job;
  }
  /// Writes everything that `resume` needs, whole or not at all.
  void save(const std::string &path) { check(meddino_trainer_save(handle_.get(), path.c_str())); }
  /// The model as it stands, usable at once; it does not change when the trainer goes on.
  Model export_model() const {
    Model model(state_);
    detail::check(meddino_trainer_export(handle_.get(), model.handle_.out()));
    return model;
  }
  meddino_trainer *get() const noexcept { return handle_.get(); }

 private:
  Trainer(std::shared_ptr<Context::State> state, const TrainOptions &options) : state_(std::move(state)), run_(std::make_shared<detail::TrainRun>(options)) {}
  /// What the progress function threw in this call, and not again in a later one.
  void check(meddino_status status) {
    struct Forget {
      detail::Progress &progress;
      ~Forget() { progress.forget(); }
    } forget = {run_->progress()};
    run_->check(status);
  }
  static meddino_metrics empty() {
    meddino_metrics m = meddino_metrics();
    m.struct_size = sizeof m;
    return m;
  }
  std::shared_ptr<Context::State> state_;
  std::shared_ptr<detail::TrainRun> run_;
  std::shared_ptr<detail::SliceSource> source_;
  detail::Handle<meddino_trainer, meddino_trainer_release> handle_;
};

/// A view of a packed array of the caller's, for Trainer::step.
template <class T>
meddino_tensor tensor(const T *values, const std::vector<std::int64_t> &shape) {
  if (shape.empty() || shape.size() > 8) throw Error(MEDDINO_E_INVALID, "shape has " + std::to_string(shape.size()) + " extents, expected 1 to 8");
  meddino_tensor t = meddino_tensor();
  t.struct_size = sizeof t;
  t.dtype = detail::DType<T>::code;
  t.ndim = static_cast<std::int32_t>(shape.size());
  t.data = values;
  t.data_bytes = sizeof(T);
  for (size_t i = 0; i < shape.size(); i++) {
    t.shape[i] = shape[i];
    t.data_bytes *= shape[i] > 0 ? static_cast<size_t>(shape[i]) : 0;
  }
  return t;
}

}  // namespace meddino
#endif
