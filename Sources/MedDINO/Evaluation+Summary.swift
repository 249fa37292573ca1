internal import Imaging
internal import Segmentation
public import WeightFiles

/// nnU-Net's `summary.json`.
///
/// Source: pipeline specification 11.1.
extension Evaluation {
  /// nnU-Net's eight numbers of one structure, in the order of the file.
  public struct Means: Equatable, Sendable {
    static let names = ["Dice", "FN", "FP", "IoU", "TN", "TP", "n_pred", "n_ref"]
    /// In the order of `names`.
    let values: [Double]
    public var dice: Double { values[0] }
    public var iou: Double { values[3] }
    public var json: JSON { .object(JSONObject(zip(Means.names, values).map { ($0, JSON.number($1)) })) }
  }

  /// Mean over the cases for each structure, NaN left out, in the order of `structures`.
  public var means: [Means] {
    structures.map { structure in
      let rows = cases.map { Self.numbers($0.pairs.overlap(structure.values, ignoring: options.ignoreLabel)) }
      return Means(values: Means.names.indices.map { column in PairwiseSum.meanWithoutNaN(rows.map { $0[column] }) })
    }
  }

  /// Plain mean over the structures: NaN as soon as one of them is NaN.
  public var foregroundMean: Means {
    let means = means
    return Means(values: Means.names.indices.map { column in PairwiseSum.mean(means.map { $0.values[column] }) })
  }

  /// "foreground_mean" and "mean".
  public var meansJSON: [(String, JSON)] {
    [("foreground_mean", foregroundMean.json), ("mean", sorted(zip(structures, means).map { ($0.description, $1.json) }))]
  }

  /// The whole file; write it with an indent of 4.
  public var summary: JSON {
    let rows = cases.map { found in
      let metrics = structures.map { structure in
        (structure.description, metricsJSON(found.pairs.overlap(structure.values, ignoring: options.ignoreLabel)))
      }
      return JSON.object(
        ("metrics", sorted(metrics)), ("prediction_file", .string(found.predictionFile)), ("reference_file", .string(found.referenceFile)))
    }
    return .object(JSONObject(meansJSON + [("metric_per_case", .array(rows))]))
  }

  private static func numbers(_ counts: OverlapCounts) -> [Double] {
    [counts.dice, Double(counts.falseNegatives), Double(counts.falsePositives), counts.iou]
      + [counts.trueNegatives, counts.truePositives, counts.predicted, counts.referenced].map(Double.init)
  }

  private func metricsJSON(_ counts: OverlapCounts) -> JSON {
    .object(
      ("Dice", .number(counts.dice)), ("FN", .integer(counts.falseNegatives)), ("FP", .integer(counts.falsePositives)),
      ("IoU", .number(counts.iou)), ("TN", .integer(counts.trueNegatives)), ("TP", .integer(counts.truePositives)),
      ("n_pred", .integer(counts.predicted)), ("n_ref", .integer(counts.referenced)))
  }

  /// Keys sorted as text, as Python's `sort_keys` does.
  private func sorted(_ entries: [(String, JSON)]) -> JSON {
    .object(JSONObject(entries.sorted { $0.0.unicodeScalars.lexicographicallyPrecedes($1.0.unicodeScalars) }))
  }
}

/// Sums in numpy's order, so that means agree to the last bit whatever the number of cases.
///
/// Source: the pairwise summation that numpy documents: eight partial sums within blocks of 128, halves above.
enum PairwiseSum {
  static func sum(_ values: ArraySlice<Double>) -> Double {
    let (count, first) = (values.count, values.startIndex)
    if count < 8 { return values.reduce(0, +) }
    if count > 128 {
      let half = count / 2 / 8 * 8
      return sum(values.prefix(half)) + sum(values.dropFirst(half))
    }
    var parts = Array(values.prefix(8))
    let whole = count / 8 * 8
    for start in stride(from: 8, to: whole, by: 8) {
      for lane in 0..<8 { parts[lane] += values[first + start + lane] }
    }
    let total = ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7]))
    return values.dropFirst(whole).reduce(total, +)
  }

  static func mean(_ values: [Double]) -> Double { values.isEmpty ? .nan : sum(values[...]) / Double(values.count) }

  /// NaN counts as an addend of 0 and not as a value.
  static func meanWithoutNaN(_ values: [Double]) -> Double {
    let count = values.filter { !$0.isNaN }.count
    return count == 0 ? .nan : sum(values.map { $0.isNaN ? 0 : $0 }[...]) / Double(count)
  }
}
