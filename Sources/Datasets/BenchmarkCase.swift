internal import Platform

/// One volume of a benchmark as it was published.
public struct BenchmarkCase: Equatable, Sendable {
  /// The list it was published in. Validation cases become training cases of the nnU-Net dataset.
  public enum Part: String, Sendable { case training, validation, test }
  /// Identifier in the nnU-Net dataset.
  public let name: String
  public let part: Part
  /// Paths of the published files; test cases have no label.
  public let image: String
  public let label: String?
}

/// How a benchmark is converted.
public struct BenchmarkOptions: Sendable {
  /// Hard links instead of copies. Files that must be compressed are written anew all the same.
  public var link = false
  /// LiTS only: liver with tumour as one region instead of plain labels.
  public var regions = false
  /// AMOS22 only: one split, its training list against its validation list, instead of the folds that training makes.
  public var publishedSplit = false
  /// A `splits_final.json` to put into the dataset.
  public var splits: String?
  public init() {}
}

/// What a conversion did.
public struct BenchmarkSummary: Equatable, Sendable {
  /// The dataset folder.
  public var folder: String
  public var trainingCases = 0
  public var testCases = 0
  /// Published volumes that do not belong to the benchmark (MR of AMOS22).
  public var leftOut = 0
  /// Files by what happened to them; `kept` ones were there from an earlier run.
  public var copied = 0
  public var linked = 0
  public var compressed = 0
  public var kept = 0
  /// A `splits_final.json` that this conversion did not write was there and stays.
  public var keptSplits = false
}
