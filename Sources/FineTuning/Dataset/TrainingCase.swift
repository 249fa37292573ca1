public import Platform
public import Segmentation
internal import Tensors

/// A preprocessed case as training sees it: parts of slices on demand, and where the foreground is.
///
/// Safe to read from several threads at once.
/// Source: pipeline specification 4 (contents), 6 (what is read).
public protocol TrainingCase: Sendable {
  var identifier: String { get }
  /// Shapes: [channels, slices, rows, columns].
  var shape: [Int] { get }
  /// One entry per location key of the label scheme, in its order; an entry without positions has none in this case.
  var locations: [ForegroundLocations] { get }

  /// A box of one slice of one channel.
  ///
  /// Shapes: `out` dense [rows.count, columns.count]. Throws: `.invalid` for a box that is not inside the case, `.io`, `.format`.
  func readImage(
    channel: Int, slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Float>
  ) throws(MedDINOError)

  /// The labels of a box of one slice; -1 is outside the nonzero mask.
  ///
  /// Shapes: `out` dense [rows.count, columns.count]. Throws: as `readImage`.
  func readLabels(slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Int16>) throws(MedDINOError)
}

extension TrainingCase {
  /// Throws: `.invalid` naming what lies outside the case.
  func check(channel: Int, slice: Int, rows: Range<Int>, columns: Range<Int>) throws(MedDINOError) {
    guard (0..<shape[0]).contains(channel) else {
      throw .invalid("case \(identifier): channel is \(channel), expected 0 to \(shape[0] - 1)")
    }
    guard (0..<shape[1]).contains(slice) else {
      throw .invalid("case \(identifier): slice is \(slice), expected 0 to \(shape[1] - 1)")
    }
    guard rows.lowerBound >= 0, rows.upperBound <= shape[2], columns.lowerBound >= 0, columns.upperBound <= shape[3] else {
      throw .invalid(
        "case \(identifier): box of rows \(rows) and columns \(columns), expected inside 0..<\(shape[2]) and 0..<\(shape[3])")
    }
  }
}

/// A training case whose arrays are in memory.
public struct MemoryTrainingCase: TrainingCase {
  public let identifier: String
  public let contents: PreprocessedCase
  private let labels: Tensor

  public var shape: [Int] { contents.data.shape.extents }
  public var locations: [ForegroundLocations] { contents.locations }

  /// Throws: `.invalid` for a case without labels.
  public init(identifier: String, _ contents: PreprocessedCase) throws(MedDINOError) {
    guard let labels = contents.labels else { throw .invalid("case \(identifier) has no labels, training needs them") }
    self.identifier = identifier
    self.contents = contents
    self.labels = labels
  }

  public func readImage(
    channel: Int, slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Float>
  ) throws(MedDINOError) {
    try check(channel: channel, slice: slice, rows: rows, columns: columns)
    let values = contents.data.elements(Float.self)
    guard let base = values.baseAddress else { return }
    let plane = base + (channel * shape[1] + slice) * shape[2] * shape[3]
    for (index, row) in rows.enumerated() {
      (out + index * columns.count).update(from: plane + row * shape[3] + columns.lowerBound, count: columns.count)
    }
    withExtendedLifetime(contents) {}
  }

  public func readLabels(
    slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Int16>
  ) throws(MedDINOError) {
    try check(channel: 0, slice: slice, rows: rows, columns: columns)
    let values = labels.elements(Int16.self)
    guard let base = values.baseAddress else { return }
    let plane = base + slice * shape[2] * shape[3]
    for (index, row) in rows.enumerated() {
      (out + index * columns.count).update(from: plane + row * shape[3] + columns.lowerBound, count: columns.count)
    }
    withExtendedLifetime(labels) {}
  }
}
