public import Imaging
public import Platform
internal import Segmentation
public import Tensors

/// How close the edges of a prediction lie to those of the reference.
///
/// Source: pipeline specification 11.2.
public struct SurfaceScores: Equatable, Sendable {
  /// Normalized surface Dice. NaN without a reference voxel, 0 without a predicted one.
  public let surfaceDice: Double
  /// 95 % Hausdorff distance. Units: mm. NaN when one of the masks is empty.
  public let hausdorff95: Double

  static let undefined = SurfaceScores(surfaceDice: .nan, hausdorff95: .nan)
  static let missed = SurfaceScores(surfaceDice: 0, hausdorff95: .nan)
}

/// One prediction compared with its reference.
public struct CaseEvaluation: Sendable {
  /// File name, such as "case_00.nii.gz".
  public var name = ""
  public var predictionFile = ""
  public var referenceFile = ""
  /// Which labels met where: overlaps of any label or region come from it.
  public let pairs: LabelPairs
  /// Signs that the two do not belong together, one line each.
  public let warnings: [String]
  /// By label values; holds only what had to be measured.
  private let measured: [[Int]: SurfaceScores]
  private let measuresSurfaces: Bool

  /// Compares two label volumes on one grid.
  ///
  /// `progress`: the part of the whole run that this call fills.
  /// Throws: `.shape` when the grids differ, `.invalid` for values that are no labels or not declared, `.outOfMemory`, `.cancelled`.
  public init(
    reference: Volume, prediction: Volume, options: EvaluationOptions, pool: ThreadPool, in budget: MemoryBudget,
    control: RunControl = RunControl(), progress: ClosedRange<Double> = 0...1
  ) throws(MedDINOError) {
    try options.check()
    let budget = options.maxBytes.map { MemoryBudget(limit: $0, parent: budget) } ?? budget
    let span = progress.upperBound - progress.lowerBound
    let counted = progress.lowerBound + span * (options.measuresSurfaces ? 0.2 : 1)
    try control.begin("overlap", from: progress.lowerBound, to: counted)
    pairs = try LabelPairs(reference: reference, prediction: prediction, pool: pool, in: budget, control: control)
    try Self.checkLabels(pairs, options.knownLabels)
    measuresSurfaces = options.measuresSurfaces
    warnings = Self.warnings(reference.geometry, prediction.geometry)
    var found: [[Int]: SurfaceScores] = [:]
    if options.measuresSurfaces {
      let wanted = Self.distinct(Self.structures(options, [pairs]).map(\.values) + Self.classes(options, [pairs]).map { [$0] })
      for (index, values) in wanted.enumerated() {
        let width = (progress.upperBound - counted) / Double(wanted.count)
        try control.begin("surfaces", from: counted + width * Double(index), to: counted + width * Double(index + 1))
        guard Self.isPresent(values, pairs.referenceLabels), Self.isPresent(values, pairs.predictionLabels), let box = pairs.box(values)
        else { continue }
        let distances = try SurfaceDistances(
          reference: reference, prediction: prediction, values: values, in: box, pool: pool, budget: budget, control: control.still(at: 0.5)
        )
        found[values] = SurfaceScores(
          surfaceDice: distances.surfaceDice(tolerance: options.tolerance), hausdorff95: distances.hausdorff(quantile: 0.95))
      }
    }
    measured = found
    try control.begin("overlap", from: progress.upperBound, to: progress.upperBound)
  }

  /// Of structures or classes that the options named; NaN for others, and where surfaces were not asked for.
  public func surfaces(_ values: [Int]) -> SurfaceScores {
    guard measuresSurfaces, Self.isPresent(values, pairs.referenceLabels) else { return .undefined }
    guard Self.isPresent(values, pairs.predictionLabels) else { return .missed }
    return measured[values.sorted()] ?? .undefined
  }

  /// What is evaluated of cases: the options' structures, or all values found.
  static func structures(_ options: EvaluationOptions, _ all: [LabelPairs]) -> [LabelScheme.Region] {
    if let structures = options.structures { return structures }
    let values = Set(all.flatMap { $0.referenceLabels + $0.predictionLabels }).subtracting([0, options.ignoreLabel ?? 0])
    return values.sorted().map { LabelScheme.Region(name: "label \($0)", values: [$0], isList: false) }
  }
  static func classes(_ options: EvaluationOptions, _ all: [LabelPairs]) -> [Int] {
    options.classes ?? Set(structures(options, all).flatMap(\.values)).sorted()
  }

  private static func isPresent(_ values: [Int], _ labels: [Int]) -> Bool { values.contains { labels.contains($0) } }

  /// Sorted value lists, each once, in order of appearance.
  private static func distinct(_ lists: [[Int]]) -> [[Int]] {
    var seen = Set<[Int]>()
    return lists.map { $0.sorted() }.filter { seen.insert($0).inserted }
  }

  private static func checkLabels(_ pairs: LabelPairs, _ known: [Int]?) throws(MedDINOError) {
    guard let known else { return }
    for (name, labels) in [("reference", pairs.referenceLabels), ("prediction", pairs.predictionLabels)] {
      let unknown = labels.filter { !known.contains($0) }
      if !unknown.isEmpty {
        throw .invalid("the \(name) holds the unknown label\(unknown.count > 1 ? "s" : "") \(unknown), expected \(known)")
      }
    }
  }

  private static func warnings(_ reference: Geometry, _ prediction: Geometry) -> [String] {
    func differs(_ a: [Double], _ b: [Double], _ tolerance: Double) -> Bool { zip(a, b).contains { ($0 - $1).magnitude > tolerance } }
    var result: [String] = []
    if differs(reference.spacing, prediction.spacing, 1e-3) {
      result.append("spacing of the prediction is \(prediction.spacing) mm, of the reference \(reference.spacing) mm")
    }
    if differs(reference.origin, prediction.origin, 0.1) || differs(reference.direction, prediction.direction, 1e-3) {
      result.append("prediction and reference lie differently in space; their voxels are compared as stored")
    }
    return result
  }
}
