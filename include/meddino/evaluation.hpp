// Part of meddino.hpp: label volumes compared with references.
#ifndef MEDDINO_EVALUATION_HPP
#define MEDDINO_EVALUATION_HPP
#include <vector>

#include "image.hpp"

namespace meddino {

/// What is measured; see meddino_evaluation_options.
struct EvaluationOptions : FileOptions {
  double tolerance_mm = 1;
  bool distances = true;
  std::int32_t ignore_label = MEDDINO_NO_LABEL;
  /// Label values of each structure, several for a region; empty: every value found, ascending.
  std::vector<std::vector<std::int32_t>> structures;
  std::uint64_t max_bytes = 0;
};

/// Scores of every structure, in the order of the options' structures. Throws `Error`, and what the progress function threw.
inline std::vector<meddino_structure_scores> evaluate(const Context &context, const meddino_volume &reference, const meddino_volume &prediction,
                                                      const EvaluationOptions &options = EvaluationOptions()) {
  detail::FileRun<meddino_evaluation_options, meddino_evaluation_options_init> run(options);
  std::vector<std::int32_t> values, counts;
  for (const std::vector<std::int32_t> &structure : options.structures) {
    values.insert(values.end(), structure.begin(), structure.end());
    counts.push_back(static_cast<std::int32_t>(structure.size()));
  }
  run.c.tolerance_mm = options.tolerance_mm;
  run.c.distances = options.distances ? 1 : 0;
  run.c.ignore_label = options.ignore_label;
  run.c.max_bytes = options.max_bytes;
  if (!counts.empty()) {
    run.c.values = values.data();
    run.c.counts = counts.data();
    run.c.structures = counts.size();
  }
  detail::Handle<meddino_evaluation, meddino_evaluation_release> handle;
  run.check(meddino_evaluate(context.get(), &reference, &prediction, &run.c, handle.out()));
  std::vector<meddino_structure_scores> scores(meddino_evaluation_count(handle.get()));
  for (size_t i = 0; i < scores.size(); i++) {
    scores[i].struct_size = sizeof scores[i];
    detail::check(meddino_evaluation_get(handle.get(), i, &scores[i]));
  }
  return scores;
}

}  // namespace meddino
#endif
