public import Imaging
internal import Platform
public import Segmentation
public import WeightFiles

/// MedDINOv3's metrics: Dice, HD95 and NSD of raw label values, where cases without the label in the reference do not count.
///
/// Source: pipeline specification 11.2.
extension Evaluation {
  /// Mean and sample standard deviation of the values that are not NaN.
  public struct Statistics: Equatable, Sendable {
    /// How many values counted.
    public let count: Int
    /// NaN without a value.
    public let mean: Double
    /// With n − 1; NaN below two values.
    public let deviation: Double

    public init(_ values: [Double]) {
      let present = values.filter { !$0.isNaN }
      count = present.count
      let mean = PairwiseSum.mean(present)
      self.mean = mean
      let squares = present.map { ($0 - mean) * ($0 - mean) }
      deviation = present.count < 2 ? .nan : (PairwiseSum.sum(squares[...]) / Double(present.count - 1)).squareRoot()
    }
  }

  /// One case and structure under both rules.
  public struct Scores: Equatable, Sendable {
    public let overlap: OverlapCounts
    public let surfaces: SurfaceScores
    /// nnU-Net's rule: NaN only when neither prediction nor reference has a voxel; a false alarm is 0.
    public var dice: Double { overlap.dice }
    public var iou: Double { overlap.iou }
    /// MedDINOv3's rule: NaN when the reference has no voxel, whatever was predicted.
    public var diceWhereReferenced: Double { overlap.referenced == 0 ? .nan : overlap.dice }
  }

  public func scores(_ found: CaseEvaluation, _ structure: LabelScheme.Region) -> Scores {
    Scores(
      overlap: found.pairs.overlap(structure.values, ignoring: options.ignoreLabel), surfaces: found.surfaces(structure.values))
  }
  private func scores(_ found: CaseEvaluation, class value: Int) -> Scores {
    Scores(overlap: found.pairs.overlap([value]), surfaces: found.surfaces([value]))
  }

  static let metricNames = ["dice", "hd95", "nsd"]
  private static func metrics(_ scores: Scores) -> [Double] {
    [scores.diceWhereReferenced, scores.surfaces.hausdorff95, scores.surfaces.surfaceDice]
  }

  /// Dice, HD95 and NSD of each class, over the cases.
  public var classStatistics: [[Statistics]] {
    classes.map { value in
      let rows = cases.map { Self.metrics(scores($0, class: value)) }
      return Self.metricNames.indices.map { column in Statistics(rows.map { $0[column] }) }
    }
  }

  /// The CSV: one row per case, then "mean" and "std" over the cases; empty where there is no value.
  public var metricsCSV: String {
    let columns = classes.flatMap { value in Self.metricNames.map { "\($0)_class\(value)" } }
    var lines = [(["filename"] + columns).joined(separator: ",")]
    for found in cases { lines.append(Self.row(found.name, classes.flatMap { Self.metrics(scores(found, class: $0)) })) }
    let statistics = classStatistics.flatMap { $0 }
    lines.append(Self.row("mean", statistics.map(\.mean)))
    lines.append(Self.row("std", statistics.map(\.deviation)))
    return lines.joined(separator: "\n") + "\n"
  }

  private static func row(_ name: String, _ values: [Double]) -> String {
    let quotes = name.contains { $0 == "," || $0 == "\"" || $0.isNewline }
    let first = quotes ? "\"" + name.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\"" : name
    return ([first] + values.map { $0.isNaN ? "" : "\($0)" }).joined(separator: ",")
  }

  /// "per_class" and "classwise_average": means and standard deviations; the average skips classes without a value.
  public var metricsJSON: JSON {
    let statistics = classStatistics
    func object(_ mean: (Int) -> Double, _ deviation: (Int) -> Double) -> JSON {
      let entries = Self.metricNames.indices.map { column in
        (Self.metricNames[column], JSON.object(("mean", .number(mean(column))), ("std", .number(deviation(column)))))
      }
      return .object(JSONObject(entries))
    }
    let perClass = zip(classes, statistics).map { value, rows in
      ("class\(value)", object({ rows[$0].mean }, { rows[$0].deviation }))
    }
    let average = object(
      { column in PairwiseSum.meanWithoutNaN(statistics.map { $0[column].mean }) },
      { column in PairwiseSum.meanWithoutNaN(statistics.map { $0[column].deviation }) })
    return .object(("per_class", .object(JSONObject(perClass))), ("classwise_average", average))
  }
}
