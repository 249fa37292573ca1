// Part of meddino.hpp: options of runs, reports, jobs.
#ifndef MEDDINO_RUN_HPP
#define MEDDINO_RUN_HPP
#include <vector>

#include "image.hpp"

namespace meddino {

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
  void check(meddino_status status) { detail::check(status, progress_); }
  Progress &progress() noexcept { return progress_; }

 private:
  meddino_run_options c_;
  std::vector<std::int32_t> subset_;
  Progress progress_;
};
}  // namespace detail

/// A segmentation or a training run on a thread of its own. The destructor cancels it and waits: buffers given to it must live until then.
class Job {
 public:
  /// True when the run has ended well, false when `timeout_ms` passed before (negative: no limit).
  /// Throws `Error` when the run failed, and what the progress function threw.
  bool wait(std::int32_t timeout_ms = -1) {
    const meddino_status status = meddino_job_wait(handle_.get(), timeout_ms);
    if (status == MEDDINO_E_TIMEOUT) return false;
    detail::check(status, *progress_);
    return true;
  }
  /// 0 to 1.
  double progress() const noexcept { return meddino_job_progress(handle_.get()); }
  void cancel() noexcept { meddino_job_cancel(handle_.get()); }
  /// Throws `Error` before the end, after a failure, and for a training run, which has none.
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
    progress_ = other.progress_;
    state_ = std::move(other.state_);
    return *this;
  }

 private:
  friend class Model;
  friend class Trainer;
  Job() = default;
  /// `run`: the options that the job's thread uses.
  template <class T>
  void keep(std::shared_ptr<T> run) {
    progress_ = &run->progress();
    run_ = std::move(run);
  }
  // Destroyed from the last to the first: the handle goes before what its thread uses.
  std::shared_ptr<Context::State> state_;
  std::shared_ptr<void> run_;
  detail::Progress *progress_ = nullptr;
  detail::Handle<meddino_job, meddino_job_release> handle_;
};

}  // namespace meddino
#endif
